// Package memory keeps views in the memory of one process. Readers never
// lock, never wait and are never waited for.
package memory

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// Store is a view.Store in memory. What it keeps is one value a key, and for
// each open snapshot the values that have been replaced since.
type Store struct {
	published atomic.Pointer[version]
	tables    atomic.Pointer[map[string]*table] // grows by copying
	readers   registry

	mu      sync.Mutex // held to publish
	closed  bool
	written []*cell    // changed by the publication under way
	waiting []waitlist // cells that keep old values for open snapshots
	active  []uint64   // scratch
	spare   [][]*cell  // lists to use again, empty
}

// version is one published state of all views. Numbers count publications,
// from 1, the empty state.
type version struct {
	number uint64
	block  uint64
	time   event.Time
}

// waitlist is the cells to be trimmed once no snapshot reads a version. A
// cell waits for the oldest version that needs it, so it is in one list at
// most.
type waitlist struct {
	version uint64
	cells   []*cell
}

// New makes an empty store.
func New() *Store {
	s := &Store{}
	s.published.Store(&version{number: 1, time: event.MinTime})
	s.tables.Store(&map[string]*table{})
	s.readers.init()
	return s
}

// Publish implements view.Store.
func (s *Store) Publish(block uint64, streamTime event.Time, writes ...[]operator.ViewWrite) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.published.Load()
	if s.closed {
		return fmt.Errorf("publish block %d: %w", block, view.ErrClosed)
	}
	if block < last.block {
		return fmt.Errorf("publish block %d after block %d: %w", block, last.block, view.ErrOutOfOrder)
	}
	next := &version{number: last.number + 1, block: block, time: streamTime}
	for _, w := range writes {
		s.write(next.number, w)
	}
	s.published.Store(next)
	for _, t := range *s.tables.Load() {
		if t.delta != 0 {
			t.live.Add(t.delta)
			t.delta = 0
		}
	}
	s.cut(next.number)
	return nil
}

// write puts values under a version that is not yet published: readers walk
// past them.
func (s *Store) write(number uint64, writes []operator.ViewWrite) {
	var t *table
	var name string
	for i := range writes {
		w := &writes[i]
		if t == nil || w.View != name {
			t, name = s.table(w.View), w.View
		}
		c, ok := t.cells.Load(w.Key)
		if !ok {
			if w.Value == nil {
				continue
			}
			c = &cell{table: t, key: w.Key, gone: true}
			c.put(number, w.Value)
			t.cells.Store(w.Key, c)
		} else if w.Value != nil || !c.gone {
			c.put(number, w.Value)
			s.written = append(s.written, c)
		}
	}
}

// cut drops the values that no snapshot can read any more. It runs after
// version now is published, so a snapshot taken from here on reads now or
// later, and one taken before is in its slot (see Snapshot).
func (s *Store) cut(now uint64) {
	s.active = s.readers.active(s.active[:0], now)
	for i := range s.waiting {
		list := &s.waiting[i]
		if slices.Contains(s.active, list.version) {
			continue
		}
		for _, c := range list.cells {
			c.waiting = false
		}
		s.written = append(s.written, list.cells...)
		clear(list.cells)
		s.spare = append(s.spare, list.cells[:0])
		list.cells = nil
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(l waitlist) bool { return l.cells == nil })
	for i, c := range s.written {
		s.written[i] = nil
		needs := c.trim(s.active)
		switch {
		case needs != 0 && !c.waiting:
			s.wait(c, needs)
		case needs == 0 && c.gone:
			c.table.cells.Delete(c.key)
		}
	}
	s.written = s.written[:0]
}

// wait lists a cell for the time when no snapshot reads a version any more.
func (s *Store) wait(c *cell, version uint64) {
	c.waiting = true
	i := slices.IndexFunc(s.waiting, func(l waitlist) bool { return l.version == version })
	if i < 0 {
		i = len(s.waiting)
		list := waitlist{version: version}
		if last := len(s.spare) - 1; last >= 0 {
			list.cells, s.spare = s.spare[last], s.spare[:last]
		}
		s.waiting = append(s.waiting, list)
	}
	s.waiting[i].cells = append(s.waiting[i].cells, c)
}

// table returns the table of a view, a new one if the view has none.
func (s *Store) table(name string) *table {
	tables := *s.tables.Load()
	if t := tables[name]; t != nil {
		return t
	}
	more := maps.Clone(tables)
	t := &table{cells: xsync.NewMap[string, *cell]()}
	more[name] = t
	s.tables.Store(&more)
	return t
}

// Each implements view.Store.
func (s *Store) Each(name string, fn func(key string, v operator.Value) error) error {
	snapshot := s.Snapshot()
	defer snapshot.Close()
	keys := s.Keys(name)
	slices.Sort(keys)
	for _, key := range keys {
		if v, ok := snapshot.Get(name, key); ok {
			if err := fn(key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keys are the keys of a view in no order: those that have an answer, and
// perhaps some that had one lately or have one from now on.
func (s *Store) Keys(name string) []string {
	t := (*s.tables.Load())[name]
	if t == nil {
		return nil
	}
	keys := make([]string, 0, max(0, t.live.Load()))
	t.cells.Range(func(key string, _ *cell) bool {
		keys = append(keys, key)
		return true
	})
	return keys
}

// Len implements view.Store.
func (s *Store) Len(name string) int {
	if t := (*s.tables.Load())[name]; t != nil {
		return int(t.live.Load())
	}
	return 0
}

// Close implements view.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
