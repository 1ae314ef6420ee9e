package heat_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend/clean"
	"millrace/recommend/heat"
)

func topology(o heat.Options) func() *operator.Topology {
	return func() *operator.Topology {
		t, events := operator.NewTopology[event.Enriched]()
		cleaned := operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents)
		heat.Add(cleaned, event.DefaultTypes(), o)
		return t
	}
}

func TestScripts(t *testing.T) {
	harness.RunScript(t, "testdata", topology(heat.Options{Kept: 3, Shown: 2}), "heat.warm")
}

// run gives events to the engine with so many shards and returns its views.
func run(t interface{ Fatal(...any) }, events []event.Enriched, shards int, seed uint64) map[string]map[string]operator.Value {
	e := operatortest.New[event.Enriched](topology(heat.Options{Kept: 5, Shown: 5})(), shards, 5*event.Second, seed)
	for i := range events {
		e.Send(events[i].Time, &events[i])
	}
	e.Drain()
	return e.Views()
}

// The trending list of everything is the items by their heat, whatever the
// shards and the interleaving; what the view "heat" says decides.
func TestTrendingIsTheTopOfAllHeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var events []event.Enriched
		at := event.Time(1_700_000_000_000)
		for range 200 {
			at += event.Time(random.IntN(int(3 * event.Hour)))
			e := event.Enriched{Event: event.Event{User: fmt.Sprint(random.IntN(20)), Item: fmt.Sprint("i", random.IntN(12)), Type: event.TypeClick}}
			e.Time = at - event.Time(random.IntN(int(event.Day)))
			events = append(events, e)
		}
		views := run(t, events, 1+random.IntN(4), random.Uint64())
		_, names := heat.HalfLives()
		for k, name := range names {
			list := views[heat.TrendingView][heat.ScopeAll+"|"+name].(*heat.Trending)
			listed := map[string]bool{}
			for i := range list.Len() {
				hot := list.At(i)
				listed[hot.Item] = true
				if h := views[heat.HeatView][hot.Item].(*heat.Heat); h.Values[k] != hot.Heat || h.Last != hot.Time {
					t.Fatalf("%s %s: listed with %v at %v, the item has %v at %v", name, hot.Item, hot.Heat, hot.Time, h.Values[k], h.Last)
				}
				if i > 0 && list.At(i-1).Heat < hot.Heat {
					t.Fatalf("%s: place %d is hotter than the one before", name, i)
				}
			}
			last := list.At(list.Len() - 1).Heat
			for item, v := range views[heat.HeatView] {
				if !listed[item] && v.(*heat.Heat).Values[k] > last {
					t.Fatalf("%s: %s is hotter than the last in the list and is not there", name, item)
				}
			}
		}
	})
}

func TestViewsSurviveTheirBytes(t *testing.T) {
	h := &heat.Heat{Events: 7, Last: -5}
	h.Values[2] = 1 << 60
	b, _ := h.AppendBinary(nil)
	again, err := heat.DecodeHeat(b)
	if err != nil || *again != *h {
		t.Errorf("heat: %v, %v", again, err)
	}
	list := heat.NewTrending(heat.Hot{Item: "a", Heat: 9, Time: 3}, heat.Hot{Item: "b"})
	b, _ = list.AppendBinary(nil)
	other, err := heat.DecodeTrending(b)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := other.AppendBinary(nil); !bytes.Equal(b, c) {
		t.Errorf("trending: %+v, want %+v", other, list)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := heat.NewTrending(heat.Hot{Item: "a", Heat: 9, Time: 3}).AppendBinary(nil)
	f.Add(b)
	b, _ = (&heat.Heat{Events: 7}).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := heat.DecodeTrending(b); err == nil {
			if _, err := v.AppendBinary(nil); err != nil {
				t.Error(err)
			}
		}
		_, _ = heat.DecodeHeat(b)
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []heat.Options{{}, {Kept: 1}, {Kept: 1, Shown: 2}, {Kept: 100_000, Shown: 1}} {
		if o.Validate() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	if err := heat.Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

// A list says what it is told, whatever it shares with the one before; and the
// one before stays as it was.
func TestListsShareWhatDoesNotChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stage := topology(heat.Options{Kept: 30, Shown: 20})
		live := operatortest.New[event.Enriched](stage(), 1, event.Second, 1)
		var events []event.Enriched
		type said struct {
			list  *heat.Trending
			bytes []byte
		}
		var before []said
		for i := range rapid.IntRange(1, 80).Draw(t, "events") {
			e := event.Enriched{Event: event.Event{
				User: "u", Type: event.TypeView, Time: event.Time(1e12) + event.Time(i)*event.Second,
				Item: fmt.Sprint("i", rapid.IntRange(0, 40).Draw(t, "item")),
			}}
			events = append(events, e)
			live.Send(e.Time, &e)
			if rapid.IntRange(0, 3).Draw(t, "answer") > 0 {
				continue
			}
			fresh := operatortest.New[event.Enriched](stage(), 1, event.Second, 1)
			for i := range events {
				fresh.Send(events[i].Time, &events[i])
			}
			live.Drain()
			fresh.Drain()
			for key, want := range fresh.Views()[heat.TrendingView] {
				a, _ := want.AppendBinary(nil)
				b, _ := live.Views()[heat.TrendingView][key].AppendBinary(nil)
				if !bytes.Equal(a, b) {
					t.Fatalf("after %d events %s is % x, made at once % x", i+1, key, b, a)
				}
				list := live.Views()[heat.TrendingView][key].(*heat.Trending)
				before = append(before, said{list, b})
			}
		}
		for _, s := range before {
			if b, _ := s.list.AppendBinary(nil); !bytes.Equal(b, s.bytes) {
				t.Fatal("a list has changed after it was shown")
			}
		}
	})
}
