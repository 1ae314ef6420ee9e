package window_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// drawTimed draws tumbling or sliding windows.
func drawTimed(t *rapid.T) window.Assigner {
	size := event.Duration(rapid.IntRange(1, 30).Draw(t, "size"))
	if rapid.Bool().Draw(t, "tumbling") {
		return window.Tumbling(size)
	}
	return window.Sliding(size, event.Duration(rapid.IntRange(1, 30).Draw(t, "slide")))
}

// apart makes of a number of windows a stage each, and one of all of them.
func apart(source stream, k kind, all []window.Assigner, combine bool) {
	for i, w := range all {
		one := k
		one.windows = w
		summedAs(source, one, fmt.Sprint("only ", i), combine, func(int) int { return i })
	}
	k.windows, k.more = all[0], all[1:]
	summedAs(source, k, "shared", combine, func(index int) int { return index })
}

// summedAs is a stage of the sum of values, with the number of the windows.
func summedAs(source stream, k kind, name string, combine bool, index func(int) int) {
	spec := specOf[uint64, visit, string](k, name, byNumber)
	spec.Combine = combine
	spec.Add = func(a, in *visit) { a.Value += in.Value }
	spec.Merge = func(into, from *visit) { into.Value += from.Value }
	spec.Accumulator = visitCodec
	spec.Result = func(w window.Window[uint64], a *visit, emit func(string)) {
		emit(fmt.Sprint(index(w.Index), ": ", line(0, rowOf(number, w, a.Value))))
	}
	window.Add(source, spec)
}

// A stage of several windows emits what a stage of each of them does.
func TestSharedWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []window.Assigner{drawTimed(t), drawTimed(t), drawTimed(t)}
		k := kind{processing: rapid.IntRange(0, 3).Draw(t, "processing") == 0}
		k.trigger = drawTrigger(t, true, k.processing)
		k.lateness = drawLateness(t, k)
		combine := !k.processing && k.trigger == window.Trigger{} && rapid.Bool().Draw(t, "combine")
		bound := event.Duration(rapid.IntRange(0, 15).Draw(t, "bound"))
		h := harness.Stage(t, harness.Options{
			Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) },
			Seed:       rapid.Uint64().Draw(t, "seed"),
		}, func(source stream) { apart(source, k, all, combine) })
		top, now := event.Time(0), event.Time(0)
		collect := func() {
			var want, got []string
			late := map[int64]int{}
			for i := range all {
				name := fmt.Sprint("only ", i)
				for _, r := range harness.Emitted[string](h, name, window.PortResults) {
					want = append(want, fmt.Sprint(r.Time, r.Record))
				}
				for _, r := range harness.Emitted[visit](h, name, window.PortLate) {
					late[r.Record.Value]++
				}
			}
			for _, r := range harness.Emitted[string](h, "shared", window.PortResults) {
				got = append(got, fmt.Sprint(r.Time, r.Record))
			}
			equal(t, "results", want, got)
			// Late is what was late for all, but for what lies in the gaps of some.
			for _, r := range harness.Emitted[visit](h, "shared", window.PortLate) {
				if late[r.Record.Value] != len(all) {
					t.Fatalf("%d is late, and is so for %d of the windows", r.Record.Value, late[r.Record.Value])
				}
				delete(late, r.Record.Value)
			}
			for value, n := range late {
				if n == len(all) {
					t.Fatalf("%d is late for all, and was not emitted", value)
				}
			}
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				collect()
				h.Restore(h.Snapshot(), rapid.IntRange(1, 5).Draw(t, "shards"))
			case 1:
				h.Flush()
			case 2, 3:
				now += event.Time(rapid.IntRange(0, 25).Draw(t, "passed"))
				h.ProcessingTime(now)
			default:
				at := top + event.Time(rapid.IntRange(-40, 15).Draw(t, "time"))
				top = max(top, at)
				h.Send(at, visit{Who: uint64(rapid.IntRange(1, 3).Draw(t, "key")), Value: int64(i)})
			}
		}
		h.Watermark(top + 200)
		h.ProcessingTime(now + 200)
		collect()
		h.ExpectKeys("shared", 0)
	})
}

