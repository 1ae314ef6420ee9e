package harness_test

import (
	"maps"
	"slices"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

func monotonous() watermark.Strategy { return watermark.NewMonotonous() }

// Play sends all records once, whatever the blocks and restores; Rows are all
// that was emitted before and after those, once.
func TestPlay(t *testing.T) {
	var records []harness.Record[order]
	for i := range 50 {
		records = append(records, harness.At(event.Time(i), order{Key: string(rune('a' + i%7)), Add: 1, Timer: event.Time(i + 5)}))
	}
	var states []string
	for seed := range uint64(10) {
		h := harness.Stage(t, harness.Options{Watermarks: monotonous, Seed: seed}, func(in operator.Stream[order]) {
			operator.Add(operator.From[order](operator.Add(in, stage("a", nil)), "next"), stage("b", nil))
		})
		h.Play(seed, records)
		h.Watermark(event.MaxTime)
		states = append(states, string(h.Snapshot()))
		rows := h.Rows()
		if n := len(rows["a.said"]); n != 100 || len(rows["a.next"]) != 50 || len(rows["b.said"]) != 50 {
			t.Errorf("seed %d: %d rows of a, %q", seed, n, slices.Collect(maps.Keys(rows)))
		}
		if !slices.IsSorted(rows["a.said"]) || len(h.Rows()) != 0 {
			t.Errorf("seed %d: rows are not sorted, or are there twice", seed)
		}
	}
	if len(slices.Compact(states)) != 1 {
		t.Error("the state depends on the seed")
	}
}
