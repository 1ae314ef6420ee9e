package operator

import (
	"fmt"
	"unsafe"

	"millrace/event"
	"millrace/operator/internal/calendar"
	"millrace/operator/internal/filter"
)

// Cold is where the state of keys can be read back that are not in memory: what
// the last checkpoint has stored of a key, false if it has nothing.
type Cold func(stage string, key []byte) (value []byte, found bool, err error)

// ColdError is what a table panics with when state can not be read back; the
// engine stops.
type ColdError struct{ Err error }

// Error says what could not be read.
func (e ColdError) Error() string { return e.Err.Error() }

// Unwrap is why.
func (e ColdError) Unwrap() error { return e.Err }

// Evictor is how a table's memory is bounded.
type Evictor interface {
	// Bytes is about how many bytes of memory the keys take.
	Bytes() int64
	// Dirty is how many keys have changed since the last checkpoint.
	Dirty() int
	// Evict drops the state of keys from memory that the last checkpoint has
	// stored as it is, those that were not used lately first, until the keys
	// take no more than so many bytes, as far as that is possible. No
	// checkpoint may be under way. The keys are read back when they are needed.
	Evict(bytes int64)
}

// cold is what a table knows of the keys that are not in memory.
type cold[K Key] struct {
	read    Cold          // nil if all keys are in memory
	any     bool          // whether there are any
	known   filter.Filter // of the keys that have ever been
	hand    uint32
	keys    []K               // of those with timers
	free    []uint32          // of keys, what is nobody's
	timers  calendar.Calendar // of them in event time
	clock   calendar.Calendar // and in processing time
	held    []uint32          // slots of keys that the checkpoint under way deletes
	written int64             // bytes of the states that were encoded last
	states  int64             // how many these were
}

// keyOverhead is what a key takes besides its slot: its share of the index, of
// a calendar, and of the list of changed keys.
const keyOverhead = 24

// Bytes goes by the size of slots, and by that of encoded states where states
// hold more than is in their slots.
func (t *table[K, S, I]) Bytes() int64 {
	n := int64(t.slots.used) - int64(len(t.slots.free))
	beside := int64(0)
	if t.pointers && t.cold.states > 0 {
		beside = 32 + 2*t.cold.written/t.cold.states
	}
	return n*(int64(unsafe.Sizeof(slot[K, S]{}))+keyOverhead+beside) + t.cold.known.Bytes()
}

// Dirty counts slots that have changed.
func (t *table[K, S, I]) Dirty() int { return len(t.dirty) }

// Evict goes round the slots, and passes over those that were used since the
// last time (the CLOCK algorithm of Corbató, 1968).
func (t *table[K, S, I]) Evict(bytes int64) {
	if t.cold.read == nil || t.slots.used == 0 {
		return
	}
	for seen := uint32(0); seen < 2*t.slots.used && t.Bytes() > bytes; seen++ {
		i := t.cold.hand % t.slots.used
		t.cold.hand = i + 1
		s := t.slots.at(i)
		switch {
		case s.flags&(slotFree|slotGone|slotTouched|slotHeld|slotSaved) != slotSaved || s.dirty != 0:
		case s.is(slotUsed):
			s.flags &^= slotUsed
		default:
			t.evict(i, s)
		}
	}
}

func (t *table[K, S, I]) evict(i uint32, s *slot[K, S]) {
	if first := t.firstTimer(i, s); first != event.MaxTime {
		t.cold.timers.Push(calendar.Entry{At: first, Whose: t.keepKey(s.key)})
	}
	if first := t.firstClock(i); first != event.MaxTime {
		t.cold.clock.Push(calendar.Entry{At: first, Whose: t.keepKey(s.key)})
	}
	hash := t.hash(s.key)
	if !s.is(slotThawed) {
		t.cold.known.Add(hash)
	}
	t.slots.remove(hash, i)
	t.drop(i, s)
	t.live++ // it is still a key that holds state
	t.slots.release(i)
	t.cold.any = true
}

// firstTimer is the first moment of event time at which something happens to a
// key: a timer, or the end of its time. A key without answers whose time ends in
// the cold is not looked up for that: it is found to be over when it is needed.
func (t *table[K, S, I]) firstTimer(i uint32, s *slot[K, S]) event.Time {
	if ttl := t.leases.ttl; ttl != nil && ttl.EventTime && t.answer != nil {
		return min(s.due, t.leases.until(i))
	}
	return s.due
}

// firstClock is that of processing time.
func (t *table[K, S, I]) firstClock(i uint32) event.Time {
	first := event.MaxTime
	if list := t.clock.of(i); len(list) > 0 {
		first = list[0]
	}
	if ttl := t.leases.ttl; ttl != nil && !ttl.EventTime && t.answer != nil {
		first = min(first, t.leases.until(i))
	}
	return first
}

// keepKey stores a key and says where.
func (t *table[K, S, I]) keepKey(k K) uint32 {
	if n := len(t.cold.free); n > 0 {
		i := t.cold.free[n-1]
		t.cold.free = t.cold.free[:n-1]
		t.cold.keys[i] = k
		return i
	}
	t.cold.keys = append(t.cold.keys, k)
	return uint32(len(t.cold.keys) - 1)
}

// thaw reads a key back that is not in memory. It is nil if there is nothing.
func (t *table[K, S, I]) thaw(k K) (uint32, *slot[K, S]) {
	if !t.cold.known.Has(t.hash(k)) {
		return 0, nil
	}
	key := KeyBytes(t.coldKey[:0], k)
	t.coldKey = key
	value, found, err := t.cold.read(t.node.Name, key)
	if err != nil {
		panic(ColdError{fmt.Errorf("stage %s: read the state of %q back: %w", t.node.Name, keyString(k), err)})
	}
	if !found {
		return 0, nil
	}
	i, err := t.load(key, value)
	if err != nil {
		panic(ColdError{err})
	}
	t.live-- // load has counted it anew
	s := t.slots.at(i)
	s.flags |= slotThawed
	if t.answer != nil && s.is(slotTouched) { // its answer is known
		s.flags &^= slotTouched
		t.touched = t.touched[:len(t.touched)-1]
	}
	if t.over(i) {
		t.discard(i, s)
		return t.slots.find(t.hash(k), k)
	}
	return i, s
}

// over reports whether the time of a key that was read back ended in the cold,
// before anything that is still to happen to it.
func (t *table[K, S, I]) over(i uint32) bool {
	ttl := t.leases.ttl
	if ttl == nil {
		return false
	}
	end := t.leases.until(i)
	if ttl.EventTime {
		return end <= t.watermark
	}
	list := t.clock.of(i)
	return end <= t.now && (len(list) == 0 || list[0] > end)
}

// thawDue reads the keys back whose timers are due.
func (t *table[K, S, I]) thawDue(q *calendar.Calendar, until event.Time, most int) (more bool) {
	for q.Due(until) {
		if most--; most < 0 {
			return true
		}
		e := q.Pop()
		k := t.cold.keys[e.Whose]
		t.cold.keys[e.Whose] = *new(K)
		t.cold.free = append(t.cold.free, e.Whose)
		if _, s := t.slots.find(t.hash(k), k); s == nil {
			t.thaw(k)
		}
	}
	return false
}
