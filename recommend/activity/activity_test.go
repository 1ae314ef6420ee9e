package activity

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
	"millrace/recommend/names"
	"millrace/recommend/recommendtest"
	"millrace/recommend/tally"
)

// topology has no clean, whose output would fill the scripts.
func topology(o Options) *operator.Topology { return recommendtest.Alone(stage(o)) }

// small is Defaults with bounds that tests reach.
func small() Options { return Options{Recent: 3, Seen: 5, RatingWindow: event.Second} }

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", func() *operator.Topology { return topology(small()) })
}

// The stage fits behind clean.
func TestChainsToClean(t *testing.T) {
	views := recommendtest.BehindClean(t, func(events operator.Stream[event.Enriched]) { Add(events, Defaults()) })
	if v := views[ViewName]["ann"].(*View); v.BrowseCount != 1 {
		t.Errorf("browse count %d after an event and its repeat, want 1", v.BrowseCount)
	}
}

func TestOptions(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Options{
		{}, {0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {10_001, 1, 1}, {1, 1_000_001, 1}, {1, 1, event.Day + 1},
	} {
		if err := wrong.Validate(); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func drawEvents(t *rapid.T) []event.Enriched {
	now := event.Time(1_700_000_000_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		now += event.Duration(rapid.Int64Range(0, 3000).Draw(t, "passed"))
		e := event.Enriched{Event: event.Event{
			User: "ann",
			Item: fmt.Sprint("i", rapid.IntRange(0, 120).Draw(t, "item")),
			Type: rapid.SampledFrom([]string{"impression", "view", "rating"}).Draw(t, "type"),
			Time: now - event.Duration(max(0, rapid.Int64Range(-9000, 9000).Draw(t, "late"))),
		}}
		if e.HasValue = e.Type == "rating"; e.HasValue {
			e.Value = float64(rapid.IntRange(0, 5).Draw(t, "value"))
		}
		return e
	}), 0, 300).Draw(t, "events")
}

// model is the definition in doc.go, the slow way.
type model struct {
	recent []Interaction
	seen   []string
	counts map[string]int64
	last   event.Time
}

func (m *model) add(e *event.Enriched, o Options) {
	m.counts[e.Type]++
	m.last = max(m.last, e.Time)
	if e.Type == event.TypeImpression {
		return
	}
	m.recent = append([]Interaction{{e.Item, e.Type, e.Time, e.Value, e.HasValue}}, m.recent...)
	slices.SortStableFunc(m.recent, func(a, b Interaction) int { return int(b.Time - a.Time) })
	m.recent = m.recent[:min(len(m.recent), o.Recent)]
	if !slices.Contains(m.seen, e.Item) {
		m.seen = append(m.seen, e.Item)
		m.seen = m.seen[max(0, len(m.seen)-o.Seen):]
	}
}

// The view is what the definition says after every event, and what was
// published once never changes, though it shares memory with the state.
func TestViewsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := small()
		o.Recent = rapid.IntRange(1, 12).Draw(t, "recent")
		o.Seen = rapid.IntRange(1, 80).Draw(t, "seen")
		events := drawEvents(t)
		engine := operatortest.New[event.Enriched](topology(o), 1, 5*event.Second, 0)
		m := model{counts: map[string]int64{}}
		var published []*View
		var then []string
		for i := range events {
			engine.Send(events[i].Time, &events[i])
			m.add(&events[i], o)
			v := engine.Views()[ViewName]["ann"].(*View)
			if !slices.Equal(v.Recent, m.recent) {
				t.Fatalf("event %d: recent\n%v, want\n%v", i, v.Recent, m.recent)
			}
			if !slices.Equal(slices.Collect(v.Seen.Items()), m.seen) {
				t.Fatalf("event %d: seen %v, want %v", i, slices.Collect(v.Seen.Items()), m.seen)
			}
			for n := range 122 {
				if item := fmt.Sprint("i", n); v.Seen.Has(item) != slices.Contains(m.seen, item) {
					t.Fatalf("event %d: has %s is %v, seen are %v", i, item, v.Seen.Has(item), m.seen)
				}
			}
			if v.BrowseCount != m.counts["view"]+m.counts["rating"] || v.LastSeen != m.last ||
				v.Counts.Of("impression") != m.counts["impression"] {
				t.Fatalf("event %d: %+v, want %+v", i, v, m)
			}
			published, then = append(published, v), append(then, recommendtest.Bytes(t, v))
		}
		for i, v := range published {
			if recommendtest.Bytes(t, v) != then[i] {
				t.Fatalf("the view published after event %d has changed", i)
			}
		}
	})
}

// Each window that got a rating in time emits its latest once, and each
// rating that came too late is reported once.
func TestRatingsByTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		engine := operatortest.New[event.Enriched](topology(small()), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		emitted, late := map[event.Time]Rated{}, 0
		engine.Emitted = func(_, port string, m operator.Meta, record any) {
			r := record.(*Rating).Rated
			if port == PortLate {
				late++
				return
			}
			if _, twice := emitted[r.WindowStart]; twice || m.Time != r.WindowStart+999 {
				t.Fatalf("window %d emitted at %v, twice: %v", r.WindowStart, m.Time, twice)
			}
			emitted[r.WindowStart] = r
		}
		want, wantLate := map[event.Time]Rated{}, 0
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		for i := range events {
			e := &events[i]
			m := operator.Stamp(source, e.Time)
			engine.Send(e.Time, e)
			if e.Type != event.TypeRating {
				continue
			}
			start := event.WindowStart(e.Time, event.Second)
			if start+999 <= m.Watermark {
				wantLate++
			} else if known, ok := want[start]; !ok || e.Time >= known.Time {
				want[start] = Rated{e.Item, e.Value, e.Time, start}
			}
		}
		engine.Watermark(event.MaxTime)
		engine.Drain()
		if late != wantLate || len(emitted) != len(want) {
			t.Fatalf("%d windows and %d late, want %d and %d", len(emitted), late, len(want), wantLate)
		}
		for start, r := range want {
			if emitted[start] != r {
				t.Fatalf("window %d: %+v, want %+v", start, emitted[start], r)
			}
		}
	})
}

// State and views that were written and read are what they were: they write
// the same bytes, and a restored user goes on like one that was never stored.
func TestReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		recommendtest.ReadsBack(t, func() *operator.Topology { return topology(small()) }, StageName, ViewName, DecodeView, drawEvents(t))
	})
}

func TestLoadRefuses(t *testing.T) {
	recommendtest.LoadRefuses(t, stateVersion, &activity{items: names.New()})
	recommendtest.DecodeRefuses(t, &View{}, DecodeView)
}

func example() *View {
	v := &View{
		BrowseCount: 2, Counts: tally.Counts{{Name: "rating", N: 1}, {Name: "view", N: 1}}, LastSeen: 2000,
		LastRating: &Rated{"i1", 4.5, 1500, 1000},
		Recent:     []Interaction{{Item: "i2", Type: "other", Time: 2000}, {"i1", "rating", 1500, 4.5, true}},
	}
	items := names.New()
	for i := range 20 {
		v.Seen.add(fmt.Sprint("i", i), items, 100)
	}
	return v
}

func FuzzDecodeView(f *testing.F) { recommendtest.FuzzDecode(f, DecodeView, example()) }

func FuzzLoad(f *testing.F) {
	recommendtest.FuzzLoad(f, stateVersion, &activity{items: names.New()}, &state{windows: []Rated{{"i1", 4.5, 1500, 1000}}})
}
