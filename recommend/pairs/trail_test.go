package pairs_test

import (
	"bytes"
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
		pairs.AddTrail(events, "trail", event.DefaultTypes(), o)
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
				said = append(said, fmt.Sprint(*c))
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
			if fmt.Sprint(held[i]) != said[i] {
				t.Fatalf("contribution %d was %s and is %v", i, said[i], held[i])
			}
		}
	})
}

// An undirected pair counts in both rows with the same distance.
func TestUndirectedPairsCountInBothRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := operatortest.New[event.Enriched](trailTopology(pairs.TrailOptions{Items: 5}), 1, 0, 0)
		var told []string // "row partner distance"
		e.Emitted = func(_, _ string, _ operator.Meta, record any) {
			if c, ok := record.(*pairs.Contribution); ok {
				for i, p := range c.Partners {
					told = append(told, fmt.Sprint(c.Item, " ", p, " ", int(c.Distance)+len(c.Partners)-1-i))
				}
			}
		}
		for _, v := range drawViews(t) {
			told = told[:0]
			e.Send(v.Time, &v)
			for _, k := range told {
				var row, partner string
				var distance int
				fmt.Sscan(k, &row, &partner, &distance)
				if row == partner || distance < 1 || distance > 5 || !slices.Contains(told, fmt.Sprint(partner, " ", row, " ", distance)) {
					t.Fatalf("%v: %q has no counterpart", told, k)
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
		_, _, state, err := operator.SplitState(e.State()["trail"]["ann"])
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
