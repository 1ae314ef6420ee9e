package pairs

import (
	"testing"

	"pgregory.net/rapid"
)

// A table is a map, whatever is added and removed.
func TestTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pool
		var table table
		model := map[uint32]uint32{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			id := rapid.Uint32Range(1, 40).Draw(t, "id")
			count := rapid.SampledFrom([]uint32{0, 1, 5, 1 << 31}).Draw(t, "count")
			_, known := model[id]
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				if known {
					table.remove(id)
					delete(model, id)
				}
			case 1:
				table.reserve(rapid.IntRange(0, 80).Draw(t, "ids"), &p)
			default:
				if fresh := table.add(id, count, &p); fresh == known {
					t.Fatalf("%d: new %v, known %v", id, fresh, known)
				}
				model[id] = uint32(min(uint64(model[id])+uint64(count), 1<<32-1))
			}
			if table.used != len(model) {
				t.Fatalf("%d ids, want %d", table.used, len(model))
			}
			for id := uint32(1); id <= 40; id++ {
				want, known := model[id]
				if table.has(id) != known || known && table.find(id).count != want {
					t.Fatalf("%d: there %v, want %v with %d", id, table.has(id), known, want)
				}
			}
		}
		table.drop(&p)
		if table.used != 0 || table.has(1) {
			t.Fatal("not empty")
		}
		if cells := p.take(8); len(cells) != 8 || cells[0] != (cell{}) {
			t.Fatal("used cells come back uncleared")
		}
	})
}
