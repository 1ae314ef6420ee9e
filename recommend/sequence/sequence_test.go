package sequence_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
	"millrace/recommend/decay"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
	"millrace/recommend/sequence"
)

// build is the stages with panes of a day.
func build() *operator.Topology {
	o := sequence.Defaults()
	o.Rows.Pane = event.Day
	return recommendtest.Topology(func(events operator.Stream[event.Enriched]) {
		sequence.Add(events, event.DefaultTypes(), o)
	})
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", build)
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

func drawEvents(t *rapid.T) []event.Enriched {
	now := event.Time(1_767_225_600_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		now += rapid.SampledFrom([]event.Duration{1, event.Minute, 20 * event.Hour}).Draw(t, "passed")
		return event.Enriched{Event: event.Event{
			User: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
			Item: fmt.Sprint("i", rapid.IntRange(0, 15).Draw(t, "item")),
			Type: rapid.SampledFrom([]string{"view", "purchase", "impression", "dislike"}).Draw(t, "type"),
			Time: now - rapid.SampledFrom([]event.Duration{0, 3 * event.Second, event.Hour}).Draw(t, "late"),
		}}
	}), 0, 80).Draw(t, "events")
}

// States and views come out the same whatever way the records of several
// shards take.
func TestCommutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { recommendtest.Equal(t, build, drawEvents(t)) })
}

// The pairs of one user by the definition, from the list of events and how
// late each came.
func followers(events []event.Enriched, late []event.Duration) []string {
	var list []string
	var trail []event.Enriched // distinct, the latest last
	most := sequence.Defaults().Items
	for n, e := range events {
		if e.Type == event.TypeImpression || e.Type == event.TypeDislike {
			continue
		}
		if n := len(trail); n > 0 && trail[n-1].Item == e.Item {
			trail[n-1].Time = max(trail[n-1].Time, e.Time)
			continue
		}
		trail = slices.DeleteFunc(trail, func(q event.Enriched) bool { return q.Item == e.Item })
		for i, q := range trail[max(0, len(trail)-most):] {
			if gap := e.Time - q.Time; gap >= 0 && gap <= event.Day {
				distance := min(most, len(trail)) - i
				weight := decay.HalfLife(30*event.Day).Scale(uint32(math.Round(4096/float64(distance))), late[n])
				list = append(list, fmt.Sprintf("%s>%s %d", q.Item, e.Item, weight))
			}
		}
		trail = append(trail, e)
	}
	slices.Sort(list)
	return list
}

func TestPairsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := drawEvents(t)
		engine := operatortest.New[event.Enriched](build(), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		var got []string
		engine.Emitted = func(stage, _ string, _ operator.Meta, record any) {
			if stage == sequence.StageSteps {
				c := record.(*pairs.Contribution)
				got = append(got, fmt.Sprintf("%s>%s %d", c.Item, c.List()[0].Partner, c.List()[0].Weight))
			}
		}
		byUser, late := map[string][]event.Enriched{}, map[string][]event.Duration{}
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		for i := range stream {
			engine.Send(stream[i].Time, &stream[i])
			m, user := operator.Stamp(source, stream[i].Time), stream[i].User
			byUser[user] = append(byUser[user], stream[i])
			late[user] = append(late[user], m.Effective()-m.Time)
		}
		engine.Drain()
		var want []string
		for _, user := range slices.Sorted(maps.Keys(byUser)) {
			want = append(want, followers(byUser[user], late[user])...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("pairs\n%v, want\n%v", got, want)
		}
	})
}
