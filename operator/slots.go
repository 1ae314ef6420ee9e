package operator

import (
	"unsafe"

	"millrace/event"
	"millrace/internal/prefetch"
)

// slot is one key's place in a table. It holds no pointers of its own, so that
// the collector passes over the slots of states that hold none either.
type slot[K Key, S any] struct {
	key    K
	due    event.Time // its earliest timer, MaxTime if it has none
	queued event.Time // the time of its valid calendar entry, MaxTime if none
	more   uint32     // where its other timers are, see calendar.Lists; 0 if nowhere
	dirty  uint32     // the checkpoint epoch in which it changed, 0 if saved
	flags  slotFlags
	state  S
}

type slotFlags uint8

const (
	slotTouched slotFlags = 1 << iota // changed since the last Answers
	slotGone                          // forgotten; kept until what is kept elsewhere of the key is deleted
	slotSaved                         // a checkpoint has had the key
	slotFree                          // nobody's
	slotThawed                        // it was evicted before
	slotUsed                          // since Evict has last come by
	slotHeld                          // forgotten, and a checkpoint with that is not known to be stored yet

	// slotKept says that something is known of a key elsewhere, so that a slot
	// that is gone can not be let go.
	slotKept = slotSaved | slotTouched | slotHeld
)

func (s *slot[K, S]) is(f slotFlags) bool { return s.flags&f != 0 }

const (
	chunkShift = 9
	chunkSlots = 1 << chunkShift
	leastSlots = 8
	leastCells = 16
)

// slots is a hash table of slots: an index with eight bytes a cell, by linear
// probing, beside the slots themselves, in chunks that do not move. The index
// of a slot stays the same as long as a key has it.
type slots[K Key, S any] struct {
	chunks [][]slot[K, S] // all of chunkSlots, but the first while it is the only one
	used   uint32         // slots that have ever been handed out
	free   []uint32       // of them, those that are nobody's
	cells  []uint64       // hash (32 bits), slot + 1 (32 bits); 0 is empty
	filled int
}

// at is a slot by its index. A new slot may move those of the first chunk.
func (t *slots[K, S]) at(i uint32) *slot[K, S] {
	return &t.chunks[i>>chunkShift][i&(chunkSlots-1)]
}

// find is the slot of a key, false if it has none.
func (t *slots[K, S]) find(hash uint64, k K) (uint32, *slot[K, S]) {
	if len(t.cells) == 0 {
		return 0, nil
	}
	mask, h := uint32(len(t.cells)-1), uint32(hash>>32)
	for c := h & mask; ; c = (c + 1) & mask {
		cell := t.cells[c]
		if cell == 0 {
			return 0, nil
		}
		if uint32(cell>>32) == h {
			i := uint32(cell) - 1
			if s := t.at(i); s.key == k {
				return i, s
			}
		}
	}
}

// home is where find begins to look, nil if there is nothing.
func (t *slots[K, S]) home(hash uint64) *uint64 {
	if len(t.cells) == 0 {
		return nil
	}
	return &t.cells[uint32(hash>>32)&uint32(len(t.cells)-1)]
}

// guess is the slot that find will most likely find, nil if there is none.
func (t *slots[K, S]) guess(hash uint64) (uint32, *slot[K, S]) {
	home := t.home(hash)
	if home == nil || *home == 0 {
		return 0, nil
	}
	i := uint32(*home) - 1
	return i, t.at(i)
}

// prefetch asks for a slot's memory.
func (s *slot[K, S]) prefetch() {
	prefetch.Line(unsafe.Pointer(s))
	if uintptr(unsafe.Pointer(s))%cacheLine+unsafe.Sizeof(*s) > cacheLine {
		prefetch.Line(unsafe.Add(unsafe.Pointer(s), unsafe.Sizeof(*s)-1))
	}
}

// cacheLine is the size of one, in bytes, of most processors.
const cacheLine = 64

// take hands out a slot that is in no index yet.
func (t *slots[K, S]) take(k K) (uint32, *slot[K, S]) {
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = t.used
		t.used++
		t.room(i)
	}
	s := t.at(i)
	s.key, s.due, s.queued, s.flags = k, event.MaxTime, event.MaxTime, slotGone
	return i, s
}

// room makes the chunk of a new slot.
func (t *slots[K, S]) room(i uint32) {
	switch chunk := int(i >> chunkShift); {
	case chunk > 0 && chunk == len(t.chunks):
		t.chunks = append(t.chunks, make([]slot[K, S], chunkSlots))
	case chunk > 0:
	case i == 0:
		t.chunks = append(t.chunks, make([]slot[K, S], leastSlots))
	case int(i) == len(t.chunks[0]):
		larger := make([]slot[K, S], 2*i)
		copy(larger, t.chunks[0])
		t.chunks[0] = larger
	}
}

// insert makes a slot one that find finds.
func (t *slots[K, S]) insert(hash uint64, i uint32) {
	if (t.filled+1)*4 > len(t.cells)*3 {
		t.grow()
	}
	t.filled++
	t.place(hash&^0xffffffff | uint64(i+1))
}

func (t *slots[K, S]) place(cell uint64) {
	mask := uint32(len(t.cells) - 1)
	c := uint32(cell>>32) & mask
	for t.cells[c] != 0 {
		c = (c + 1) & mask
	}
	t.cells[c] = cell
}

func (t *slots[K, S]) grow() {
	old := t.cells
	t.cells = make([]uint64, max(leastCells, 2*len(old)))
	for _, cell := range old {
		if cell != 0 {
			t.place(cell)
		}
	}
}

// remove makes a slot one that find does not find any more. The cells behind
// it move up, so that no mark of it is left (Knuth, volume 3, 6.4, algorithm R).
func (t *slots[K, S]) remove(hash uint64, i uint32) {
	mask := uint32(len(t.cells) - 1)
	c := uint32(hash>>32) & mask
	for uint32(t.cells[c]) != i+1 {
		c = (c + 1) & mask
	}
	for next := (c + 1) & mask; t.cells[next] != 0; next = (next + 1) & mask {
		home := uint32(t.cells[next]>>32) & mask
		if (next-home)&mask >= (next-c)&mask {
			t.cells[c] = t.cells[next]
			c = next
		}
	}
	t.cells[c] = 0
	t.filled--
}

// release takes back a slot that is in no index. Its dirty epoch stays: the
// slot may be on a list of those that changed, for whoever has it then.
func (t *slots[K, S]) release(i uint32) {
	s := t.at(i)
	*s = slot[K, S]{dirty: s.dirty, due: event.MaxTime, queued: event.MaxTime, flags: slotFree}
	t.free = append(t.free, i)
}

// each calls fn for every slot that is somebody's, in the order of their
// indexes.
func (t *slots[K, S]) each(fn func(i uint32, s *slot[K, S])) {
	for i := range t.used {
		if s := t.at(i); !s.is(slotFree) {
			fn(i, s)
		}
	}
}
