package keyed_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/keyed"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

// view is what a user has looked at.
type view struct{ User, Item string }

// hour is how long an item counts as seen.
type hour struct{}

func (hour) TTL() keyed.TTL { return keyed.TTL{After: event.Hour, EventTime: true, Exact: true} }

// profile is what is remembered of a user.
type profile struct {
	Total keyed.Reducing[int64, keyed.Sum[int64]]
	Last  keyed.Value[string]
	Seen  keyed.ExpiringMap[string, int64, hour] // how often, by item
}

var profiles = keyed.Declare(1, func(d *keyed.Descriptor, s *profile) {
	s.Total.Declare(d, "total", codec.Int64[int64]())
	s.Last.Declare(d, "last", codec.String[string]())
	s.Seen.Declare(d, "seen", codec.String[string](), codec.Int64[int64]())
})

// profiler is an operator that has its Append and Load from the layout.
type profiler struct {
	*keyed.Layout[profile]
	out *operator.Output[string]
}

func (o *profiler) Fold(c *operator.Context, user string, s *profile, in *view) {
	n, _ := s.Seen.Get(c, in.Item)
	s.Seen.Put(c, in.Item, n+1)
	s.Total.Add(1)
	s.Last.Set(in.Item)
	total, _ := s.Total.Get()
	o.out.Emit(c.Time, fmt.Sprintf("%s sees %s for the %d. time within the hour, item %d in all", user, in.Item, n+1, total))
}

func (o *profiler) Timer(c *operator.Context, _ string, s *profile, at event.Time) {
	o.Expire(c, s, at)
	if s.Seen.Len(c) == 0 {
		c.Forget() // after a quiet hour
	}
}

func profileTopology() *operator.Topology {
	topology, source := operator.NewTopology[view]()
	operator.Add(source, operator.Stage[string, profile, view]{
		Name: "profile", Version: profiles.Version(), Key: func(v *view) string { return v.User },
		New: func(p *operator.Ports) operator.Operator[string, profile, view] {
			return &profiler{profiles, operator.Out[string](p, "out")}
		},
	})
	return topology
}

func ExampleDeclare() {
	e := operatortest.New[view](profileTopology(), 1, 0, 0)
	e.Emitted = func(_, _ string, _ operator.Meta, record any) { fmt.Println(*record.(*string)) }
	for i, v := range []view{{"ann", "lamp"}, {"ann", "lamp"}, {"ann", "desk"}, {"bob", "lamp"}, {"ann", "lamp"}} {
		e.Send(event.Time(i)*40*event.Minute, &v)
	}
	e.Watermark(event.Day)
	e.Drain()
	fmt.Println(len(e.State()["profile"]), "users are remembered")
	// Output:
	// ann sees lamp for the 1. time within the hour, item 1 in all
	// ann sees lamp for the 2. time within the hour, item 2 in all
	// ann sees desk for the 1. time within the hour, item 3 in all
	// bob sees lamp for the 1. time within the hour, item 1 in all
	// ann sees lamp for the 1. time within the hour, item 4 in all
	// 0 users are remembered
}

// All engines come to the same, over any shards and blocks, restored at any
// time, and remember nothing at the end.
func TestEnginesAgreeOnState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := event.Time(0)
		views := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[view] {
			at += event.Time(rapid.IntRange(0, 40).Draw(t, "minutes")) * event.Minute
			late := event.Time(rapid.IntRange(0, 15).Draw(t, "late")) * event.Minute
			return harness.At(at-late, view{
				rapid.SampledFrom([]string{"ann", "bob", "cy"}).Draw(t, "user"),
				rapid.SampledFrom([]string{"lamp", "desk", "chair"}).Draw(t, "item"),
			})
		}), 0, 60).Draw(t, "views")
		var rows map[string][]string
		var state []byte
		for i := range 3 {
			seed := rapid.Uint64().Draw(t, "seed")
			h := harness.New[view](t, profileTopology(), harness.Options{
				Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(10 * event.Minute) }, Seed: seed,
			})
			h.Play(seed, views)
			s := h.Snapshot()
			h.Watermark(event.MaxTime)
			h.ExpectKeys("profile", 0)
			r := h.Rows()
			if i == 0 {
				rows, state = r, s
			}
			if diff := cmp.Diff(rows, r) + cmp.Diff(state, s); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
	})
}

func BenchmarkState(b *testing.B) {
	var s profile
	c := at(1000, 500)
	for b.Loop() {
		n, _ := s.Seen.Get(c, "lamp")
		s.Seen.Put(c, "lamp", n+1)
		s.Total.Add(1)
		s.Last.Set("lamp")
	}
}
