package activity

import (
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"millrace/event/wire"
)

// Seen are the items that a user interacted with, in the order in which they
// were first seen, as they were at one moment. It is immutable and may be
// read by any number of goroutines; the zero value is empty.
type Seen struct {
	items []string // items[:low] were dropped
	low   int
	index *index // nil while there are few
}

// index finds an item in items: a table with open addressing, whose entries
// are written once, from 0 to the upper half of the item's hash and, below
// it, its position in items plus one. The table is shared by all Seen that
// have grown from one another; each passes over positions that it does not
// have. At least a quarter of the entries, a power of two, stay 0.
type index struct {
	entries []atomic.Uint64
}

// scanned is how many items are looked through one by one, without an index.
const scanned = 16

// Len is how many items there are.
func (s Seen) Len() int { return len(s.items) - s.low }

// Items are the items in the order in which they were first seen. Not to be
// changed.
func (s Seen) Items() []string { return s.items[s.low:len(s.items):len(s.items)] }

// Has reports whether the user has interacted with an item.
func (s Seen) Has(item string) bool {
	if s.index != nil {
		return s.has(item, xxhash.Sum64String(item))
	}
	for _, known := range s.items[s.low:] {
		if known == item {
			return true
		}
	}
	return false
}

func (s Seen) has(item string, hash uint64) bool {
	mask := uint64(len(s.index.entries) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		e := s.index.entries[at].Load()
		if e == 0 {
			return false
		}
		i := int(uint32(e)) - 1
		if e>>32 == hash>>32 && i >= s.low && i < len(s.items) && s.items[i] == item {
			return true
		}
	}
}

// add adds an item if it is not there, and drops the oldest beyond limit.
// Copies of s that were made before do not change. Only one goroutine may
// add to Seen that share memory, and only to the newest of them.
func (s *Seen) add(item string, limit int) {
	if s.index == nil {
		if s.Has(item) {
			return
		}
		s.extend(item, limit)
		if len(s.items) > scanned {
			s.reindex()
		}
		return
	}
	hash := xxhash.Sum64String(item)
	if s.has(item, hash) {
		return
	}
	if moved := s.extend(item, limit); moved || 4*len(s.items) > 3*len(s.index.entries) {
		s.reindex()
		return
	}
	s.index.place(hash, len(s.items)-1)
}

// extend appends an item and drops the oldest beyond limit. It reports
// whether positions have changed: when memory for more items is needed, those
// that were dropped are left behind.
func (s *Seen) extend(item string, limit int) (moved bool) {
	if len(s.items) == cap(s.items) && s.low > 0 {
		kept := s.items[s.low:]
		s.items = append(make([]string, 0, 2*len(kept)), kept...)
		s.low, moved = 0, true
	}
	s.items = append(s.items, item)
	s.low = max(s.low, len(s.items)-limit)
	return moved
}

// reindex makes the index anew, with room for the items to double.
func (s *Seen) reindex() {
	size := 4 * scanned
	for size < 2*len(s.items) {
		size *= 2
	}
	s.index = &index{entries: make([]atomic.Uint64, size)}
	for i := s.low; i < len(s.items); i++ {
		s.index.place(xxhash.Sum64String(s.items[i]), i)
	}
}

func (x *index) place(hash uint64, i int) {
	mask := uint64(len(x.entries) - 1)
	at := hash & mask
	for x.entries[at].Load() != 0 {
		at = (at + 1) & mask
	}
	x.entries[at].Store(hash>>32<<32 | uint64(uint32(i+1)))
}

func (s Seen) append(dst []byte) []byte { return wire.AppendStrings(dst, s.Items()) }

// readSeen reads what append wrote.
func readSeen(r *wire.Reader) Seen {
	s := Seen{items: r.Strings()}
	if len(s.items) > scanned {
		s.reindex()
	}
	return s
}
