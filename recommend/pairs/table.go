package pairs

import "math/bits"

// table is a map from the number of a partner to a count: open addressing
// with linear probing, eight bytes a cell and no pointers. A cell with id 0
// is empty. The zero value is an empty table without cells.
type table struct {
	cells []cell
	used  int
}

type cell struct{ id, count uint32 }

// leastCells is the size of the smallest table; sizes are powers of two.
const leastCells = 8

// home is where the search for an id begins (Fibonacci hashing, Knuth, TAOCP
// 6.4).
func (t *table) home(id uint32) int {
	return int(id * 0x9E3779B1 >> (33 - bits.Len32(uint32(len(t.cells)))))
}

// index is where an id is, or the empty cell where it would be.
func (t *table) index(id uint32) int {
	mask := len(t.cells) - 1
	for i := t.home(id); ; i = (i + 1) & mask {
		if c := &t.cells[i]; c.id == id || c.id == 0 {
			return i
		}
	}
}

// find is the cell of an id, or the empty one where it would be.
func (t *table) find(id uint32) *cell { return &t.cells[t.index(id)] }

// count is the count of an id, 0 if it is not there.
func (t *table) count(id uint32) uint32 {
	if len(t.cells) == 0 {
		return 0
	}
	return t.find(id).count
}

// has reports whether an id is there.
func (t *table) has(id uint32) bool { return len(t.cells) > 0 && t.find(id).id != 0 }

// add adds to the count of an id, which saturates, and reports whether it is
// new.
func (t *table) add(id, count uint32, p *pool) bool {
	if (t.used+1)*4 > len(t.cells)*3 {
		t.reserve(t.used+1, p)
	}
	c := t.find(id)
	c.count = saturating(c.count, count)
	if c.id == id {
		return false
	}
	c.id = id
	t.used++
	return true
}

// remove takes out an id that is there. What stands after it up to the next
// empty cell moves up where it must, so that it is still found (Knuth, TAOCP
// 6.4, algorithm R).
func (t *table) remove(id uint32) {
	mask := len(t.cells) - 1
	hole := t.index(id)
	for i := (hole + 1) & mask; t.cells[i].id != 0; i = (i + 1) & mask {
		if (i-t.home(t.cells[i].id))&mask >= (i-hole)&mask {
			t.cells[hole] = t.cells[i]
			hole = i
		}
	}
	t.cells[hole] = cell{}
	t.used--
}

// saturating is a+b, or the largest number if that is less; it commutes.
func saturating(a, b uint32) uint32 {
	if sum := a + b; sum >= a {
		return sum
	}
	return ^uint32(0)
}

// reserve makes room for so many ids in all.
func (t *table) reserve(ids int, p *pool) {
	if ids*4 <= len(t.cells)*3 {
		return
	}
	old := t.cells
	t.cells = p.take(max(leastCells, 1<<bits.Len(uint((ids*4+2)/3-1))))
	for _, c := range old {
		if c.id != 0 {
			*t.find(c.id) = c
		}
	}
	p.give(old)
}

// drop empties the table and gives its cells back.
func (t *table) drop(p *pool) {
	p.give(t.cells)
	*t = table{}
}

// pool keeps the cells of dropped tables for new ones, by size, so that panes
// that open and close leave no garbage.
type pool struct{ free [32][][]cell }

// pooledBytes bounds what a pool keeps of each size.
const pooledBytes = 1 << 20

func (p *pool) take(cells int) []cell {
	list := &p.free[bits.Len(uint(cells))]
	if n := len(*list); n > 0 {
		c := (*list)[n-1]
		*list = (*list)[:n-1]
		return c
	}
	return make([]cell, cells)
}

func (p *pool) give(cells []cell) {
	list := &p.free[bits.Len(uint(len(cells)))]
	if len(cells) == 0 || len(*list)*len(cells)*8 >= pooledBytes {
		return
	}
	clear(cells)
	*list = append(*list, cells)
}
