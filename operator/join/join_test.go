package join_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/join"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// input is a record of the source: an impression or a click.
type input struct {
	click bool
	user  string
	n     int64
}

// impression and click are the two sides: different types, one key.
type impression struct {
	User string
	N    int64
}
type click struct {
	N    int64
	User string
}

var impressions = codec.Struct(
	codec.Field(func(v *impression) *string { return &v.User }, codec.String[string]()),
	codec.Field(func(v *impression) *int64 { return &v.N }, codec.Int64[int64]()),
)
var clicks = codec.Struct(
	codec.Field(func(v *click) *string { return &v.User }, codec.String[string]()),
	codec.Field(func(v *click) *int64 { return &v.N }, codec.Int64[int64]()),
)

func sides(source operator.Stream[input]) (operator.Stream[impression], operator.Stream[click]) {
	l := operator.Map(operator.Filter(source, func(in *input) bool { return !in.click }),
		func(in *input, out *impression) { *out = impression{in.user, in.n} })
	r := operator.Map(operator.Filter(source, func(in *input) bool { return in.click }),
		func(in *input, out *click) { *out = click{in.n, in.user} })
	return l, r
}

// pass is a stage that emits what it reads, keyed by something else, so that
// what is behind it is behind an exchange.
type pass[T any] struct{ out *operator.Output[T] }

func (p *pass[T]) Fold(c *operator.Context, _ string, _ *struct{}, in *T) {
	p.out.Emit(c.Time, *in)
	c.Unchanged()
}
func (*pass[T]) Timer(*operator.Context, string, *struct{}, event.Time) {}
func (*pass[T]) Append(dst []byte, _ *struct{}) []byte                  { return dst }
func (*pass[T]) Load(uint8, []byte, *struct{}) error                    { return nil }

func behindExchange[T any](in operator.Stream[T], name string, key func(*T) string) operator.Stream[T] {
	h := operator.Add(in, operator.Stage[string, struct{}, T]{
		Name: name, Version: 1, Key: key,
		New: func(p *operator.Ports) operator.Operator[string, struct{}, T] {
			return &pass[T]{operator.Out[T](p, "out")}
		},
	})
	return operator.From[T](h, "out")
}

// streams are the two sides, read from the source or behind an exchange.
func streams(exchange bool) (*operator.Topology, operator.Stream[impression], operator.Stream[click]) {
	t, source := operator.NewTopology[input]()
	l, r := sides(source)
	if exchange {
		l = behindExchange(l, "impressions", func(v *impression) string { return fmt.Sprint(v.N % 7) })
		r = behindExchange(r, "clicks", func(v *click) string { return fmt.Sprint(v.N % 5) })
	}
	return t, l, r
}

func drawInputs(t *rapid.T) []harness.Record[input] {
	span := rapid.SampledFrom([]int64{5, 40, 300}).Draw(t, "jitter")
	grain := rapid.SampledFrom([]int64{1, 10}).Draw(t, "grain") // so that times are equal
	at := int64(1000)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[input] {
		at += rapid.Int64Range(0, 10).Draw(t, "step")
		delayed := at - rapid.Int64Range(0, span).Draw(t, "delay")
		return harness.Record[input]{
			Time: event.Time(delayed / grain * grain),
			Record: input{
				click: rapid.Bool().Draw(t, "click"),
				user:  rapid.SampledFrom([]string{"ann", "bob", "cy"}).Draw(t, "user"),
				n:     rapid.Int64Range(0, 9).Draw(t, "n"),
			},
		}
	}), 0, 120).Draw(t, "inputs")
}

const bound = 30

func bounded() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) }

// arrivals are the inputs with the watermarks that they travel with.
func arrivals(inputs []harness.Record[input]) []operator.Meta {
	s := bounded()
	var all []operator.Meta
	for _, in := range inputs {
		all = append(all, operator.Stamp(s, in.Time))
	}
	return all
}

// check runs a topology in several ways. Without rows to expect, they must
// come to the same.
func check(t *rapid.T, build func() *operator.Topology, inputs []harness.Record[input], want map[string][]string) {
	t.Helper()
	for _, list := range want {
		slices.Sort(list)
	}
	var state []byte
	for i := range 2 {
		seed := rapid.Uint64().Draw(t, "seed")
		h := harness.New[input](t, build(), harness.Options{Watermarks: bounded, Seed: seed})
		h.Play(seed, inputs)
		s := h.Snapshot()
		h.Watermark(event.MaxTime)
		got := h.Rows()
		if want == nil {
			want = got
		}
		for port, list := range want {
			if diff := cmp.Diff(list, got[port]); diff != "" {
				t.Fatalf("seed %d: %s (-want +got)\n%s", seed, port, diff)
			}
		}
		if i == 0 {
			state = s
		}
		if diff := cmp.Diff(state, s); diff != "" {
			t.Fatalf("seed %d: state differs\n%s", seed, diff)
		}
	}
}

type pair struct {
	Kind string
	L    impression
	R    click
}

