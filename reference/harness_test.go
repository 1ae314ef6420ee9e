package reference_test

import (
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/reference"
)

// Every job is the same on every engine, whatever comes in whatever order, and
// goes on with another number of shards as if nothing had happened.
func TestJobsOnAllEngines(t *testing.T) {
	for _, name := range reference.Names() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := harness.New[reference.Event](t, reference.Topology(name), harness.Options{
					Watermarks: reference.Watermarks, Seed: rapid.Uint64().Draw(t, "seed"),
				})
				now := event.Time(1_700_000_100_000)
				for range rapid.IntRange(1, 60).Draw(t, "steps") {
					switch rapid.IntRange(0, 11).Draw(t, "step") {
					case 0:
						h.Restore(h.Snapshot(), rapid.IntRange(1, 4).Draw(t, "shards"))
					case 1:
						h.Flush()
					default:
						now += event.Duration(rapid.IntRange(0, 90).Draw(t, "passed")) * event.Second
						h.Send(now-event.Duration(rapid.IntRange(0, 7000).Draw(t, "late")), reference.Event{
							User: rapid.Uint64Range(1, 3).Draw(t, "user"), Item: rapid.Uint32Range(1, 4).Draw(t, "item"),
							Value: rapid.Uint16Range(0, 9).Draw(t, "value"),
							Type:  rapid.SampledFrom([]reference.Type{reference.View, reference.View, reference.Click, reference.Like}).Draw(t, "type"),
						})
					}
				}
				h.Watermark(event.MaxTime)
			})
		})
	}
}
