package pairs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend/pairs"
	"millrace/recommend/recommendtest"
)

func trailTopology(o pairs.TrailOptions) *operator.Topology {
	return recommendtest.Topology(func(events operator.Stream[event.Enriched]) {
		pairs.Add(events, "trail", "rows", event.DefaultTypes(), o, pairs.Defaults())
	})
}

func drawViews(t *rapid.T) []event.Enriched {
	at := event.Time(1_767_225_600_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		at += event.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * event.Second
		return event.Enriched{Event: event.Event{
			User: "ann", Item: fmt.Sprint("i", rapid.IntRange(0, 12).Draw(t, "item")), Type: event.TypeView, Time: at,
		}}
	}), 1, 100).Draw(t, "events")
}

func say(t *rapid.T, c *pairs.Contribution) string {
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a contribution holds is not changed by what the user does later, also
// when the trail moves items, drops them, or is restored.
func TestContributionsDoNotChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := pairs.TrailOptions{Items: rapid.IntRange(1, 6).Draw(t, "items"), Directed: rapid.Bool().Draw(t, "directed"), MaxGap: event.Hour}
		var held []pairs.Contribution
		var said []string
		e := operatortest.New[event.Enriched](trailTopology(o), 1, 0, 0)
		e.Emitted = func(stage, _ string, _ operator.Meta, record any) {
			if c, ok := record.(*pairs.Contribution); ok {
				held = append(held, *c)
				said = append(said, say(t, c))
			}
		}
		for i, v := range drawViews(t) {
			if i == 40 {
				var err error
				if e, err = e.Restored(1, 0); err != nil {
					t.Fatal(err)
				}
			}
			e.Send(v.Time, &v)
		}
		for i := range held {
			if now := say(t, &held[i]); now != said[i] {
				t.Fatalf("contribution %d was %s and is %s", i, said[i], now)
			}
		}
	})
}

// An undirected pair counts in both rows, the same in both.
func TestUndirectedPairsCountInBothRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := operatortest.New[event.Enriched](trailTopology(pairs.TrailOptions{Items: 5}), 1, 0, 0)
		type pair struct {
			row, partner string
			weight       uint32
		}
		var told []pair
		e.Emitted = func(_, _ string, _ operator.Meta, record any) {
			if c, ok := record.(*pairs.Contribution); ok {
				for _, p := range c.List() {
					told = append(told, pair{c.Item, p.Partner, p.Weight})
				}
			}
		}
		for _, v := range drawViews(t) {
			told = told[:0]
			e.Send(v.Time, &v)
			for _, k := range told {
				if k.row == k.partner || !slices.Contains(told, pair{k.partner, k.row, k.weight}) {
					t.Fatalf("%v: %v has no counterpart", told, k)
				}
			}
		}
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		change func(*pairs.Options)
		ok     bool
	}{
		{func(*pairs.Options) {}, true},
		{func(o *pairs.Options) { o.Pane = event.Minute }, true},
		{func(o *pairs.Options) { o.Pane = event.Minute - 24 }, false},
		{func(o *pairs.Options) { o.Pane++ }, false},
		{func(o *pairs.Options) { o.Pane = 367 * event.Day }, false},
		{func(o *pairs.Options) { o.HalfLife = o.Pane }, true},
		{func(o *pairs.Options) { o.HalfLife = o.Pane - 1 }, false},
		{func(o *pairs.Options) { o.Capacity = pairs.MaxCapacity }, true},
		{func(o *pairs.Options) { o.Capacity = pairs.MaxCapacity + 1 }, false},
		{func(o *pairs.Options) { o.Capacity = 99 }, false}, // fewer than the top 100
		{func(o *pairs.Options) { o.Top = 0 }, false},
	} {
		o := pairs.Defaults()
		c.change(&o)
		if err := o.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, pairs.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func FuzzLoadTrail(f *testing.F) {
	views := []event.Enriched{
		{Event: event.Event{User: "ann", Item: "a", Type: event.TypeView, Time: 5}},
		{Event: event.Event{User: "ann", Item: "b", Type: event.TypeView, Time: 7}},
	}
	for _, directed := range []bool{false, true} {
		e := operatortest.New[event.Enriched](trailTopology(pairs.TrailOptions{Items: 3, Directed: directed, MaxGap: 1}), 1, 0, 0)
		for i := range views {
			e.Send(views[i].Time, &views[i])
		}
		_, state, err := operator.SplitState(e.State()["trail"]["ann"])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(state, directed)
	}
	f.Fuzz(func(t *testing.T, src []byte, directed bool) {
		topology := trailTopology(pairs.TrailOptions{Items: 3, Directed: directed, MaxGap: 1})
		raw := topology.Nodes()[1].NewRaw(operator.RawEnv{})
		state, again := raw.NewState(), raw.NewState()
		if raw.Load(1, src, state) != nil {
			return
		}
		b := raw.Append(nil, state)
		if err := raw.Load(1, b, again); err != nil || !bytes.Equal(raw.Append(nil, again), b) {
			t.Fatalf("written % x, read with %v", b, err)
		}
		raw.Context().Begin(operator.Meta{Time: 9, Watermark: 8})
		raw.Fold("ann", state, &views[1])
	})
}
