package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend/recommendtest"
	"millrace/recommend/tally"
)

// topology has no clean, whose output would fill the scripts.
func topology(o Options) *operator.Topology {
	return recommendtest.Alone(stage(o, event.DefaultTypes()))
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", func() *operator.Topology { return topology(Defaults()) })
}

// The stage fits behind clean.
func TestChainsToClean(t *testing.T) {
	views := recommendtest.BehindClean(t, func(events operator.Stream[event.Enriched]) {
		Add(events, Defaults(), event.DefaultTypes())
	})
	if v := views[ViewName]["ann"].(*View); v.Patterns.Events != 1 {
		t.Errorf("%d events after an event and its repeat, want 1", v.Patterns.Events)
	}
}

func TestOptions(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Options{{}, {0, 1, 1}, {1.1, 1, 1}, {-1, 1, 1}, {0.1, 0, 1}, {0.1, 10_001, 1}, {0.1, 1, 0}, {0.1, 1, 2}} {
		if err := wrong.Validate(); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func TestPartsOfTime(t *testing.T) {
	const thursday = 0 // 1 January 1970
	for _, c := range []struct {
		at      event.Time
		part    PartOfDay
		weekend bool
	}{
		{thursday, Night, false},
		{thursday + 6*event.Hour - 1, Night, false},
		{thursday + 6*event.Hour, Morning, false},
		{thursday + 12*event.Hour, Afternoon, false},
		{thursday + 18*event.Hour, Evening, false},
		{thursday + 2*event.Day - 1, Evening, false},
		{thursday + 2*event.Day, Night, true},
		{thursday + 4*event.Day - 1, Evening, true},
		{thursday + 4*event.Day, Night, false},
		{thursday - 1, Evening, false},
		{thursday - 4*event.Day - 1, Evening, true}, // a Saturday
		{thursday - 5*event.Day - 1, Evening, false},
	} {
		var p Patterns
		p.add(&event.Event{Time: c.at})
		if p.PartsOfDay[c.part] != 1 || (p.Weekend == 1) != c.weekend {
			t.Errorf("%v: %v, weekend %d, want %v, weekend %v", c.at, p.PartsOfDay, p.Weekend, c.part, c.weekend)
		}
	}
}

func TestPatternsOfNothing(t *testing.T) {
	got, err := json.Marshal(&View{})
	want := `{"interests":{},"top_interests":[],"behavior_patterns":{"events":0,"events_by_type":{},"most_active":null,` +
		`"share_by_part_of_day":{"afternoon":0,"evening":0,"morning":0,"night":0},"weekday_share":0,"weekend_share":0,` +
		`"average_rating":null,"purchases_per_view":null},"features":{},"last_updated":0}`
	if string(got) != want || err != nil {
		t.Errorf("%s, %v, want\n%s", got, err, want)
	}
}

// Ratings that no scale has would make an average that JSON cannot write.
func TestHugeRatingsAreNotAveraged(t *testing.T) {
	var p Patterns
	for _, value := range []float64{1e308, 1e308, -1e308, 4} {
		p.add(&event.Event{Type: event.TypeRating, HasValue: true, Value: value})
	}
	if average, ok := p.AverageRating(); average != 4 || !ok || p.Events != 4 {
		t.Errorf("average %v, %v, of %d events, want 4", average, ok, p.Events)
	}
}

// A new category takes the place of the lowest, by score, then name.
func TestCategoriesAreBounded(t *testing.T) {
	o := Options{Alpha: 0.5, Categories: 3, Top: 2}
	op := stage(o, event.DefaultTypes()).New(operator.NewPorts(&operator.Context{}, nil, nil))
	var s state
	for _, x := range []struct{ kind, category, want string }{
		{"like", "b", "b"},
		{"like", "a", "a b"},
		{"purchase", "c", "c a b"},
		{"view", "d", "c a d"}, // a and b were equal, b is the later name
		{"view", "e", "c a e"},
		{"dislike", "a", "c e a"}, // 0.25 is now -0.125
		{"purchase", "f", "c f e"},
	} {
		e := event.Enriched{Event: event.Event{Type: x.kind}, ItemInfo: &event.Item{Categories: []string{x.category}}}
		op.Fold(&operator.Context{}, "ann", &s, &e)
		var got []string
		for _, i := range s.interests {
			got = append(got, i.Category)
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("after %s %s: %v, want %s", x.kind, x.category, s.interests, x.want)
		}
	}
}

func drawEvents(t *rapid.T) []event.Enriched {
	now := event.Time(1_700_000_000_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		now += event.Duration(rapid.Int64Range(0, 20*int64(event.Hour)).Draw(t, "passed"))
		e := event.Enriched{Event: event.Event{
			User: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
			Type: rapid.SampledFrom(event.DefaultTypes().Names()).Draw(t, "type"),
			Time: now - event.Duration(max(0, rapid.Int64Range(-9, 9).Draw(t, "late")))*event.Hour,
		}}
		if e.HasValue = e.Type == "rating"; e.HasValue {
			e.Value = rapid.Float64Range(0, 6).Draw(t, "value")
		}
		categories := rapid.SliceOfNDistinct(rapid.SampledFrom(strings.Split("abcdefgh", "")), 0, 3, rapid.ID[string])
		e.ItemInfo = &event.Item{Categories: categories.Draw(t, "categories")}
		return e
	}), 0, 150).Draw(t, "events")
}

