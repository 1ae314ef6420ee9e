package window_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// visit is an input: its key, once as a number and once as a text, and a value.
type visit struct {
	Who   uint64
	Value int64
}

func (v *visit) name() string { return fmt.Sprint("user-", v.Who) }

// row is a result.
type row struct {
	Who        uint64
	Start, End event.Time
	Firing     window.Firing
	Of         string // the values, or their sum
}

func rowOf[K operator.Key](who func(K) uint64, w window.Window[K], of any) row {
	return row{who(w.Key), w.Start, w.End, w.Firing, fmt.Sprint(of)}
}

// line is a result for people.
func line(at event.Time, r row) string {
	firing := [...]string{window.OnTime: "", window.Early: " early", window.Late: " late"}[r.Firing]
	return fmt.Sprintf("at %d: %d [%d, %d)%s %s", int64(at), r.Who, int64(r.Start), int64(r.End), firing, r.Of)
}

func number(k uint64) uint64 { return k }

func named(k string) (who uint64) {
	_, _ = fmt.Sscanf(k, "user-%d", &who)
	return who
}

var int64s = codec.Int64[int64]()

var visitCodec = codec.Codec[visit]{
	Append: func(dst []byte, v *visit) []byte {
		return wire.AppendVarint(binary.AppendUvarint(dst, v.Who), v.Value)
	},
	Load: func(r *wire.Reader, v *visit) { v.Who, v.Value = r.Uvarint(), r.Varint() },
}

// kind is what the stages under test have in common.
type kind struct {
	windows    window.Assigner
	more       []window.Assigner
	processing bool
	lateness   event.Duration
	trigger    window.Trigger
}

func specOf[K operator.Key, A, O any](k kind, name string, key func(*visit) K) window.Spec[K, visit, A, O] {
	return window.Spec[K, visit, A, O]{
		Name: name, Key: key, Windows: k.windows, More: k.more, ProcessingTime: k.processing, Lateness: k.lateness, Trigger: k.trigger,
	}
}

type stream = operator.Stream[visit]

func byNumber(v *visit) uint64 { return v.Who }

func sorted(list []visit) (values []int64) {
	for _, v := range list {
		values = append(values, v.Value)
	}
	slices.Sort(values)
	return values
}

// collected is a stage of the full-window form.
func collected(source operator.Stream[visit], k kind, name string, combine bool) {
	spec := specOf[string, []visit, row](k, name, (*visit).name)
	spec.Combine = combine
	spec.Result = func(w window.Window[string], list *[]visit, emit func(row)) { emit(rowOf(named, w, sorted(*list))) }
	window.Collect(source, visitCodec, spec)
}

// summed is a stage of the aggregating form, whose accumulator keeps memory.
func summed(source operator.Stream[visit], k kind, name string, combine bool) {
	spec := specOf[uint64, []int64, row](k, name, byNumber)
	add := func(a *[]int64, v int64) {
		if len(*a) == 0 {
			*a = append(*a, 0)
		}
		(*a)[0] += v
	}
	spec.Combine = combine
	spec.Add = func(a *[]int64, in *visit) { add(a, in.Value) }
	spec.Merge = func(into, from *[]int64) {
		for _, v := range *from {
			add(into, v)
		}
	}
	spec.Reset = func(a *[]int64) { *a = (*a)[:0] }
	spec.Accumulator = codec.List(int64s)
	spec.Result = func(w window.Window[uint64], a *[]int64, emit func(row)) { emit(rowOf(number, w, (*a)[0])) }
	window.Add(source, spec)
}

// reduced is a stage of the reducing form.
func reduced(source operator.Stream[visit], k kind, name string) {
	spec := specOf[string, visit, row](k, name, (*visit).name)
	spec.Merge = func(into, from *visit) { into.Value += from.Value }
	spec.Accumulator = visitCodec
	spec.Result = func(w window.Window[string], v *visit, emit func(row)) { emit(rowOf(named, w, v.Value)) }
	window.Reduce(source, spec)
}

