package association_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend/association"
)

// With the switch windows go by when events arrived, whatever time they have,
// and the same blocks give the same associations with any number of shards.
func TestProcessingTime(t *testing.T) {
	o := association.Defaults()
	o.ProcessingTime = true
	run := func(shards int) []string {
		got := make([][]string, shards)
		topology := build(o)
		p, err := pipeline.New(topology, pipeline.Options{Shards: shards, Taps: []pipeline.Tap{{
			Stage: association.StageAssociation, Port: association.PortAssociations,
			Sink: func(shard int) operator.RawSink {
				return func(_ operator.Meta, record any) {
					a := record.(*association.Association)
					got[shard] = append(got[shard], fmt.Sprint(a.WindowStart, " ", a.Item, " ", a.Partner, " ", a.Association))
				}
			},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		send, err := pipeline.Entry[event.Enriched](p, 0)
		if err != nil {
			t.Fatal(err)
		}
		block := func(arrived event.Time, events ...event.Event) {
			for _, e := range events {
				e.Type = event.TypeView
				send(operator.Meta{Time: e.Time, Watermark: 50_000_000}, &event.Enriched{Event: e})
			}
			if err := p.Finish(pipeline.Moment{Watermark: 50_000_000, Processing: arrived}); err != nil {
				t.Fatal(err)
			}
		}
		block(10, event.Event{User: "ann", Item: "a", Time: 7}, event.Event{User: "bob", Item: "a", Time: 1})
		block(299_999, event.Event{User: "ann", Item: "b", Time: 90_000_000}, event.Event{User: "bob", Item: "b", Time: 2})
		block(300_000, event.Event{User: "ann", Item: "c", Time: 91_000_000}) // the next window
		block(300_001)
		block(700_000)
		return slices.Sorted(slices.Values(slices.Concat(got...)))
	}
	want := []string{"1970-01-01T00:00:00.000Z a b 2"}
	for _, shards := range []int{1, 2, 5} {
		if diff := cmp.Diff(want, run(shards)); diff != "" {
			t.Errorf("%d shards: %s", shards, diff)
		}
	}
}