func intervalTopology(spec join.Spec[string, impression, click, pair], exchange bool) *operator.Topology {
	t, l, r := streams(exchange)
	spec.Name = "join"
	spec.LeftKey, spec.RightKey = func(l *impression) string { return l.User }, func(r *click) string { return r.User }
	spec.Left, spec.Right = impressions, clicks
	spec.Join = func(l *impression, r *click, emit func(pair)) { emit(pair{"both", *l, *r}) }
	spec.LeftOnly = func(l *impression, emit func(pair)) { emit(pair{Kind: "left", L: *l}) }
	spec.RightOnly = func(r *click, emit func(pair)) { emit(pair{Kind: "right", R: *r}) }
	join.Interval(l, r, spec)
	return t
}

// expectedPairs looks at every two records.
func expectedPairs(inputs []harness.Record[input], lower, upper event.Duration) map[string][]string {
	metas, want := arrivals(inputs), map[string][]string{"join.results": nil, "join.late left": nil, "join.late right": nil}
	add := func(port string, t event.Time, v any) { want[port] = append(want[port], fmt.Sprintf("%d %+v", t, v)) }
	had := make([]bool, len(inputs))
	late := func(i int) bool { return metas[i].Time < metas[i].Watermark }
	left := func(i int) impression { return impression{inputs[i].Record.user, inputs[i].Record.n} }
	right := func(i int) click { return click{inputs[i].Record.n, inputs[i].Record.user} }
	for i, l := range inputs {
		for j, r := range inputs {
			if late(i) || late(j) || l.Record.click || !r.Record.click || l.Record.user != r.Record.user {
				continue
			}
			if d := r.Time - l.Time; d >= lower && d <= upper {
				add("join.results", max(l.Time, r.Time), pair{"both", left(i), right(j)})
				had[i], had[j] = true, true
			}
		}
	}
	for i, in := range inputs {
		switch {
		case late(i) && in.Record.click:
			add("join.late right", in.Time, right(i))
		case late(i):
			add("join.late left", in.Time, left(i))
		case !had[i] && in.Record.click:
			add("join.results", in.Time+max(0, -lower)+1, pair{Kind: "right", R: right(i)})
		case !had[i]:
			add("join.results", in.Time+max(0, upper)+1, pair{Kind: "left", L: left(i)})
		}
	}
	return want
}

// An interval join finds what comparing every two records finds, on both
// engines, over any shards and blocks, restored at any time.
func TestIntervalJoinFindsEveryPairOnce(t *testing.T) {
	for _, exchange := range []bool{false, true} {
		t.Run(fmt.Sprint("exchange ", exchange), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				inputs := drawInputs(t)
				spec := join.Spec[string, impression, click, pair]{
					Lower:          event.Duration(rapid.Int64Range(-40, 40).Draw(t, "lower")),
					LowerExclusive: rapid.Bool().Draw(t, "lower exclusive"),
					UpperExclusive: rapid.Bool().Draw(t, "upper exclusive"),
				}
				spec.Upper = spec.Lower + event.Duration(rapid.Int64Range(2, 60).Draw(t, "length"))
				lower, upper := spec.Lower, spec.Upper
				if spec.LowerExclusive {
					lower++
				}
				if spec.UpperExclusive {
					upper--
				}
				check(t, func() *operator.Topology { return intervalTopology(spec, exchange) }, inputs,
					expectedPairs(inputs, lower, upper))
			})
		})
	}
}

// Nothing is remembered of a key when no record of it can find a partner.
func TestIntervalJoinForgets(t *testing.T) {
	h := harness.New[input](t, intervalTopology(join.Spec[string, impression, click, pair]{Lower: -5, Upper: 10}, false),
		harness.Options{Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() }})
	h.Send(100, input{user: "ann", n: 1})
	h.Send(104, input{user: "bob", n: 1, click: true})
	h.Send(113, input{user: "cy", n: 1}) // the watermark is 112 after it
	if state := h.State("join"); len(state) != 1 || state["cy"] == nil {
		t.Errorf("state %q: want that of cy only", state)
	}
}

func windowTopology(windows window.Assigner, lateness event.Duration, exchange bool) *operator.Topology {
	t, l, r := streams(exchange)
	spec := join.WindowSpec[string, impression, click, pair]{
		Name: "join", Windows: windows, Lateness: lateness,
		LeftKey: func(l *impression) string { return l.User }, RightKey: func(r *click) string { return r.User },
		Left: impressions, Right: clicks,
		Join: func(w window.Window[string], l *impression, r *click, emit func(pair)) {
			emit(pair{fmt.Sprint(w.Start, w.End, w.Firing), *l, *r})
		},
	}
	join.Window(l, r, spec)
	spec.Name, spec.Join = "groups", nil
	spec.CoGroup = func(w window.Window[string], left []impression, right []click, emit func(pair)) {
		emit(pair{Kind: fmt.Sprint(w.Start, w.End, w.Firing, left, right)})
	}
	join.Window(l, r, spec)
	return t
}

