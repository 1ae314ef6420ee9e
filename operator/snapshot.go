package operator

import (
	"cmp"
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
)

// Snapshotter is how a table's state is saved while it keeps changing.
type Snapshotter interface {
	// BeginCheckpoint fixes the state as it is now as the next checkpoint's:
	// the keys that changed since the last one. It takes constant time. A
	// key that is about to change is encoded just before.
	BeginCheckpoint()
	// Encode encodes up to max keys of the checkpoint and says how many are left.
	Encode(max int) (left int)
	// TakeWrites hands over what the checkpoint has encoded since the last call.
	// Who wants all at once calls it when Encode has said 0.
	TakeWrites() []StateWrite
	// Load restores a key from its stored bytes.
	Load(key, value []byte) error
	// LoadCold notes a key that stays where it is stored until it is needed.
	LoadCold(key, value []byte) error
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

// BeginCheckpoint begins an epoch: what is dirty of the one before is the
// checkpoint.
func (t *table[K, S, I]) BeginCheckpoint() {
	t.epoch++
	t.pending, t.dirty = t.dirty, t.pending[:0]
	t.writes, t.arena = nil, nil
	for _, i := range t.cold.held { // the one before is stored
		s := t.slots.at(i)
		s.flags &^= slotHeld
		t.settle(i, s)
	}
	t.cold.held = t.cold.held[:0]
}

// save encodes a slot that belongs to the checkpoint under way, before it
// changes.
func (t *table[K, S, I]) save(i uint32, s *slot[K, S]) {
	if s.dirty != 0 && s.dirty != t.epoch {
		t.write(i, s)
	}
}

func (t *table[K, S, I]) write(i uint32, s *slot[K, S]) {
	s.dirty = 0
	if s.is(slotFree) {
		return
	}
	if s.is(slotGone) && !s.is(slotSaved) {
		return // no checkpoint knows the key
	}
	key := t.keep(KeyBytes(t.scratch[:0], s.key))
	if s.is(slotGone) {
		s.flags &^= slotSaved
		if t.cold.read != nil {
			s.flags |= slotHeld
			t.cold.held = append(t.cold.held, i)
		}
		t.writes = append(t.writes, StateWrite{Key: key})
		return
	}
	s.flags |= slotSaved
	value := t.keep(t.encode(t.scratch[:0], i, s))
	t.writes = append(t.writes, StateWrite{Key: key, Value: value})
	if t.cold.read != nil {
		t.cold.written += int64(len(value))
		t.cold.states++
	}
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
		i := t.pending[last]
		t.pending = t.pending[:last]
		s := t.slots.at(i)
		t.save(i, s)
		if s.dirty == 0 {
			t.settle(i, s)
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
func (t *table[K, S, I]) encode(dst []byte, i uint32, s *slot[K, S]) []byte {
	h := Header{Version: t.node.Version, Processing: t.clock.of(i), Stamp: t.leases.stamp(i)}
	if s.due != event.MaxTime {
		t.times = t.timersOf(t.times[:0], s)
		h.Timers = t.times
	}
	return t.op.Append(h.AppendTo(dst), &s.state)
}

// Load puts the key's timers back and has the key answer again.
func (t *table[K, S, I]) Load(key, value []byte) error {
	_, err := t.load(key, value)
	return err
}

// LoadCold reads the key and evicts it, so that its timers are known. Answers
// are not made: they are to be stored.
func (t *table[K, S, I]) LoadCold(key, value []byte) error {
	i, err := t.load(key, value)
	if err != nil {
		return err
	}
	s := t.slots.at(i)
	if s.is(slotTouched) {
		return nil // it has an answer to make
	}
	t.evict(i, s)
	return nil
}

func (t *table[K, S, I]) load(key, value []byte) (uint32, error) {
	k, ok := KeyFrom[K](key)
	if !ok {
		return 0, fmt.Errorf("stage %s: %w: not a key: %q", t.node.Name, wire.ErrCorrupt, key)
	}
	h, state, err := SplitState(value)
	i, s := t.slots.take(k)
	if err == nil {
		err = t.op.Load(h.Version, state, &s.state)
	}
	if err != nil {
		t.drop(i, s)
		t.slots.release(i)
		return 0, fmt.Errorf("stage %s: load state of %q: %w", t.node.Name, keyString(k), err)
	}
	t.slots.insert(t.hash(k), i)
	s.flags = slotSaved
	t.live++
	for _, at := range h.Timers {
		t.addTimer(s, at)
	}
	t.queue(i, s)
	for _, at := range h.Processing {
		t.clock.add(i, at)
	}
	if t.leases.ttl != nil {
		t.leases.start(i, h.Stamp)
	}
	if t.answer != nil {
		s.flags |= slotTouched
		t.touched = append(t.touched, i)
	}
	return i, nil
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
	var all []uint32
	t.slots.each(func(i uint32, _ *slot[K, S]) { all = append(all, i) })
	slices.SortFunc(all, func(a, b uint32) int { return cmp.Compare(t.slots.at(a).key, t.slots.at(b).key) })
	for _, i := range all {
		s := t.slots.at(i)
		var value []byte
		if !s.is(slotGone) {
			value = t.encode(nil, i, s)
		}
		if err := fn(string(KeyBytes(nil, s.key)), value); err != nil {
			return err
		}
	}
	return nil
}

// TakeOver is Load and marks the key as changed; without a value the key is to
// be deleted.
func (t *table[K, S, I]) TakeOver(key, value []byte) error {
	if value != nil {
		i, err := t.load(key, value)
		if err == nil {
			t.mark(i, t.slots.at(i))
		}
		return err
	}
	k, ok := KeyFrom[K](key)
	if !ok {
		return fmt.Errorf("stage %s: %w: not a key: %q", t.node.Name, wire.ErrCorrupt, key)
	}
	if _, s := t.slots.find(t.hash(k), k); s != nil {
		return nil // it is known again
	}
	i, s := t.slots.take(k)
	s.flags = slotGone | slotSaved
	t.slots.insert(t.hash(k), i)
	t.mark(i, s)
	return nil
}
