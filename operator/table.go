package operator

import (
	"fmt"
	"reflect"
	"unsafe"

	"millrace/event"
	"millrace/internal/prefetch"
	"millrace/operator/internal/calendar"
)

// Table is the live keyed state of one shard of one stage: ordinary Go
// structs, one a key, and their timers. It runs the operator, remembers which
// keys changed since the last checkpoint and since the last answers, and
// encodes a key once a checkpoint. A Table belongs to one goroutine at a time.
type Table interface {
	// Sink is a func(Meta, *I) that folds one record.
	Sink() any
	// Advance fires timers up to and including the watermark, at most so many,
	// and reports whether there are more. Only when there are none has the
	// table's own watermark moved.
	Advance(watermark event.Time, most int) (more bool)
	// AdvanceProcessing does so with processing time, which never goes back,
	// and drops keys whose TTL has passed.
	AdvanceProcessing(now event.Time, most int) (more bool)
	// Due reports whether Advance or AdvanceProcessing would do anything but
	// note the time.
	Due(watermark, now event.Time) bool
	// Resume notes how far time had come with the state that was loaded,
	// without firing anything.
	Resume(watermark event.Time)
	// Changed is how many keys Answers will answer for.
	Changed() int
	// Answers lets the operator answer for each key that changed since the
	// last call.
	Answers()
	// Forget drops a key's state and timers, and deletes its answers. In a stage
	// that sees records in order, timers that the watermark has passed fire
	// before, as they do for a record: what travels with the deletion, or MinTime
	// for one that travels with nothing.
	Forget(key string, watermark event.Time)
	// Len is how many keys hold state.
	Len() int
	// Current is the key of the call of the operator under way, and whether it is
	// one of a timer; false if there is none. It is for reports of a panic.
	Current() (key string, timer, ok bool)

	Snapshotter
	Evictor
}

type table[K Key, S, I any] struct {
	node    *Node
	key     func(*I) K
	hash    func(K) uint64
	op      Operator[K, S, I]
	answer  Answerer[K, S]        // nil if the operator has no answers
	warmer  Warmer[S]             // nil if there is nothing to gain
	clocked ProcessingTimer[K, S] // nil if it sets no timers in processing time
	context Context
	slots   slots[K, S]
	live    int
	timers  calendar.Calendar
	more    calendar.Lists
	clock   clockTimers
	leases  leases
	cold    cold[K]
	touched []uint32
	current *slot[K, S]
	// watermark and now are how far the table has been advanced.
	watermark, now event.Time

	// epoch counts checkpoints. A slot whose dirty epoch is older than epoch
	// belongs to the checkpoint being encoded.
	epoch   uint32
	dirty   []uint32 // changed in this epoch
	pending []uint32 // of the checkpoint being encoded
	writes  []StateWrite
	arena   []byte
	scratch []byte
	times   []event.Time // scratch
	hashes  [(prefetchSteps + 1) * prefetched]uint64
	due     [prefetched]calendar.Entry
	coldKey []byte // scratch

	firing   bool // in a call of Timer or ProcessingTimer
	pointers bool // whether states hold any
}

func (d typed[K, S, I]) newTable(n *Node, s Shard) Table {
	t := &table[K, S, I]{
		node: n, key: d.stage.Key, hash: hasher[K](), epoch: 1,
		watermark: event.MinTime, now: event.MinTime,
	}
	t.cold.read = s.Cold
	t.pointers = holdsPointers(reflect.TypeFor[S]())
	t.op = d.stage.New(NewPorts(&t.context, s.Sinks, s.Views))
	t.answer, _ = t.op.(Answerer[K, S])
	t.warmer, _ = t.op.(Warmer[S])
	t.clocked, _ = t.op.(ProcessingTimer[K, S])
	t.leases.ttl = d.stage.TTL
	if d.stage.Broadcast != nil {
		return newBroadcastTable(t, d.stage.Broadcast, s.Index == 0)
	}
	return t
}

// Sink is the function that folds a record.
func (t *table[K, S, I]) Sink() any {
	return func(m Meta, in *I) {
		k := t.key(in)
		t.fold(m, k, t.hash(k), in)
	}
}

