// Package hashindex has a map from hashes to positions in somebody's list that
// is emptied in one step, for scratch that is filled and emptied all the time:
// the records of a block that can be merged, the candidates of a request.
package hashindex

// Index is a map from a 64-bit hash to a position: open addressing with linear
// probing, in which entries of an older generation are free. Equal hashes of
// unequal things are the caller's to tell apart. The zero value is empty.
type Index struct {
	entries    []Entry // a power of two of them, or none
	used       int
	generation uint32
}

// Entry is the place of one hash.
type Entry struct {
	hash       uint64
	generation uint32
	// At is the caller's, None in a new entry.
	At int32
}

// None says that nothing is there yet.
const None = -1

// leastEntries is the size of the smallest index.
const leastEntries = 64

// Find is the entry of a hash, which is made if there is none. It is valid
// until the next call. The low bits of hashes have to differ.
func (x *Index) Find(hash uint64) *Entry {
	if (x.used+1)*4 > len(x.entries)*3 {
		x.grow()
	}
	e := x.place(hash)
	if e.generation != x.generation {
		*e = Entry{hash, x.generation, None}
		x.used++
	}
	return e
}

// place is where a hash is, or the free entry where it would be.
func (x *Index) place(hash uint64) *Entry {
	mask := uint64(len(x.entries) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if e := &x.entries[i]; e.generation != x.generation || e.hash == hash {
			return e
		}
	}
}

func (x *Index) grow() {
	old, generation := x.entries, x.generation
	x.entries, x.generation = make([]Entry, max(leastEntries, 2*len(old))), 1
	for _, e := range old {
		if e.generation == generation {
			e.generation = 1
			*x.place(e.hash) = e
		}
	}
}

// Clear empties the index.
func (x *Index) Clear() {
	x.used = 0
	if x.generation++; x.generation == 0 { // once in four billion times
		clear(x.entries)
		x.generation = 1
	}
}
