package pairs

import "math/bits"

// table is a map from the number of a partner to a count or a weight: open
// addressing with linear probing, eight bytes a cell and no pointers. A cell
// with id 0 is empty. The zero value is an empty table without cells.
type table[V uint32 | float32] struct {
	cells []cell[V]
	used  int
}

type cell[V uint32 | float32] struct {
	id    uint32
	value V
}

// leastCells is the size of the smallest table; sizes are powers of two.
const leastCells = 8

// home is the cell where the search for an id begins (Fibonacci hashing,
// Knuth, TAOCP 6.4).
func home(id uint32, cells int) int {
	return int(id * 0x9E3779B1 >> (33 - bits.Len32(uint32(cells))))
}

// get is the value of an id, 0 if it is not there.
func (t *table[V]) get(id uint32) V {
	if len(t.cells) == 0 {
		return 0
	}
	mask := len(t.cells) - 1
	for i := home(id, len(t.cells)); ; i = (i + 1) & mask {
		switch c := &t.cells[i]; c.id {
		case id:
			return c.value
		case 0:
			return 0
		}
	}
}

// at is the place of an id's value, or nil if it is not there. It is valid
// until the next insert.
func (t *table[V]) at(id uint32) *V {
	if len(t.cells) == 0 {
		return nil
	}
	mask := len(t.cells) - 1
	for i := home(id, len(t.cells)); ; i = (i + 1) & mask {
		switch c := &t.cells[i]; c.id {
		case id:
			return &c.value
		case 0:
			return nil
		}
	}
}

// insert adds an id that is not there and returns the place of its value.
func (t *table[V]) insert(id uint32, p *pool[V]) *V {
	if (t.used+1)*4 > len(t.cells)*3 {
		t.resize(max(leastCells, 2*len(t.cells)), p)
	}
	t.used++
	return t.place(id)
}

// place finds the empty cell for an id that is not there.
func (t *table[V]) place(id uint32) *V {
	mask := len(t.cells) - 1
	for i := home(id, len(t.cells)); ; i = (i + 1) & mask {
		if c := &t.cells[i]; c.id == 0 {
			c.id = id
			return &c.value
		}
	}
}

// resize moves everything into so many cells.
func (t *table[V]) resize(cells int, p *pool[V]) {
	old := t.cells
	t.cells = p.take(cells)
	for _, c := range old {
		if c.id != 0 {
			*t.place(c.id) = c.value
		}
	}
	p.give(old)
}

// drop empties the table and gives its cells back.
func (t *table[V]) drop(p *pool[V]) {
	p.give(t.cells)
	*t = table[V]{}
}

// cellsFor is the size of a table that holds so many ids.
func cellsFor(ids int) int {
	if ids == 0 {
		return 0
	}
	return max(leastCells, 1<<bits.Len(uint((ids*4+2)/3-1)))
}

// pool keeps the cells of dropped tables for new ones, by size, so that panes
// that open and close leave no garbage.
type pool[V uint32 | float32] struct{ free [32][][]cell[V] }

// pooledBytes bounds what a pool keeps of each size.
const pooledBytes = 1 << 20

func (p *pool[V]) take(cells int) []cell[V] {
	list := &p.free[bits.Len(uint(cells))]
	if n := len(*list); n > 0 {
		c := (*list)[n-1]
		*list = (*list)[:n-1]
		return c
	}
	return make([]cell[V], cells)
}

func (p *pool[V]) give(cells []cell[V]) {
	list := &p.free[bits.Len(uint(len(cells)))]
	if len(cells) == 0 || len(*list)*len(cells)*8 >= pooledBytes {
		return
	}
	clear(cells)
	*list = append(*list, cells)
}