// The view is what the definition says: a map of averages, sorted.
func TestInterestsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Alpha: rapid.Float64Range(0.01, 1).Draw(t, "alpha"), Categories: 100, Top: rapid.IntRange(1, 8).Draw(t, "top")}
		events := drawEvents(t)
		engine := operatortest.New[event.Enriched](topology(o), 1, 5*event.Second, 0)
		want := map[string]*Interest{}
		n, last := int64(0), event.MinTime
		for i := range events {
			e := &events[i]
			engine.Send(e.Time, e)
			if e.User != "ann" || e.Type == event.TypeImpression {
				continue
			}
			n, last = n+1, max(last, e.Time)
			w := float64(event.DefaultTypes().WeightMilli(&e.Event)) / 1000
			for _, category := range e.ItemInfo.Categories {
				x := want[category]
				if x == nil {
					x = &Interest{Category: category}
					want[category] = x
				}
				x.Score = float64((1-o.Alpha)*x.Score) + float64(o.Alpha*w)
				switch e.Type {
				case event.TypeView:
					x.Views++
				case event.TypePurchase:
					x.Purchases++
				}
			}
		}
		if n == 0 {
			return
		}
		var sorted []Interest
		for _, x := range want {
			sorted = append(sorted, *x)
		}
		slices.SortFunc(sorted, func(a, b Interest) int {
			if a.Score != b.Score {
				return map[bool]int{true: -1, false: 1}[a.Score > b.Score]
			}
			return strings.Compare(a.Category, b.Category)
		})
		v := engine.Views()[ViewName]["ann"].(*View)
		if !slices.Equal(v.Interests, sorted) || v.Patterns.Events != n || v.LastUpdated != last {
			t.Fatalf("%+v, want %v, %d events until %d", v, sorted, n, last)
		}
		positive := slices.DeleteFunc(sorted, func(x Interest) bool { return x.Score <= 0 })
		if !slices.Equal(v.Top, positive[:min(o.Top, len(positive))]) {
			t.Fatalf("top %v of %v", v.Top, v.Interests)
		}
	})
}

// A user that is stored and restored goes on as if nothing had happened, and
// what was published once never changes.
func TestReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Alpha: 0.1, Categories: rapid.IntRange(3, 8).Draw(t, "categories"), Top: 3}
		recommendtest.ReadsBack(t, func() *operator.Topology { return topology(o) }, StageName, ViewName, DecodeView, drawEvents(t))
	})
}

func TestLoadRefuses(t *testing.T) {
	recommendtest.LoadRefuses(t, stateVersion, &profile{})
	topOfNothing := append([]byte{viewVersion, 1}, recommendtest.Bytes(t, &View{})[2:]...)
	recommendtest.DecodeRefuses(t, &View{}, DecodeView, topOfNothing)
}

func FuzzDecodeView(f *testing.F) {
	interests := []Interest{{"drama", 0.5, 3, 1}, {"crime", -0.25, 0, 0}}
	patterns := Patterns{Events: 4, Types: tally.Counts{{Name: "view", N: 4}}}
	recommendtest.FuzzDecode(f, DecodeView, &View{interests, interests[:1], patterns, 1000})
}

func FuzzLoad(f *testing.F) {
	recommendtest.FuzzLoad(f, stateVersion, &profile{}, &state{interests: []Interest{{"drama", 0.5, 3, 1}}, updated: 1000})
}

// Items of two of 18 categories, as in MovieLens, of 10,000 users, answered
// every 1000 events.
func BenchmarkFold(b *testing.B) {
	for _, kind := range []string{"rating", "impression"} {
		b.Run(kind, func(b *testing.B) {
			var users [10_000]string
			for i := range users {
				users[i] = fmt.Sprint("user-", i)
			}
			var items [500]event.Item
			for i := range items {
				items[i].Categories = []string{fmt.Sprint("category-", i%18), fmt.Sprint("category-", i*7%18)}
			}
			first := event.Enriched{Event: event.Event{Type: kind, HasValue: true, Value: 4}}
			recommendtest.MeasureFold(b, topology(Defaults()), first, func(i int, e *event.Enriched) {
				e.User, e.ItemInfo = users[(i/2000*100+i%100)%len(users)], &items[i*31%len(items)]
			})
		})
	}
}
