package activity

import (
	"iter"

	"millrace/event"
	"millrace/event/wire"
	"millrace/recommend/names"
)

// Seen are the items that a user interacted with, in the order in which they
// were first seen, as they were at one moment. It is immutable and may be
// read by any number of goroutines; the zero value is empty.
//
// The state's Seen and those that were published share memory, of which
// nothing changes once it is written: items are appended behind what a
// published one knows of, and tables are made anew, never added to.
type Seen struct {
	ids    []uint32 // numbers of the items; ids[:low] were dropped
	hashes []uint64 // of the items
	names  []string // by number
	low    int
	// tables find items by hash. They follow one another from the first item
	// on, each at least twice as large as the next, so that there are few and
	// an item is put into few in its life. The unindexed items behind the last
	// are looked through one by one.
	tables []table
}

// table finds a range of items by hash, with open addressing: an entry is a
// position less from plus one, or 0. At least half of the entries, a power of
// two, are 0.
type table struct {
	from, to int
	entries  []uint32
}

// unindexed is how many items wait for a table.
const unindexed = 32

// Len is how many items there are.
func (s Seen) Len() int { return len(s.ids) - s.low }

// Items are the items in the order in which they were first seen.
func (s Seen) Items() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, id := range s.ids[s.low:] {
			if !yield(s.names[id]) {
				return
			}
		}
	}
}

// Has reports whether the user has interacted with an item. It takes no time
// to speak of, however many items there are.
func (s Seen) Has(item string) bool { return s.HasHash(item, event.HashID(item)) }

// HasHash is Has for whoever knows event.HashID of the item.
func (s *Seen) HasHash(item string, hash uint64) bool {
	for i := max(s.low, s.indexed()); i < len(s.ids); i++ {
		if s.hashes[i] == hash && s.names[s.ids[i]] == item {
			return true
		}
	}
	for t := range s.tables {
		from, entries := s.tables[t].from, s.tables[t].entries
		mask := uint64(len(entries) - 1)
		for at := hash & mask; entries[at] != 0; at = (at + 1) & mask {
			if i := from + int(entries[at]) - 1; i >= s.low && s.hashes[i] == hash && s.names[s.ids[i]] == item {
				return true
			}
		}
	}
	return false
}

// indexed is the position behind the last table.
func (s *Seen) indexed() int {
	if n := len(s.tables); n > 0 {
		return s.tables[n-1].to
	}
	return 0
}

// add adds an item if it is not there, and drops the oldest beyond limit.
// Copies of s that were made before do not change. Of several that share
// memory, only the newest may be added to. The table is the same every time.
func (s *Seen) add(item string, t *names.Table, limit int) {
	hash := event.HashID(item)
	if s.HasHash(item, hash) {
		return
	}
	if len(s.ids) == cap(s.ids) && s.low > 0 { // leave behind what was dropped
		n := s.Len()
		s.ids = append(make([]uint32, 0, 2*n), s.ids[s.low:]...)
		s.hashes = append(make([]uint64, 0, 2*n), s.hashes[s.low:]...)
		s.low, s.tables = 0, nil
	}
	s.push(t.ID(item), t)
	s.low = max(s.low, len(s.ids)-limit)
	if len(s.ids)-s.indexed() >= unindexed {
		s.index()
	}
}

// push appends the number of an item.
func (s *Seen) push(id uint32, t *names.Table) {
	s.ids, s.hashes, s.names = append(s.ids, id), append(s.hashes, t.Hash(id)), t.Names()
}

// index makes a table of the items that have none, and of those of the last
// tables that are less than twice as large.
func (s *Seen) index() {
	from, to, kept := s.indexed(), len(s.ids), len(s.tables)
	for kept > 0 && s.tables[kept-1].to-s.tables[kept-1].from < 2*(to-from) {
		kept--
		from = s.tables[kept].from
	}
	size := 2 * unindexed
	for size < 2*(to-from) {
		size *= 2
	}
	t := table{from, to, make([]uint32, size)}
	mask := uint64(size - 1)
	for i, hash := range s.hashes[from:] {
		at := hash & mask
		for t.entries[at] != 0 {
			at = (at + 1) & mask
		}
		t.entries[at] = uint32(i + 1)
	}
	s.tables = append(s.tables[:kept:kept], t)
}

// append writes the items in the order in which they were first seen.
func (s *Seen) append(dst []byte) []byte {
	dst = wire.AppendUvarint(dst, uint64(s.Len()))
	for item := range s.Items() {
		dst = wire.AppendString(dst, item)
	}
	return dst
}

// readSeen reads what append wrote.
func readSeen(r *wire.Reader, t *names.Table) Seen {
	n := r.Count()
	s := Seen{ids: make([]uint32, 0, n), hashes: make([]uint64, 0, n)}
	for range n {
		item := r.String()
		if r.Err() != nil {
			break
		}
		s.push(t.ID(item), t)
	}
	if len(s.ids) >= unindexed {
		s.index()
	}
	return s
}
