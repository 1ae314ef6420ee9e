package heat

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"millrace/event"
	"millrace/recommend/decay"
)

// BenchmarkTold is an item's new heat taken up by the lists of a scope: what
// bounds how fast the scope of everything can be, which is one key.
func BenchmarkTold(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	popular := rand.NewZipf(r, 1.1, 10, 99_999)
	told := make([]warm, 1<<16)
	heat := make(map[string]float64)
	for i := range told {
		item := "item-" + strconv.FormatUint(popular.Uint64(), 10)
		heat[item]++
		told[i] = warm{Scope: "all", Item: item, Last: event.Time(i)}
		for k := range told[i].Heat {
			told[i].Heat[k] = decay.Value(heat[item])
		}
	}
	var lists boards
	for i := 0; b.Loop(); i++ {
		w := &told[i%len(told)]
		for k := range w.Heat { // it has grown with each round
			w.Heat[k] += decay.Value(i / len(told))
		}
		lists.put(w, 200)
	}
}