// Len does not count keys that were forgotten and wait for a checkpoint.
func (t *table[K, S, I]) Len() int { return t.live }

// Current goes by what calls leave behind that do not return.
func (t *table[K, S, I]) Current() (key string, timer, ok bool) {
	if t.current == nil {
		return "", false, false
	}
	return keyString(t.current.key), t.firing, true
}

const (
	// prefetched is how many records are looked ahead for at a time.
	prefetched = 16
	// prefetchSteps is in how many steps memory is asked for that one address
	// leads to the next of: the cell of the index, the slot, what lies beside
	// it. Between two steps there is time for the memory to come.
	prefetchSteps = 3
	// prefetchSlots is the size from which on a table is not in the
	// processor's cache, so that prefetching pays.
	prefetchSlots = 1 << 12
)

// foldRows folds what an exchange delivers. Of a table that is not in the
// processor's cache the memory for later records is asked for on the way.
func (t *table[K, S, I]) foldRows(rows []row[I]) {
	if t.slots.used <= prefetchSlots {
		for i := range rows {
			k := t.key(&rows[i].record)
			t.fold(rows[i].Meta, k, t.hash(k), &rows[i].record)
		}
		return
	}
	for at := -prefetchSteps * prefetched; at < len(rows); at += prefetched {
		for step := prefetchSteps; step > 0; step-- {
			from := at + step*prefetched
			t.warmRows(step, rows[min(max(from, 0), len(rows)):min(max(from+prefetched, 0), len(rows))], from)
		}
		for i := max(at, 0); i < min(max(at+prefetched, 0), len(rows)); i++ {
			t.fold(rows[i].Meta, t.key(&rows[i].record), t.hashes[i%len(t.hashes)], &rows[i].record)
		}
	}
}

// warmRows is one step of asking for the memory of records: the first one is
// prefetchSteps.
func (t *table[K, S, I]) warmRows(step int, rows []row[I], from int) {
	switch step {
	case prefetchSteps:
		for i := range rows {
			h := t.hash(t.key(&rows[i].record))
			t.hashes[(from+i)%len(t.hashes)] = h
			prefetch.Line(unsafe.Pointer(t.slots.home(h)))
		}
	case prefetchSteps - 1:
		for i := range rows {
			if _, s := t.slots.guess(t.hashes[(from+i)%len(t.hashes)]); s != nil {
				s.prefetch()
			}
		}
	case prefetchSteps - 2:
		if t.warmer == nil && t.leases.ttl == nil {
			return
		}
		for i := range rows {
			if j, s := t.slots.guess(t.hashes[(from+i)%len(t.hashes)]); s != nil {
				t.warmSlot(j, s)
			}
		}
	}
}

// warmSlot asks for what a call for a key will read besides its slot.
func (t *table[K, S, I]) warmSlot(i uint32, s *slot[K, S]) {
	if t.warmer != nil {
		prefetch.Line(t.warmer.Warm(&s.state))
	}
	if t.leases.ttl != nil {
		prefetch.Line(t.leases.place(i))
	}
}

// warmDue does so for slots whose timers are due.
func (t *table[K, S, I]) warmDue(due []calendar.Entry) {
	for _, e := range due {
		t.slots.at(e.Whose).prefetch()
	}
	for _, e := range due {
		s := t.slots.at(e.Whose)
		t.warmSlot(e.Whose, s)
		prefetch.Line(unsafe.Pointer(t.slots.home(t.hash(s.key)))) // where it is taken out
	}
}

