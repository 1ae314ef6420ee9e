package operator

// rowIndex is a map from a hash to a row that is emptied in one step: open
// addressing with linear probing, in which entries of an older generation are
// free. The zero value is an empty index.
type rowIndex struct {
	entries    []rowEntry // a power of two of them, or none
	used       int
	generation uint32
}

type rowEntry struct {
	hash       uint64
	row        int32
	generation uint32
}

// leastEntries is the size of the smallest index.
const leastEntries = 64

// find is the entry of a hash, which is made with row -1 if there is none. It
// is valid until the next call.
func (x *rowIndex) find(hash uint64) *rowEntry {
	if (x.used+1)*4 > len(x.entries)*3 {
		x.grow()
	}
	e := x.place(hash)
	if e.generation != x.generation {
		*e = rowEntry{hash, -1, x.generation}
		x.used++
	}
	return e
}

// place is where a hash is, or the free entry where it would be.
func (x *rowIndex) place(hash uint64) *rowEntry {
	mask := uint64(len(x.entries) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if e := &x.entries[i]; e.generation != x.generation || e.hash == hash {
			return e
		}
	}
}

func (x *rowIndex) grow() {
	old, generation := x.entries, x.generation
	x.entries, x.generation = make([]rowEntry, max(leastEntries, 2*len(old))), 1
	for _, e := range old {
		if e.generation == generation {
			e.generation = 1
			*x.place(e.hash) = e
		}
	}
}

func (x *rowIndex) clear() {
	x.used = 0
	if x.generation++; x.generation == 0 { // once in four billion blocks
		clear(x.entries)
		x.generation = 1
	}
}
