package operator

import (
	"testing"

	"pgregory.net/rapid"

	"millrace/internal/splitmix"
)

// The index of slots is a map, also where hashes collide and keys are taken out.
func TestSlotsAreAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all slots[uint64, int64]
		want := map[uint64]uint32{}
		hash := func(k uint64) uint64 { return (k % 5) << 32 }
		if rapid.Bool().Draw(t, "spread") {
			hash = splitmix.Mix
		}
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			k := rapid.Uint64Range(0, 40).Draw(t, "key")
			i, s := all.find(hash(k), k)
			at, known := want[k]
			if (s != nil) != known || known && (i != at || s.key != k || s.state != int64(k)) {
				t.Fatalf("key %d: found %d %v, want %d %v", k, i, s, at, known)
			}
			switch {
			case !known:
				i, s := all.take(k)
				s.state, s.flags = int64(k), slotSaved
				all.insert(hash(k), i)
				want[k] = i
			case rapid.Bool().Draw(t, "remove"):
				all.remove(hash(k), i)
				all.release(i)
				delete(want, k)
			}
			n := 0
			all.each(func(i uint32, s *slot[uint64, int64]) {
				if n++; want[s.key] != i {
					t.Fatalf("key %d is in slot %d, want %d", s.key, i, want[s.key])
				}
			})
			if n != len(want) || all.filled != n {
				t.Fatalf("%d slots are somebody's, %d are in the index, want %d", n, all.filled, len(want))
			}
		}
	})
}