// fold applies one record. For a stage that sees records in the order of the
// source, the key's timers that the record's own watermark has passed fire
// first, so that a key sees the same sequence of records and timers whether
// watermarks advance record by record or block by block.
func (t *table[K, S, I]) fold(m Meta, k K, hash uint64, in *I) {
	i, s := t.slots.find(hash, k)
	if s == nil && t.cold.any {
		i, s = t.thaw(k)
	}
	known := s != nil
	if !known {
		i, s = t.slots.take(k)
	} else if t.node.Ordered {
		if s.due <= m.Watermark {
			t.fire(i, s, m.Watermark)
		}
		if t.leases.ended(i, m.Watermark) {
			t.expire(i, s)
		}
		if s.is(slotFree) { // a timer has forgotten the key, or its time was over
			known = false
			i, s = t.slots.take(k)
		}
	}
	t.save(i, s)
	fresh := s.is(slotGone)
	if fresh {
		s.flags &^= slotGone
		t.live++
	}
	s.flags |= slotUsed
	t.current = s
	t.context.Begin(m)
	t.op.Fold(&t.context, s.key, &s.state, in)
	t.current = nil
	t.after(i, s, m.Effective())
	if fresh && t.context.unchanged {
		t.drop(i, s) // the operator took no notice of the key: neither do we
	}
	switch unneeded := s.flags&(slotGone|slotKept) == slotGone; {
	case unneeded:
		if known {
			t.slots.remove(hash, i)
		}
		t.slots.release(i)
	case !known:
		t.slots.insert(hash, i)
	}
}

// fire calls the operator for the slot's timers up to the watermark. The slot
// may be nobody's afterwards.
func (t *table[K, S, I]) fire(i uint32, s *slot[K, S], watermark event.Time) {
	t.firing = true
	for s.due <= watermark && s.due != event.MaxTime {
		at := s.due
		if t.leases.ended(i, at-1) {
			t.expire(i, s)
			break
		}
		t.save(i, s)
		t.removeTimer(s, at)
		t.current = s
		t.context.Begin(Meta{Time: at, Watermark: at - 1})
		t.op.Timer(&t.context, s.key, &s.state, at)
		t.current = nil
		t.context.unchanged = false // the timer itself is gone
		t.after(i, s, at)
	}
	t.firing = false
	t.settle(i, s)
}

// after carries out what a call asked for and marks the slot. at is the event
// time at which the key was used.
func (t *table[K, S, I]) after(i uint32, s *slot[K, S], at event.Time) {
	c := &t.context
	if len(c.set)+len(c.unset) > 0 {
		t.setTimers(i, s)
	}
	if c.clocked {
		t.setClockTimers(i)
	}
	if t.leases.ttl != nil && t.leases.use(i, at, t.now, c.unchanged) {
		c.unchanged = false
	}
	if c.forget {
		t.drop(i, s)
		c.unchanged = false
	} else if c.unchanged {
		return
	}
	t.mark(i, s)
}

// settle lets go of a slot that was forgotten if nothing is kept of its key
// anywhere: neither in a checkpoint nor in a view.
func (t *table[K, S, I]) settle(i uint32, s *slot[K, S]) {
	if s.flags&(slotGone|slotKept|slotFree) == slotGone {
		t.slots.remove(t.hash(s.key), i)
		t.slots.release(i)
	}
}

func (t *table[K, S, I]) setTimers(i uint32, s *slot[K, S]) {
	c := &t.context
	for _, at := range c.unset {
		if t.removeTimer(s, at) {
			c.unchanged = false
		}
	}
	for _, at := range c.set {
		if t.addTimer(s, at) {
			c.unchanged = false
		}
	}
	t.queue(i, s)
}

// addTimer reports whether the timer was not there before.
func (t *table[K, S, I]) addTimer(s *slot[K, S], at event.Time) bool {
	switch {
	case at == s.due:
		return false
	case at < s.due:
		if s.due != event.MaxTime {
			s.more = t.more.Insert(s.more, s.due)
		}
		s.due = at
		return true
	}
	before := len(t.more.Of(s.more))
	s.more = t.more.Insert(s.more, at)
	return len(t.more.Of(s.more)) > before
}

// removeTimer reports whether the timer was there.
func (t *table[K, S, I]) removeTimer(s *slot[K, S], at event.Time) (found bool) {
	if at != s.due {
		s.more, found = t.more.Remove(s.more, at)
		return found
	}
	if s.more == 0 {
		s.due = event.MaxTime
		return true
	}
	s.due = t.more.Of(s.more)[0]
	s.more, _ = t.more.Remove(s.more, s.due)
	return true
}

// timersOf appends all timers of a slot in event time.
func (t *table[K, S, I]) timersOf(dst []event.Time, s *slot[K, S]) []event.Time {
	if s.due == event.MaxTime {
		return dst
	}
	return append(append(dst, s.due), t.more.Of(s.more)...)
}

