package recommendtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
)

// bound is the out-of-orderness of sources under test.
const bound = 5 * event.Second

// Equal runs events through a topology in several ways, which must all come
// to the same states and views, bit for bit: record by record in order on one
// shard; record by record on several, at random, with a restart on the way;
// and in blocks of any size on several shards.
func Equal(t *rapid.T, build func() *operator.Topology, events []event.Enriched) {
	in := operatortest.New[event.Enriched](build(), 1, bound, 0)
	for i := range events {
		in.Send(events[i].Time, &events[i])
	}
	in.Drain()
	want := dump(in.State(), in.Views())
	seed, cut := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, len(events)).Draw(t, "restart after")
	shards := rapid.IntRange(2, 5).Draw(t, "shards")
	random := operatortest.New[event.Enriched](build(), shards, bound, seed)
	for i := range events {
		if i == cut {
			var err error
			if random, err = random.Restored(6-shards, seed+1); err != nil {
				t.Fatal(err)
			}
		}
		random.Send(events[i].Time, &events[i])
	}
	random.Drain()
	compare(t, "at random on several shards", dump(random.State(), random.Views()), want)
	blocks := NewBlocks(build(), shards)
	blocks.Views = operatortest.Views{}
	for at := 0; at < len(events); {
		n := min(rapid.IntRange(1, 60).Draw(t, "block"), len(events)-at)
		blocks.Run(events[at : at+n])
		at += n
	}
	compare(t, "in blocks", dump(blocks.State(), blocks.Views), want)
}

func compare(t *rapid.T, how string, got, want []string) {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s:\n%s\nrecord by record in order:\n%s", how,
				strings.Join(got[i:min(len(got), i+3)], "\n"), strings.Join(want[i:min(len(want), i+3)], "\n"))
		}
	}
}

// dump is all that states and views hold, one a line, in order.
func dump(state map[string]map[string][]byte, views map[string]map[string]operator.Value) []string {
	var lines []string
	for _, stage := range slices.Sorted(maps.Keys(state)) {
		for _, key := range slices.Sorted(maps.Keys(state[stage])) {
			lines = append(lines, fmt.Sprintf("%s %s %x", stage, key, state[stage][key]))
		}
	}
	for _, view := range slices.Sorted(maps.Keys(views)) {
		for _, key := range slices.Sorted(maps.Keys(views[view])) {
			b, err := views[view][key].AppendBinary(nil)
			lines = append(lines, fmt.Sprintf("view %s %s %x %v", view, key, b, err))
		}
	}
	return lines
}