// behindExchange is a harness of windows that read another stage.
func behindExchange(t harness.TB, k kind, bound event.Duration, seed uint64) *harness.Harness[visit] {
	return harness.Stage(t, harness.Options{
		Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) }, Seed: seed,
	}, func(source stream) {
		h := operator.Add(source, operator.Stage[uint64, struct{}, visit]{
			Name: "relay", Version: 1, Key: func(v *visit) uint64 { return uint64(v.Value) % 5 },
			New: func(p *operator.Ports) operator.Operator[uint64, struct{}, visit] {
				return &relay{out: operator.Out[visit](p, "out")}
			},
		})
		summed(operator.From[visit](h, "out"), k, "windows", false)
		summed(operator.From[visit](h, "out"), k, "combined", true)
	})
}

// Windows behind an exchange get records that are older than the watermark of
// their stage will be when timers fire, and that are late for some windows: no
// window is passed over because of them. (With a lateness, it depends on how far
// the stage has come whether such a record is in the result on time.)
func TestWindowsBehindAnExchange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := behindExchange(t, kind{windows: drawTimed(t)}, event.Duration(rapid.IntRange(0, 15).Draw(t, "bound")), rapid.Uint64().Draw(t, "seed"))
		top := event.Time(0)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				h.Restore(h.Snapshot(), rapid.IntRange(1, 5).Draw(t, "shards"))
			case 1, 2:
				h.Flush()
			default:
				at := top + event.Time(rapid.IntRange(-40, 15).Draw(t, "time"))
				top = max(top, at)
				h.Send(at, visit{Who: uint64(rapid.IntRange(1, 2).Draw(t, "key")), Value: int64(i)})
			}
		}
		h.Watermark(top + 200)
		h.ExpectKeys("windows", 0)
	})
}

// The pane of the last record comes before that of the first, and its windows
// end later: the timer for the first's must not be lost.
func TestPaneOfALateRecord(t *testing.T) {
	h := behindExchange(t, kind{windows: window.Sliding(4, 1)}, 6, 1)
	h.Send(-2, visit{Who: 2, Value: 0})
	h.Send(6, visit{Who: 1, Value: 1})  // time comes to -1
	h.Send(-3, visit{Who: 2, Value: 2}) // in time for [-3, 1) only
	h.Watermark(100)
	var got []string
	for _, r := range harness.Emitted[row](h, "windows", window.PortResults) {
		if r.Record.Who == 2 {
			got = append(got, line(r.Time, r.Record))
		}
	}
	want := []string{"at -2: 2 [-5, -1) 0", "at -1: 2 [-4, 0) 0", "at 0: 2 [-3, 1) 2", "at 1: 2 [-2, 2) 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// relay emits what it gets.
type relay struct{ out *operator.Output[visit] }

func (o *relay) Fold(c *operator.Context, _ uint64, _ *struct{}, in *visit) {
	o.out.Emit(c.Time, *in)
	c.Unchanged()
}

func (*relay) Timer(*operator.Context, uint64, *struct{}, event.Time) {}

func (*relay) Append(dst []byte, _ *struct{}) []byte { return dst }

func (*relay) Load(uint8, []byte, *struct{}) error { return nil }

// Count windows of what another stage emits would depend on the engine.
func TestCountWindowsBehindAnExchangeAreRefused(t *testing.T) {
	topology, source := operator.NewTopology[visit]()
	sums := operator.Add(source, operator.Stage[uint64, struct{}, visit]{
		Name: "relay", Version: 1, Key: byNumber,
		New: func(p *operator.Ports) operator.Operator[uint64, struct{}, visit] {
			return &relay{out: operator.Out[visit](p, "out")}
		},
	})
	summed(operator.Filter(source, func(*visit) bool { return true }), kind{windows: window.Count(2, 1)}, "of the source", false)
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	summed(operator.Union(source, operator.From[visit](sums, "out")), kind{windows: window.Count(2, 1)}, "of both", false)
	if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("got %v, want ErrTopology", err)
	}
}

func TestWindowsThatCanNotShare(t *testing.T) {
	tumbling := window.Tumbling(10)
	for name, k := range map[string]kind{
		"sessions":              {windows: tumbling, more: []window.Assigner{window.Session(10)}},
		"with sessions":         {windows: window.Session(10), more: []window.Assigner{tumbling}},
		"windows of no length":  {windows: tumbling, more: []window.Assigner{window.Tumbling(0)}},
		"with a count of each":  {windows: tumbling, more: []window.Assigner{tumbling}, trigger: window.Trigger{Count: 1}},
		"purged by one of them": {windows: tumbling, more: []window.Assigner{tumbling}, trigger: window.Trigger{Every: 1, Purge: true}},
	} {
		topology, source := operator.NewTopology[visit]()
		summed(source, k, "windows", false)
		if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
			t.Errorf("%s: got %v, want ErrTopology", name, err)
		}
	}
}
