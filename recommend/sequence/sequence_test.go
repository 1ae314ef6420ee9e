package sequence_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
	"millrace/recommend/sequence"
)

func build() *operator.Topology {
	return recommendtest.Topology(func(events operator.Stream[event.Enriched]) {
		sequence.Add(events, event.DefaultTypes(), sequence.Defaults())
	})
}

func TestScripts(t *testing.T) {
	operatortest.RunScript(t, "testdata", build)
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*sequence.Options){
		"no items":         func(o *sequence.Options) { o.Items = 0 },
		"too many items":   func(o *sequence.Options) { o.Items = pairs.MaxTrail + 1 },
		"no gap":           func(o *sequence.Options) { o.MaxGap = 0 },
		"odd pane":         func(o *sequence.Options) { o.Rows.Pane = event.Minute + 1 },
		"short half-life":  func(o *sequence.Options) { o.Rows.HalfLife = o.Rows.Pane - 1 },
		"no capacity":      func(o *sequence.Options) { o.Rows.Capacity = 0 },
		"more top than is": func(o *sequence.Options) { o.Rows.Top = o.Rows.Capacity + 1 },
	} {
		o := sequence.Defaults()
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&o)
		if err := o.Validate(); !errors.Is(err, pairs.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The pairs of one user by the definition, from the list of events.
func followers(events []event.Enriched) []string {
	var list []string
	var trail []event.Enriched // distinct, the latest last
	for _, e := range events {
		if e.Type == event.TypeImpression || e.Type == event.TypeDislike {
			continue
		}
		if n := len(trail); n > 0 && trail[n-1].Item == e.Item {
			trail[n-1].Time = max(trail[n-1].Time, e.Time)
			continue
		}
		trail = slices.DeleteFunc(trail, func(q event.Enriched) bool { return q.Item == e.Item })
		for i, q := range trail[max(0, len(trail)-10):] {
			if gap := e.Time - q.Time; gap >= 0 && gap <= event.Day {
				list = append(list, fmt.Sprintf("%s>%s %d", q.Item, e.Item, min(10, len(trail))-i))
			}
		}
		trail = append(trail, e)
	}
	slices.Sort(list)
	return list
}

func TestPairsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := event.Time(1_767_225_600_000)
		stream := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
			now += rapid.SampledFrom([]event.Duration{1, event.Minute, 20 * event.Hour}).Draw(t, "passed")
			return event.Enriched{Event: event.Event{
				User: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
				Item: fmt.Sprint("i", rapid.IntRange(0, 15).Draw(t, "item")),
				Type: rapid.SampledFrom([]string{"view", "purchase", "impression", "dislike"}).Draw(t, "type"),
				Time: now - rapid.SampledFrom([]event.Duration{0, 3 * event.Second, event.Hour}).Draw(t, "late"),
			}}
		}), 0, 80).Draw(t, "events")
		engine := operatortest.New[event.Enriched](build(), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		var got []string
		engine.Emitted = func(stage, _ string, _ operator.Meta, record any) {
			if stage == sequence.StageSteps {
				c := record.(*pairs.Contribution)
				got = append(got, fmt.Sprintf("%s>%s %d", c.Item, strings.Join(c.Partners, ","), c.Distance))
			}
		}
		byUser := map[string][]event.Enriched{}
		for i := range stream {
			engine.Send(stream[i].Time, &stream[i])
			byUser[stream[i].User] = append(byUser[stream[i].User], stream[i])
		}
		engine.Drain()
		var want []string
		for _, user := range slices.Sorted(maps.Keys(byUser)) {
			want = append(want, followers(byUser[user])...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("pairs\n%v, want\n%v", got, want)
		}
	})
}
