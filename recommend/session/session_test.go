package session

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
	"millrace/recommend/recommendtest"
)

// topology has no clean, whose output would fill the scripts.
func topology(o Options) *operator.Topology { return recommendtest.Alone(stage(o)) }

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata/default", func() *operator.Topology { return topology(Defaults()) })
	harness.RunScript(t, "testdata/short", func() *operator.Topology {
		return topology(Options{Gap: 2 * event.Second, Items: 3})
	})
}

// The stage fits behind clean.
func TestChainsToClean(t *testing.T) {
	views := recommendtest.BehindClean(t, func(events operator.Stream[event.Enriched]) { Add(events, Defaults()) })
	if v := views[ViewName]["ann"].(*View); v.Open.Events != 1 {
		t.Errorf("%d events after an event and its repeat, want 1", v.Open.Events)
	}
}

func TestOptions(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Options{{}, {0, 1}, {1, 0}, {366*event.Day + 1, 1}, {1, 10_001}, {-1, 1}} {
		if err := wrong.Validate(); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func drawEvents(t *rapid.T, late int64) []event.Enriched {
	now := event.Time(1_700_000_000_000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Enriched {
		now += event.Duration(rapid.Int64Range(0, 3000).Draw(t, "passed"))
		return event.Enriched{Event: event.Event{
			User: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
			Item: fmt.Sprint("i", rapid.IntRange(0, 9).Draw(t, "item")),
			Type: rapid.SampledFrom([]string{"impression", "view", "like"}).Draw(t, "type"),
			Time: now - event.Duration(max(0, rapid.Int64Range(-late, late).Draw(t, "late"))),
		}}
	}), 0, 200).Draw(t, "events")
}

// window is a merging window as Flink has it: TimeWindow, with the events in
// it in the order of arrival.
type window struct {
	start, end event.Time
	events     []event.Enriched
}

// flink is EventTimeSessionWindows with an EventTimeTrigger and no allowed
// lateness: WindowOperator.processElement and onEventTime of Flink 2.2,
// MergingWindowSet and TimeWindow.intersects, for one user.
type flink struct {
	gap     event.Duration
	windows []window
	fired   []window
	late    int
}

func (f *flink) watermark(w event.Time) {
	f.windows = slices.DeleteFunc(f.windows, func(x window) bool {
		if x.end-1 <= w {
			f.fired = append(f.fired, x)
			return true
		}
		return false
	})
}

func (f *flink) process(e event.Enriched, watermark event.Time) {
	f.watermark(watermark)
	merged := window{e.Time, e.Time + f.gap, nil}
	for again := true; again; {
		again = false
		f.windows = slices.DeleteFunc(f.windows, func(x window) bool {
			if merged.start > x.end || merged.end < x.start {
				return false
			}
			merged = window{min(merged.start, x.start), max(merged.end, x.end), append(merged.events, x.events...)}
			again = true
			return true
		})
	}
	if merged.end-1 <= watermark {
		f.late++
		return
	}
	merged.events = append(merged.events, e)
	f.windows = append(f.windows, merged)
}

// Sessions and late events are those of Flink, whatever the order of events.
func TestSessionsAreFlinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Gap: event.Duration(rapid.Int64Range(1, 8000).Draw(t, "gap")), Items: 100}
		events := drawEvents(t, 15_000)
		engine := operatortest.New[event.Enriched](topology(o), 2, 5*event.Second, rapid.Uint64().Draw(t, "seed"))
		closed, late := map[string]bool{}, 0
		engine.Emitted = func(_, port string, m operator.Meta, record any) {
			if port == PortLate {
				late++
				return
			}
			c := record.(*Closed)
			if m.Time != c.End-1 || c.End != c.Last+o.Gap {
				t.Fatalf("%+v at %d", c, m.Time)
			}
			closed[fmt.Sprint(c.User, c.Start, c.End, c.Events, len(c.Items))] = true
		}
		source := watermark.NewBoundedOutOfOrderness(5 * event.Second)
		users := map[string]*flink{"ann": {gap: o.Gap}, "bob": {gap: o.Gap}}
		for i := range events {
			e := &events[i]
			users[e.User].process(*e, operator.Stamp(source, e.Time).Watermark)
			engine.Send(e.Time, e)
		}
		engine.Watermark(event.MaxTime)
		engine.Drain()
		want, wantLate := 0, 0
		for user, f := range users {
			f.watermark(event.MaxTime)
			want += len(f.fired)
			wantLate += f.late
			for _, w := range f.fired {
				items := map[string]bool{}
				for _, e := range w.events {
					if e.Type != event.TypeImpression {
						items[e.Item] = true
					}
				}
				if key := fmt.Sprint(user, w.start, w.end, len(w.events), len(items)); !closed[key] {
					t.Fatalf("no session %s in %v", key, closed)
				}
			}
		}
		if len(closed) != want || late != wantLate {
			t.Fatalf("%d sessions and %d late events, want %d and %d", len(closed), late, want, wantLate)
		}
	})
}