// forms are all forms of a kind of windows, over one source.
func forms(k kind, combine bool) func(operator.Stream[visit]) {
	return func(source operator.Stream[visit]) {
		collected(source, k, "collected", false)
		summed(source, k, "summed", false)
		reduced(source, k, "reduced")
		if combine {
			collected(source, k, "collected, combined", true)
			summed(source, k, "summed, combined", true)
		}
	}
}

// stages are the names of the stages that forms has made, and whether they
// emit lists.
func stages(combine bool) map[string]bool {
	all := map[string]bool{"collected": true, "summed": false, "reduced": false}
	if combine {
		all["collected, combined"], all["summed, combined"] = true, false
	}
	return all
}

// trial is a run of a harness beside models, one a key.
type trial struct {
	*harness.Harness[visit]
	t       *rapid.T
	kind    kind
	make    func() *model
	combine bool
	source  watermark.Strategy
	mark    event.Time
	top     event.Time // the largest event time
	now     event.Time
	models  map[uint64]*model
	got     map[string][]harness.Record[row]
	late    map[string][]harness.Record[visit]
	sent    int64
}

func newTrial(t *rapid.T, k kind, combine bool, make func() *model) *trial {
	bound := event.Duration(rapid.IntRange(0, 15).Draw(t, "bound"))
	bounded := func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) }
	return &trial{
		Harness: harness.Stage(t, harness.Options{Watermarks: bounded, Seed: rapid.Uint64().Draw(t, "seed")}, forms(k, combine)),
		t:       t, kind: k, make: make, combine: combine, source: bounded(), mark: event.MinTime,
		top: event.Time(rapid.IntRange(-40, 10).Draw(t, "begin")), models: map[uint64]*model{},
		got: map[string][]harness.Record[row]{}, late: map[string][]harness.Record[visit]{},
	}
}

func (r *trial) send() {
	at := r.top + event.Time(rapid.IntRange(-40, 15).Draw(r.t, "time"))
	r.top = max(r.top, at)
	r.sent++
	v := visit{Who: uint64(rapid.IntRange(1, 3).Draw(r.t, "key")), Value: r.sent}
	m := operator.Stamp(r.source, at)
	m.Watermark = max(m.Watermark, r.mark)
	r.mark = max(r.mark, r.source.Watermark())
	r.Send(at, v)
	one := r.models[v.Who]
	if one == nil {
		one = r.make()
		one.mark = event.MinTime
		r.models[v.Who] = one
	}
	if r.kind.processing {
		one.input(r.now, r.now-1, r.now, v.Value)
	} else {
		one.input(at, m.Watermark, r.now, v.Value)
	}
}

func (r *trial) watermark(t event.Time) {
	r.mark = max(r.mark, t)
	r.Watermark(t)
	for _, m := range r.models {
		if !r.kind.processing {
			m.advance(r.mark)
		}
	}
}

func (r *trial) processingTime() {
	r.watermark(r.mark) // early results depend on what time has come to
	r.now += event.Time(rapid.IntRange(0, 25).Draw(r.t, "passed"))
	r.ProcessingTime(r.now)
	for _, m := range r.models {
		if r.kind.processing {
			m.advance(r.now - 1)
		} else {
			m.processingTime(r.now)
		}
	}
}

// collect takes what was emitted.
func (r *trial) collect() {
	for name := range stages(r.combine) {
		r.got[name] = append(r.got[name], harness.Emitted[row](r.Harness, name, window.PortResults)...)
		r.late[name] = append(r.late[name], harness.Emitted[visit](r.Harness, name, window.PortLate)...)
	}
}

func (r *trial) restore() {
	r.collect()
	r.Restore(r.Snapshot(), rapid.IntRange(1, 5).Draw(r.t, "shards"))
}

// run does things at random, and compares with the models.
func (r *trial) run() {
	for range rapid.IntRange(1, 60).Draw(r.t, "steps") {
		switch step := rapid.IntRange(0, 19).Draw(r.t, "step"); {
		case step == 0:
			r.restore()
		case step == 1:
			r.watermark(r.mark) // ends a block
		case step == 2:
			r.watermark(min(r.mark, r.top+100) + event.Time(rapid.IntRange(0, 20).Draw(r.t, "watermark")))
		case step == 3 || step == 4 && r.kind.processing:
			r.processingTime()
		default:
			r.send()
		}
	}
	r.watermark(r.mark)
	if rapid.Bool().Draw(r.t, "ends") {
		r.watermark(event.MaxTime)
	}
	r.collect()
	r.compare()
}

