package catalog

import (
	"sync/atomic"

	"millrace/event"
)

// itemTable is the items by id, for one writer and any number of readers, who
// take no lock. Ranking looks up hundreds of items for a list and knows their
// hashes, so that a look costs the entry and the item: open addressing with
// linear probing, in segments so that growing never copies much at once.
type itemTable struct {
	segments [itemSegments]atomic.Pointer[itemSegment]
	size     atomic.Int64
}

const (
	itemSegments = 256 // by the highest eight bits of the hash
	// leastItemEntries is the size of the smallest segment.
	leastItemEntries = 8
)

// itemSegment is a part of the table. It never shrinks and its entries never
// change hands: one that is full is replaced.
type itemSegment struct {
	entries []itemEntry // a power of two of them
	used    int         // also by items that were removed; the writer's
}

// itemEntry is empty while item is nil. The hash is written before the item
// and not again.
type itemEntry struct {
	hash uint64
	item atomic.Pointer[event.Item]
}

// removed stands where an item was, so that what lies behind it is found.
var removed = &event.Item{}

// load is the item of an id whose hash is known, nil if there is none.
func (t *itemTable) load(id string, hash uint64) *event.Item {
	s := t.segments[hash>>56].Load()
	if s == nil {
		return nil
	}
	_, item := s.find(id, hash)
	return item
}

// find is the entry of an id and the item that it held when it was looked at:
// to look again would be to see what came in between. Both are nil if there
// is none.
func (s *itemSegment) find(id string, hash uint64) (*itemEntry, *event.Item) {
	mask := uint64(len(s.entries) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		e := &s.entries[i]
		switch item := e.item.Load(); {
		case item == nil:
			return nil, nil
		case e.hash == hash && item.ID == id:
			return e, item
		}
	}
}

// store puts an item in place of the one with its id, if there is one.
func (t *itemTable) store(item *event.Item) {
	hash := event.HashID(item.ID)
	place := &t.segments[hash>>56]
	s := place.Load()
	if s != nil {
		if e, _ := s.find(item.ID, hash); e != nil {
			e.item.Store(item)
			return
		}
	}
	if s == nil || (s.used+1)*4 > len(s.entries)*3 {
		s = s.grown()
		place.Store(s)
	}
	s.add(item, hash)
	t.size.Add(1)
}

// add puts an item that is not there into an empty entry.
func (s *itemSegment) add(item *event.Item, hash uint64) {
	mask := uint64(len(s.entries) - 1)
	i := hash & mask
	for s.entries[i].item.Load() != nil {
		i = (i + 1) & mask
	}
	s.entries[i].hash = hash
	s.entries[i].item.Store(item)
	s.used++
}

// grown is a segment with the same items, without those that were removed,
// and room for at least as many again.
func (s *itemSegment) grown() *itemSegment {
	if s == nil {
		return &itemSegment{entries: make([]itemEntry, leastItemEntries)}
	}
	live := 0
	for i := range s.entries {
		if item := s.entries[i].item.Load(); item != nil && item != removed {
			live++
		}
	}
	size := leastItemEntries
	for size < 3*live {
		size *= 2
	}
	next := &itemSegment{entries: make([]itemEntry, size)}
	for i := range s.entries {
		if item := s.entries[i].item.Load(); item != nil && item != removed {
			next.add(item, s.entries[i].hash)
		}
	}
	return next
}

// remove removes the item of an id.
func (t *itemTable) remove(id string) {
	hash := event.HashID(id)
	s := t.segments[hash>>56].Load()
	if s == nil {
		return
	}
	if e, _ := s.find(id, hash); e != nil {
		e.item.Store(removed)
		t.size.Add(-1)
	}
}

// clear removes all.
func (t *itemTable) clear() {
	for i := range t.segments {
		t.segments[i].Store(nil)
	}
	t.size.Store(0)
}

// all are the items, in no order.
func (t *itemTable) all(yield func(*event.Item) bool) {
	for i := range t.segments {
		s := t.segments[i].Load()
		if s == nil {
			continue
		}
		for i := range s.entries {
			if item := s.entries[i].item.Load(); item != nil && item != removed && !yield(item) {
				return
			}
		}
	}
}
