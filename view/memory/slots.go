package memory

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// firstSlots is how many snapshots can be open before the registry grows.
const firstSlots = 64

// slot says which version one open snapshot reads. It fills a cache line, so
// that readers on different cores do not slow each other down.
type slot struct {
	number atomic.Uint64 // 0 = free
	_      cpu.CacheLinePad
}

// registry is the set of versions that open snapshots read. Slots come in
// blocks, each twice as large as the one before; a block is never given back,
// because the snapshots point into it.
type registry struct {
	blocks atomic.Pointer[[][]slot] // grows by copying; only the last is handed out from
	mu     sync.Mutex               // held to grow
}

func (r *registry) init() {
	r.blocks.Store(&[][]slot{make([]slot, firstSlots)})
}

// acquire takes a free slot and marks it with a version number. Where it
// starts to look is random, so that two cores seldom meet at one slot.
func (r *registry) acquire(number uint64) *slot {
	for {
		blocks := *r.blocks.Load()
		last := blocks[len(blocks)-1]
		mask := uint32(len(last) - 1)
		start := rand.Uint32()
		for i := range uint32(len(last)) {
			s := &last[(start+i)&mask]
			if s.number.Load() == 0 && s.number.CompareAndSwap(0, number) {
				return s
			}
		}
		r.grow(len(blocks))
	}
}

// grow adds a block of slots unless another reader has just done so.
func (r *registry) grow(seen int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocks := *r.blocks.Load()
	if len(blocks) > seen {
		return
	}
	more := append(slices.Clone(blocks), make([]slot, 2*len(blocks[len(blocks)-1])))
	r.blocks.Store(&more)
}

// active appends the distinct versions below now that open snapshots read,
// the newest first.
func (r *registry) active(dst []uint64, now uint64) []uint64 {
	for _, block := range *r.blocks.Load() {
		for i := range block {
			if n := block[i].number.Load(); n != 0 && n < now {
				dst = append(dst, n)
			}
		}
	}
	slices.Sort(dst)
	dst = slices.Compact(dst)
	slices.Reverse(dst)
	return dst
}