// queue puts the slot into the calendar if its earliest timer is not there
// yet. A timer that moved later keeps its old entry, which is put right when
// it comes up: sessions that are prolonged by every event cost nothing there.
func (t *table[K, S, I]) queue(i uint32, s *slot[K, S]) {
	if s.due < s.queued {
		s.queued = s.due
		t.timers.Push(calendar.Entry{At: s.due, Whose: i})
	}
}

// Advance fires timers in the order of their times, over all keys; keys that
// are due at the same time have no order.
func (t *table[K, S, I]) Advance(watermark event.Time, most int) bool {
	if t.cold.any && t.thawDue(&t.cold.timers, watermark, most) {
		return true
	}
	for t.timers.Due(watermark) {
		if most <= 0 {
			return true
		}
		n := t.timers.PopSame(t.due[:min(most, prefetched)])
		most -= n
		if n > 1 && t.slots.used > prefetchSlots {
			t.warmDue(t.due[:n])
		}
		for _, e := range t.due[:n] {
			s := t.slots.at(e.Whose)
			if s.queued != e.At {
				continue // overtaken by an earlier entry of the same slot
			}
			s.queued = event.MaxTime
			t.fire(e.Whose, s, e.At) // only this one: timers fire in time order over all keys
			if !s.is(slotFree) {
				t.queue(e.Whose, s)
			}
		}
	}
	t.watermark = max(t.watermark, watermark)
	if ttl := t.leases.ttl; ttl != nil && ttl.EventTime {
		return t.expireUntil(watermark, most)
	}
	return false
}

// Due looks at the first timers.
func (t *table[K, S, I]) Due(watermark, now event.Time) bool {
	return t.timers.Due(watermark) || t.cold.timers.Due(watermark) ||
		t.cold.clock.Due(now) || t.clock.queue.Due(now) || t.leases.due(watermark, now)
}

// Resume is needed for calls that see the table's watermark.
func (t *table[K, S, I]) Resume(watermark event.Time) { t.watermark = watermark }

// Changed counts keys that were forgotten too.
func (t *table[K, S, I]) Changed() int { return len(t.touched) }

// drop empties a slot.
func (t *table[K, S, I]) drop(i uint32, s *slot[K, S]) {
	if !s.is(slotGone) {
		t.live--
	}
	var empty S
	s.state, s.due, s.queued = empty, event.MaxTime, event.MaxTime
	s.more = t.more.Clear(s.more)
	s.flags |= slotGone
	t.clock.clear(i)
	t.leases.end(i)
}

func (t *table[K, S, I]) mark(i uint32, s *slot[K, S]) {
	if s.dirty == 0 {
		s.dirty = t.epoch
		t.dirty = append(t.dirty, i)
	}
	if t.answer != nil && !s.is(slotTouched) {
		s.flags |= slotTouched
		t.touched = append(t.touched, i)
	}
}

// Forget leaves the slot until a checkpoint has deleted the key.
func (t *table[K, S, I]) Forget(key string, watermark event.Time) {
	k, ok := KeyFrom[K]([]byte(key))
	if !ok {
		return
	}
	i, s := t.slots.find(t.hash(k), k)
	if s == nil && t.cold.any {
		i, s = t.thaw(k)
	}
	if s == nil {
		return
	}
	if t.node.Ordered && s.due <= watermark {
		t.fire(i, s, watermark)
	}
	if s.flags&(slotGone|slotFree) == 0 {
		t.discard(i, s)
	}
}

// discard forgets a slot's key.
func (t *table[K, S, I]) discard(i uint32, s *slot[K, S]) {
	t.save(i, s)
	t.drop(i, s)
	t.mark(i, s)
	t.settle(i, s)
}

// Answers goes by the keys that changed, in the order of their first change.
func (t *table[K, S, I]) Answers() {
	for _, i := range t.touched {
		s := t.slots.at(i)
		s.flags &^= slotTouched
		t.current = s
		if !s.is(slotGone) {
			t.answer.Answer(s.key, &s.state)
			continue
		}
		t.answer.Answer(s.key, nil)
		t.settle(i, s)
	}
	t.current = nil
	t.touched = t.touched[:0]
}

// keyString is a key for people.
func keyString[K Key](k K) string { return fmt.Sprint(k) }
