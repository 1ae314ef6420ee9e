package hashindex

import (
	"math"
	"math/rand/v2"
	"testing"
)

// An Index is a map, before and after it is emptied, also when generations
// start again.
func TestIsAMap(t *testing.T) {
	const seed = 3
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range 200 {
		var x Index
		for range 1 + random.IntN(4) {
			want := map[uint64]int32{}
			for i := range random.IntN(1000) {
				hash := uint64(random.IntN(700)) << (8 * random.IntN(8)) // many meet at one place
				e := x.Find(hash)
				row, ok := want[hash]
				if !ok {
					row = None
				}
				if e.At != row {
					t.Fatalf("seed %d, round %d: row %d of hash %d, want %d", seed, round, e.At, hash, row)
				}
				e.At, want[hash] = int32(i), int32(i)
			}
			if random.IntN(3) == 0 && len(x.entries) > 0 {
				// As after so many blocks: what is there is of the last generation.
				for i := range x.entries {
					if x.entries[i].generation == x.generation {
						x.entries[i].generation = math.MaxUint32
					}
				}
				x.generation = math.MaxUint32
			}
			x.Clear()
		}
	}
}