func (r *trial) compare() {
	for name, lists := range stages(r.combine) {
		var want, got []string
		var late, gotLate []int64
		for who, m := range r.models {
			late = append(late, m.late...)
			for _, f := range m.fired {
				of := any(f.inputs)
				if !lists {
					sum := int64(0)
					for _, v := range f.inputs {
						sum += v
					}
					of = sum
				}
				want = append(want, line(f.end-1, row{who, f.start, f.end, f.firing, fmt.Sprint(of)}))
			}
		}
		for _, g := range r.got[name] {
			got = append(got, line(g.Time, g.Record))
		}
		for _, g := range r.late[name] {
			gotLate = append(gotLate, g.Record.Value)
		}
		equal(r.t, name, want, got)
		equal(r.t, name+", late", late, gotLate)
	}
}

func equal[T cmp.Ordered](t *rapid.T, what string, want, got []T) {
	slices.Sort(want)
	slices.Sort(got)
	if len(want)+len(got) == 0 {
		return
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-by definition +emitted):\n%s", what, diff)
	}
}

// drawTrigger draws a trigger of those that windows can have.
func drawTrigger(t *rapid.T, sliding, processing bool) (trigger window.Trigger) {
	purge := !sliding && rapid.Bool().Draw(t, "purge")
	switch rapid.IntRange(0, 5).Draw(t, "trigger") {
	case 0:
		if !sliding {
			return window.Trigger{Count: rapid.IntRange(1, 4).Draw(t, "count"), Purge: purge}
		}
	case 1:
		return window.Trigger{Every: event.Duration(rapid.IntRange(1, 12).Draw(t, "every")), Purge: purge}
	case 2:
		if !processing {
			return window.Trigger{EveryProcessing: event.Duration(rapid.IntRange(1, 12).Draw(t, "every")), Purge: purge}
		}
	}
	return window.Trigger{}
}

// drawLateness draws a lateness that goes with the trigger.
func drawLateness(t *rapid.T, k kind) event.Duration {
	if k.processing {
		return 0
	}
	return event.Duration(max(0, rapid.IntRange(-10, 25).Draw(t, "lateness")))
}

// starts are the windows of a time, by definition.
func starts(size, slide event.Duration) func(event.Time) []event.Time {
	return func(t event.Time) (all []event.Time) {
		for s := t - size + 1; s <= t; s++ {
			if s%slide == 0 {
				all = append(all, s)
			}
		}
		return all
	}
}

func TestTimedWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := event.Duration(rapid.IntRange(1, 30).Draw(t, "size"))
		slide, windows := size, window.Tumbling(size)
		if rapid.Bool().Draw(t, "sliding") {
			slide = event.Duration(rapid.IntRange(1, 30).Draw(t, "slide"))
			windows = window.Sliding(size, slide)
		}
		k := kind{windows: windows, processing: rapid.IntRange(0, 2).Draw(t, "processing") == 0}
		k.trigger = drawTrigger(t, slide != size, k.processing)
		k.lateness = drawLateness(t, k)
		newTrial(t, k, !k.processing && k.trigger == window.Trigger{}, func() *model {
			return &model{
				assign: starts(size, slide), size: size, lateness: k.lateness, trigger: k.trigger, processing: k.processing,
			}
		}).run()
	})
}

func TestSessionWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := event.Duration(rapid.IntRange(1, 20).Draw(t, "gap"))
		k := kind{windows: window.Session(gap), processing: rapid.IntRange(0, 2).Draw(t, "processing") == 0}
		k.trigger = drawTrigger(t, false, k.processing)
		k.lateness = drawLateness(t, k)
		newTrial(t, k, false, func() *model {
			return &model{size: gap, lateness: k.lateness, trigger: k.trigger, processing: k.processing}
		}).run()
	})
}
