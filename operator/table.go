package operator

import (
	"fmt"
	"maps"
	"slices"

	"millrace/event"
	"millrace/event/wire"
)

// Table is the live keyed state of one shard of one stage: ordinary Go
// structs, one a key, and their timers. It runs the operator, remembers which
// keys changed since the last checkpoint and since the last answers, and
// encodes a key once a checkpoint. A Table belongs to one goroutine at a time.
type Table interface {
	// Sink is a func(Meta, *I) that folds one record.
	Sink() any
	// Advance fires every timer up to and including the watermark.
	Advance(watermark event.Time)
	// Answers lets the operator answer for each key that changed since the
	// last call.
	Answers()
	// Forget drops a key's state and timers, and deletes its answers.
	Forget(key string)
	// Len is how many keys hold state.
	Len() int
	// Current is the key of the call under way, for reports of a panic.
	Current() string

	Snapshotter
}

// Snapshotter is how a table's state is saved while it keeps changing.
type Snapshotter interface {
	// BeginCheckpoint fixes the state as it is now as the next checkpoint's:
	// the keys that changed since the last one. It takes constant time. A
	// key that is about to change is encoded just before.
	BeginCheckpoint()
	// Encode encodes up to max keys of the checkpoint and says how many are left.
	Encode(max int) (left int)
	// TakeWrites hands over what the checkpoint has encoded. Called when
	// Encode has said 0.
	TakeWrites() []StateWrite
	// Load restores a key from its stored bytes.
	Load(key, value []byte) error
	// Each calls fn for every key in order, with its encoded state.
	Each(fn func(key string, value []byte) error) error
	// HandOver is Each for a table that will be used no more: it also names
	// the keys that were forgotten since the last checkpoint, with a nil value.
	HandOver(fn func(key string, value []byte) error) error
	// TakeOver takes what HandOver gave, as a change that no checkpoint has yet.
	TakeOver(key, value []byte) error
}

// StateWrite is a key's encoded state on its way to a state backend. A nil
// Value deletes. The bytes are not changed any more.
type StateWrite struct{ Key, Value []byte }

// slot is one key's place in a table.
type slot[K Key, S any] struct {
	key     K
	state   S
	timers  []event.Time // ascending
	queued  event.Time   // the time of its valid heap entry, MaxTime if none
	dirty   uint32       // the checkpoint epoch in which it changed, 0 if saved
	touched bool         // changed since the last Answers
	gone    bool         // forgotten; kept until a checkpoint has deleted it
}

type table[K Key, S, I any] struct {
	node    *Node
	key     func(*I) K
	op      Operator[K, S, I]
	answer  Answerer[K, S] // nil if the operator has no answers
	context Context
	slots   map[K]*slot[K, S]
	live    int
	spare   *slot[K, S] // empty and not in slots, or nil
	timers  timerHeap[K, S]
	touched []*slot[K, S]
	current *slot[K, S]

	// epoch counts checkpoints. A slot whose dirty epoch is older than epoch
	// belongs to the checkpoint being encoded.
	epoch   uint32
	dirty   []*slot[K, S] // changed in this epoch
	pending []*slot[K, S] // of the checkpoint being encoded
	writes  []StateWrite
	arena   []byte
	scratch []byte
}

func (d typed[K, S, I]) newTable(n *Node, s Shard) Table {
	t := &table[K, S, I]{node: n, key: d.stage.Key, slots: make(map[K]*slot[K, S]), epoch: 1}
	t.op = d.stage.New(NewPorts(&t.context, s.Sinks, s.Views))
	t.answer, _ = t.op.(Answerer[K, S])
	return t
}

// Sink is the function that folds a record.
func (t *table[K, S, I]) Sink() any { return t.fold }

// Len does not count keys that were forgotten and wait for a checkpoint.
func (t *table[K, S, I]) Len() int { return t.live }

// Current is empty before the first call.
func (t *table[K, S, I]) Current() string {
	if t.current == nil {
		return ""
	}
	return keyString(t.current.key)
}

// fold applies one record. For a stage that sees records in the order of the
// source, the key's timers that the record's own watermark has passed fire
// first, so that a key sees the same sequence of records and timers whether
// watermarks advance record by record or block by block.
func (t *table[K, S, I]) fold(m Meta, in *I) {
	k := t.key(in)
	s := t.slots[k]
	known := s != nil
	if !known {
		s = t.unused(k)
	} else if t.node.Ordered && len(s.timers) > 0 && s.timers[0] <= m.Watermark {
		t.fire(s, m.Watermark)
	}
	t.save(s)
	fresh := s.gone
	if fresh {
		s.gone = false
		t.live++
	}
	t.current = s
	t.context.Begin(m)
	t.op.Fold(&t.context, s.key, &s.state, in)
	t.after(s)
	if fresh && t.context.unchanged {
		t.drop(s) // the operator took no notice of the key: neither do we
	}
	if known {
		return
	}
	if s.gone && s.dirty == 0 {
		t.spare = s
	} else {
		t.slots[k] = s
	}
}