// Without late events the sessions are what anybody would count: events by
// time, cut where two are more than the gap apart; and items are the newest of each.
func TestSessionsOfEventsByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Gap: event.Duration(rapid.Int64Range(1, 4000).Draw(t, "gap")), Items: rapid.IntRange(1, 12).Draw(t, "items")}
		events := drawEvents(t, 5000)
		engine := operatortest.New[event.Enriched](topology(o), 1, 20*event.Second, 0)
		closed := map[string]string{}
		engine.Emitted = func(_, port string, _ operator.Meta, record any) {
			c := record.(*Closed)
			closed[fmt.Sprint(c.User, c.Start)] = fmt.Sprint(c.Last, c.Events, c.Items)
		}
		for i := range events {
			engine.Send(events[i].Time, &events[i])
		}
		engine.Watermark(event.MaxTime)
		for _, user := range []string{"ann", "bob"} {
			mine := slices.DeleteFunc(slices.Clone(events), func(e event.Enriched) bool { return e.User != user })
			slices.SortStableFunc(mine, func(a, b event.Enriched) int { return int(a.Time - b.Time) })
			for from, to := 0, 1; from < len(mine); from, to = to, to+1 {
				for to < len(mine) && mine[to].Time-mine[to-1].Time <= o.Gap {
					to++
				}
				items := []string{}
				for _, e := range slices.Backward(mine[from:to]) {
					if e.Type != event.TypeImpression && !slices.Contains(items, e.Item) && len(items) < o.Items {
						items = append(items, e.Item)
					}
				}
				want := fmt.Sprint(mine[to-1].Time, to-from, items)
				if got := closed[fmt.Sprint(user, mine[from].Time)]; got != want {
					t.Fatalf("session of %s from %d: %s, want %s", user, mine[from].Time, got, want)
				}
			}
		}
	})
}

// A user that is stored and restored goes on as if nothing had happened, and
// what was published once never changes.
func TestReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Gap: 3 * event.Second, Items: rapid.IntRange(1, 9).Draw(t, "items")}
		recommendtest.ReadsBack(t, func() *operator.Topology { return topology(o) }, StageName, ViewName, DecodeView, drawEvents(t, 9000))
	})
}

func TestLoadRefuses(t *testing.T) {
	recommendtest.LoadRefuses(t, stateVersion, &session{})
	recommendtest.DecodeRefuses(t, &View{}, DecodeView)
}

func FuzzDecodeView(f *testing.F) {
	recommendtest.FuzzDecode(f, DecodeView, &View{Open: &Open{1000, 2000, 3, []string{"i2", "i1"}}, ClosedSessions: 2, ClosedLength: 500})
}

func FuzzLoad(f *testing.F) {
	recommendtest.FuzzLoad(f, stateVersion, &session{options: Defaults()},
		&state{closed: 1, opened: []opened{{1000, 2000, 3, []met{newMet("i1", 1500)}, nil}}})
}

// Sessions of 100 of 10,000 users at a time, answered every 1000 events.
func BenchmarkFold(b *testing.B) {
	for _, c := range []struct {
		kind   string
		length int // events in a session
	}{{"view", 20}, {"view", 200}, {"impression", 20}} {
		b.Run(fmt.Sprint(c.kind, "/", c.length), func(b *testing.B) {
			var users, items [10_000]string
			for i := range users {
				users[i], items[i] = fmt.Sprint("user-", i), fmt.Sprint("item-", i)
			}
			first := event.Enriched{Event: event.Event{Type: c.kind}}
			recommendtest.MeasureFold(b, topology(Defaults()), first, func(i int, e *event.Enriched) {
				e.User, e.Item = users[(i/100/c.length*100+i%100)%len(users)], items[i*31%len(items)]
			})
		})
	}
}
