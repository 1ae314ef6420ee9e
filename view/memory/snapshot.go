package memory

import (
	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// snapshot is the one thing that a reader allocates. (The slot itself could
// serve as the snapshot and save that, but then a snapshot used after it was
// closed would silently read, or close, somebody else's.)
type snapshot struct {
	store   *Store
	version *version
	slot    *slot // nil once closed
}

// Snapshot implements view.Store.
func (s *Store) Snapshot() view.Snapshot { return s.hold(s.published.Load()) }

// hold opens a snapshot of the version, which was the published one a moment
// ago, or of a later one.
//
// The order of the steps is what keeps the writer from cutting values that
// this snapshot reads. Go's atomic operations are sequentially consistent.
// The reader marks its slot and then reads which version is published; the
// writer publishes and then reads the slots. If the reader finds its version
// still published, its mark came before the writer's next look. If not, the
// writer may have looked in between, and the reader marks the newer version.
func (s *Store) hold(v *version) *snapshot {
	slot := s.readers.acquire(v.number)
	for {
		latest := s.published.Load()
		if latest == v {
			return &snapshot{store: s, version: v, slot: slot}
		}
		v = latest
		slot.number.Store(v.number)
	}
}

// Get implements view.Reader.
func (s *snapshot) Get(name, key string) (operator.Value, bool) {
	if s.slot == nil {
		panic("view: snapshot used after it was closed")
	}
	t := (*s.store.tables.Load())[name]
	if t == nil {
		return nil, false
	}
	c, ok := t.cells.Load(key)
	if !ok {
		return nil, false
	}
	value := c.at(s.version.number)
	return value, value != nil
}

// Block implements view.Snapshot.
func (s *snapshot) Block() uint64 { return s.version.block }

// StreamTime implements view.Snapshot.
func (s *snapshot) StreamTime() event.Time { return s.version.time }

// Close implements view.Snapshot.
func (s *snapshot) Close() {
	if s.slot != nil {
		s.slot.number.Store(0)
		s.slot = nil
	}
}