// unused is a slot that is not in the table yet. One that was not needed in
// the end serves again: most keys of an operator that seldom keeps anything
// then cost no memory.
func (t *table[K, S, I]) unused(k K) *slot[K, S] {
	s := t.spare
	if s == nil {
		s = &slot[K, S]{}
	}
	t.spare = nil
	s.key, s.queued, s.gone = k, event.MaxTime, true
	return s
}

// fire calls the operator for the slot's timers up to the watermark.
func (t *table[K, S, I]) fire(s *slot[K, S], watermark event.Time) {
	for len(s.timers) > 0 && s.timers[0] <= watermark {
		t.save(s)
		at := s.timers[0]
		s.timers = slices.Delete(s.timers, 0, 1)
		t.current = s
		t.context.Begin(Meta{Time: at, Watermark: at - 1})
		t.op.Timer(&t.context, s.key, &s.state, at)
		t.context.unchanged = false // the timer itself is gone
		t.after(s)
	}
}

// after carries out what a call asked for and marks the slot.
func (t *table[K, S, I]) after(s *slot[K, S]) {
	c := &t.context
	if len(c.set)+len(c.unset) > 0 {
		t.setTimers(s)
	}
	if c.forget {
		t.drop(s)
		c.unchanged = false
	} else if c.unchanged {
		return
	}
	t.mark(s)
}

func (t *table[K, S, I]) setTimers(s *slot[K, S]) {
	c := &t.context
	for _, at := range c.unset {
		if i, ok := slices.BinarySearch(s.timers, at); ok {
			s.timers = slices.Delete(s.timers, i, i+1)
			c.unchanged = false
		}
	}
	for _, at := range c.set {
		if i, ok := slices.BinarySearch(s.timers, at); !ok {
			s.timers = slices.Insert(s.timers, i, at)
			c.unchanged = false
		}
	}
	t.queue(s)
}

// queue puts the slot into the heap if its earliest timer is not there yet.
// A timer that moved later keeps its old entry, which is put right when it
// comes up: sessions that are prolonged by every event cost no heap work.
func (t *table[K, S, I]) queue(s *slot[K, S]) {
	if len(s.timers) > 0 && s.timers[0] < s.queued {
		s.queued = s.timers[0]
		t.timers.push(timerEntry[K, S]{at: s.queued, slot: s})
	}
}

// Advance fires timers in the order of their times, over all keys.
func (t *table[K, S, I]) Advance(watermark event.Time) {
	for len(t.timers) > 0 && t.timers[0].at <= watermark {
		e := t.timers.pop()
		if e.slot.queued != e.at {
			continue // overtaken by an earlier entry of the same slot
		}
		e.slot.queued = event.MaxTime
		t.fire(e.slot, e.at) // only this one: timers fire in time order over all keys
		t.queue(e.slot)
	}
}

// drop empties a slot.
func (t *table[K, S, I]) drop(s *slot[K, S]) {
	if !s.gone {
		t.live--
	}
	var empty S
	s.state, s.timers, s.queued, s.gone = empty, nil, event.MaxTime, true
}

func (t *table[K, S, I]) mark(s *slot[K, S]) {
	if s.dirty == 0 {
		s.dirty = t.epoch
		t.dirty = append(t.dirty, s)
	}
	if !s.touched && t.answer != nil {
		s.touched = true
		t.touched = append(t.touched, s)
	}
}

// Forget leaves the slot until a checkpoint has deleted the key.
func (t *table[K, S, I]) Forget(key string) {
	k, ok := KeyFrom[K]([]byte(key))
	if !ok {
		return
	}
	if s := t.slots[k]; s != nil && !s.gone {
		t.save(s)
		t.drop(s)
		t.mark(s)
	}
}

// Answers goes by the keys that changed, in the order of their first change.
func (t *table[K, S, I]) Answers() {
	for i, s := range t.touched {
		s.touched = false
		t.touched[i] = nil
		t.current = s
		if s.gone {
			t.answer.Answer(s.key, nil)
		} else {
			t.answer.Answer(s.key, &s.state)
		}
	}
	t.touched = t.touched[:0]
}

// BeginCheckpoint begins an epoch: what is dirty of the one before is the
// checkpoint.
func (t *table[K, S, I]) BeginCheckpoint() {
	t.epoch++
	t.pending, t.dirty = t.dirty, t.pending[:0]
	t.writes, t.arena = nil, nil
}

// save encodes a slot that belongs to the checkpoint under way, before it
// changes.
func (t *table[K, S, I]) save(s *slot[K, S]) {
	if s.dirty == 0 || s.dirty == t.epoch {
		return
	}
	s.dirty = 0
	key := t.keep(KeyBytes(t.scratch[:0], s.key))
	if s.gone {
		t.writes = append(t.writes, StateWrite{Key: key})
		return
	}
	t.writes = append(t.writes, StateWrite{Key: key, Value: t.keep(t.encode(t.scratch[:0], s))})
}

