package heat_test

import (
	"errors"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/clean"
	"millrace/recommend/heat"
)

func indexTopology(o heat.IndexOptions) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	cleaned := operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents)
	heat.AddIndex(heat.Add(cleaned, event.DefaultTypes(), heat.Defaults()), o)
	return t
}

func TestIndexScripts(t *testing.T) {
	harness.RunScript(t, "testdata-index", func() *operator.Topology { return indexTopology(heat.IndexOptions{Interval: 10 * event.Second}) },
		"heat.warm")
}

func TestIndexValidate(t *testing.T) {
	for _, interval := range []event.Duration{0, -1, event.Day + 1} {
		if err := indexTopology(heat.IndexOptions{Interval: interval}).Err(); !errors.Is(err, heat.ErrOptions) {
			t.Errorf("%d: %v, want ErrOptions", interval, err)
		}
	}
}