// expectedWindows makes the windows of each user out of all records that are
// not late for them: for windows without lateness.
func expectedWindows(inputs []harness.Record[input], size, slide event.Duration) map[string][]string {
	want := map[string][]string{"join.results": nil, "groups.results": nil}
	type bucket struct {
		user  string
		start event.Time
	}
	windows := map[bucket][]int{}
	for i, m := range arrivals(inputs) {
		last := event.WindowStart(m.Time, slide)
		for start := last; start > m.Time-size; start -= slide {
			if start+size-1 > m.Watermark {
				b := bucket{inputs[i].Record.user, start}
				windows[b] = append(windows[b], i)
			}
		}
	}
	for b, all := range windows {
		slices.SortFunc(all, func(i, j int) int {
			a, b := inputs[i], inputs[j]
			if a.Time != b.Time {
				return int(a.Time - b.Time)
			}
			return int(a.Record.n - b.Record.n)
		})
		left, right := []impression{}, []click{}
		for _, i := range all {
			if in := inputs[i].Record; in.click {
				right = append(right, click{in.n, in.user})
			} else {
				left = append(left, impression{in.user, in.n})
			}
		}
		at, end := b.start+size-1, b.start+size
		for _, l := range left {
			for _, r := range right {
				want["join.results"] = append(want["join.results"],
					fmt.Sprintf("%d %+v", at, pair{fmt.Sprint(b.start, end, window.OnTime), l, r}))
			}
		}
		want["groups.results"] = append(want["groups.results"],
			fmt.Sprintf("%d %+v", at, pair{Kind: fmt.Sprint(b.start, end, window.OnTime, left, right)}))
	}
	return want
}

func TestWindowJoinFindsEveryPairOfAWindow(t *testing.T) {
	for _, exchange := range []bool{false, true} {
		t.Run(fmt.Sprint("exchange ", exchange), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				inputs := drawInputs(t)
				slide := event.Duration(rapid.SampledFrom([]int64{7, 20, 50}).Draw(t, "slide"))
				size := slide * event.Duration(rapid.Int64Range(1, 3).Draw(t, "slides"))
				check(t, func() *operator.Topology { return windowTopology(window.Sliding(size, slide), 0, exchange) },
					inputs, expectedWindows(inputs, size, slide))
			})
		})
	}
}

// Sessions and windows that wait for late records come to the same everywhere:
// both engines agree with one another.
func TestWindowJoinsOfAllKindsAgree(t *testing.T) {
	for name, build := range map[string]func() *operator.Topology{
		"session":        func() *operator.Topology { return windowTopology(window.Session(15), 0, false) },
		"session, late":  func() *operator.Topology { return windowTopology(window.Session(15), 20, false) },
		"tumbling, late": func() *operator.Topology { return windowTopology(window.Tumbling(25), 40, false) },
		"sliding, late":  func() *operator.Topology { return windowTopology(window.Sliding(30, 10), 40, false) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				inputs := drawInputs(t)
				check(t, build, inputs, nil)
			})
		})
	}
}

func TestJoinsThatMakeNoSenseAreRefused(t *testing.T) {
	key := func(l *impression) string { return l.User }
	rightKey := func(r *click) string { return r.User }
	good := join.Spec[string, impression, click, pair]{
		Name: "join", LeftKey: key, RightKey: rightKey, Left: impressions, Right: clicks,
		Join: func(*impression, *click, func(pair)) {},
	}
	for name, change := range map[string]func(*join.Spec[string, impression, click, pair]){
		"":                          func(*join.Spec[string, impression, click, pair]) {},
		"no key":                    func(s *join.Spec[string, impression, click, pair]) { s.RightKey = nil },
		"no codec":                  func(s *join.Spec[string, impression, click, pair]) { s.Left.Load = nil },
		"nothing to do":             func(s *join.Spec[string, impression, click, pair]) { s.Join = nil },
		"nothing between":           func(s *join.Spec[string, impression, click, pair]) { s.Lower, s.Upper = 2, 1 },
		"nothing between exclusive": func(s *join.Spec[string, impression, click, pair]) { s.UpperExclusive = true },
		"too long":                  func(s *join.Spec[string, impression, click, pair]) { s.Upper = event.MaxTime },
	} {
		spec := good
		change(&spec)
		topology, l, r := streams(false)
		join.Interval(l, r, spec)
		if err := topology.Err(); errors.Is(err, operator.ErrTopology) != (name != "") {
			t.Errorf("%q: %v", name, err)
		}
	}
	windows := join.WindowSpec[string, impression, click, pair]{
		Name: "join", LeftKey: key, RightKey: rightKey, Left: impressions, Right: clicks, Windows: window.Count(2, 2),
		Join: func(window.Window[string], *impression, *click, func(pair)) {},
	}
	topology, l, r := streams(false)
	join.Window(l, r, windows)
	if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("count windows: %v", err)
	}
}