// keep copies bytes into the checkpoint's memory, in large pieces.
func (t *table[K, S, I]) keep(b []byte) []byte {
	t.scratch = b[:0]
	if cap(t.arena)-len(t.arena) < len(b) {
		t.arena = make([]byte, 0, max(256<<10, len(b)))
	}
	from := len(t.arena)
	t.arena = append(t.arena, b...)
	return t.arena[from:len(t.arena):len(t.arena)]
}

// Encode also lets go of the slots of forgotten keys.
func (t *table[K, S, I]) Encode(most int) int {
	for n := 0; n < most && len(t.pending) > 0; n++ {
		last := len(t.pending) - 1
		s := t.pending[last]
		t.pending[last] = nil
		t.pending = t.pending[:last]
		t.save(s)
		if s.gone && s.dirty == 0 && t.slots[s.key] == s {
			delete(t.slots, s.key)
		}
	}
	return len(t.pending)
}

// TakeWrites lets go of the checkpoint's memory; the writes keep what they
// need of it.
func (t *table[K, S, I]) TakeWrites() []StateWrite {
	w := t.writes
	t.writes, t.arena = nil, nil
	return w
}

// encode writes a slot.
func (t *table[K, S, I]) encode(dst []byte, s *slot[K, S]) []byte {
	return t.op.Append(BeginState(dst, t.node.Version, s.timers), &s.state)
}

// Load puts the key's timers back and has the key answer again.
func (t *table[K, S, I]) Load(key, value []byte) error {
	k, ok := KeyFrom[K](key)
	if !ok {
		return fmt.Errorf("stage %s: %w: not a key: %q", t.node.Name, wire.ErrCorrupt, key)
	}
	s := &slot[K, S]{key: k, queued: event.MaxTime}
	version, timers, state, err := SplitState(value)
	if err == nil {
		err = t.op.Load(version, state, &s.state)
	}
	if err != nil {
		return fmt.Errorf("stage %s: load state of %q: %w", t.node.Name, keyString(k), err)
	}
	s.timers = timers
	t.slots[k] = s
	t.live++
	t.queue(s)
	if t.answer != nil {
		s.touched = true
		t.touched = append(t.touched, s)
	}
	return nil
}

// BeginState appends what a key's stored bytes begin with, the version of the
// state's format and the timers in ascending order; the operator appends the
// rest. Every engine stores keys in this form, so that each can read what
// another has stored.
func BeginState(dst []byte, version uint8, timers []event.Time) []byte {
	dst = append(dst, version)
	dst = wire.AppendUvarint(dst, uint64(len(timers)))
	last := event.Time(0)
	for _, at := range timers {
		dst = wire.AppendVarint(dst, int64(at-last))
		last = at
	}
	return dst
}

// SplitState takes a key's stored bytes apart: the version of the state's
// format, the timers, and what the operator wrote.
func SplitState(value []byte) (version uint8, timers []event.Time, state []byte, err error) {
	r := wire.NewReader(value)
	version = r.Byte()
	n := r.Count()
	last := event.Time(0)
	for range n {
		last += event.Time(r.Varint())
		timers = append(timers, last)
	}
	if r.Err() != nil {
		return 0, nil, nil, r.Err()
	}
	return version, timers, value[len(value)-r.Len():], nil
}

// Each leaves out keys that were forgotten.
func (t *table[K, S, I]) Each(fn func(key string, value []byte) error) error {
	return t.HandOver(func(key string, value []byte) error {
		if value == nil {
			return nil
		}
		return fn(key, value)
	})
}

// HandOver encodes the keys in ascending order.
func (t *table[K, S, I]) HandOver(fn func(key string, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(t.slots)) {
		var value []byte
		if s := t.slots[k]; !s.gone {
			value = t.encode(nil, s)
		}
		if err := fn(string(KeyBytes(nil, k)), value); err != nil {
			return err
		}
	}
	return nil
}

// TakeOver is Load and marks the key as changed; without a value the key is to
// be deleted.
func (t *table[K, S, I]) TakeOver(key, value []byte) error {
	if value != nil {
		if err := t.Load(key, value); err != nil {
			return err
		}
	}
	k, ok := KeyFrom[K](key)
	if !ok {
		return fmt.Errorf("stage %s: %w: not a key: %q", t.node.Name, wire.ErrCorrupt, key)
	}
	s := t.slots[k]
	if s == nil {
		s = &slot[K, S]{key: k, queued: event.MaxTime, gone: true}
		t.slots[k] = s
	}
	t.mark(s)
	return nil
}

// keyString is a key for people.
func keyString[K Key](k K) string { return fmt.Sprint(k) }
