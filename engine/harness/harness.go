// Package harness tests stages and topologies: send records, move time, look at
// what is emitted and answered, take a snapshot, restore it into another number
// of shards.
//
// Every test runs on several engines at once, which have to agree at every
// step: on the block-less engine of operatortest, in order on one shard and
// with random interleavings on several; and on the pipeline of the engines for
// production, on one shard, on several with the smallest slices, and with all
// state evicted from memory after every block; and on the worker of the Flink
// host, with all that crosses an exchange written and read, on several subtasks
// that interleave at random, and with all state that can be left to Flink. (Stages
// with broadcast inputs do not run there.) `make test-flink` has tests run in
// Flink's own operator harness besides, see flinktest.Host. A pipeline's block are the records
// since the last Flush. After each block its incremental checkpoints
// must come to its state; with small slices a checkpoint is encoded while the
// blocks after it are folded.
//
// RunScript runs script files, and Play records of a property test.
//
// It is to operators what KeyedOneInputStreamOperatorTestHarness is in Flink.
// Import it in tests only.
package harness

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

// TB is what a harness needs of *testing.T, *testing.B or *rapid.T.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Options are how a harness runs a topology; the zero value is fit for use.
type Options struct {
	// Shards are how many the engines that have several have; 0 means 3.
	Shards int
	// Watermarks has Send move the watermark after each record. Without it only
	// Harness.Watermark and Advance do.
	Watermarks func() watermark.Strategy
	// Partitions are how many the source has; 0 means 1. The watermark is the
	// minimum of theirs. With several, the watermark that records travel with is
	// that of the beginning of their block, as in engine/job: which of them are
	// late depends on where blocks end.
	Partitions int
	// Seed picks the interleavings; 0 means 1.
	Seed uint64
	// Running are ports, "STAGE.PORT", of stages behind an exchange that emit how
	// far a key has come with each input. What they say on the way depends on
	// the order in which inputs arrive, and on how many were combined into one,
	// so engines need not agree on it; on what becomes of it they do.
	Running []string

	// follow has the first engine restored into as many shards as the others.
	follow bool
	// hosts has it run in Flink's own harness too, where there is one.
	hosts bool
}

// Harness runs a topology whose source has records of type T.
type Harness[T any] struct {
	t        TB
	topology *operator.Topology
	options  Options
	source   *watermark.Combined // nil if only Watermark moves it
	mark     event.Time
	began    event.Time // the watermark at the beginning of the block
	now      event.Time
	runs     []run[T]
	emitted  []emission // by the first run
}

// emission is a record that a port, "STAGE.PORT", has emitted.
type emission struct {
	port   string
	time   event.Time
	record any
}

// Record is a record of a port with its event time.
type Record[O any] struct {
	Time   event.Time
	Record O
}

// At makes a Record.
func At[O any](t event.Time, record O) Record[O] { return Record[O]{t, record} }

// New makes a harness for a topology. Event time has not begun, and processing
// time is 0.
func New[T any](t TB, topology *operator.Topology, o Options) *Harness[T] {
	t.Helper()
	if o.Shards == 0 {
		o.Shards = 3
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	o.Partitions = max(o.Partitions, 1)
	h := &Harness[T]{t: t, topology: topology, options: o, mark: event.MinTime, began: event.MinTime}
	if o.Watermarks != nil {
		h.source = watermark.NewCombined(o.Partitions, 0, o.Watermarks)
	}
	h.chooseHosts()
	if c, ok := t.(interface{ Cleanup(func()) }); ok {
		c.Cleanup(h.close)
	}
	h.begin(1, o.Shards)
	h.checkRunning()
	return h
}

// checkRunning refuses Running where engines have to agree: in order there is
// nothing that could be different.
func (h *Harness[T]) checkRunning() {
	h.t.Helper()
	for _, name := range h.options.Running {
		at := strings.LastIndexByte(name, '.')
		if at < 0 {
			h.t.Fatalf("running %q: want STAGE.PORT", name)
		}
		if h.check(name[:at], name[at+1:]).Ordered {
			h.t.Fatalf("running %s: the stage sees its inputs in order", name)
		}
	}
}

// Stage makes a harness for one stage that reads the source; add is given the
// source and adds it.
func Stage[T any](t TB, o Options, add func(source operator.Stream[T])) *Harness[T] {
	t.Helper()
	topology, source := operator.NewTopology[T]()
	add(source)
	return New[T](t, topology, o)
}

// begin makes the engines anew; first is how many shards the first one has.
func (h *Harness[T]) begin(first, shards int) {
	h.t.Helper()
	if err := h.topology.Err(); err != nil {
		h.t.Fatalf("%v", err)
	}
	h.close()
	h.emitted = nil
	partitions := h.options.Partitions
	h.runs = []run[T]{
		newBlockLess[T](h.topology, first, partitions, 0),
		newBlockLess[T](h.topology, shards, partitions, h.options.Seed),
	}
	for _, o := range []pipelineOptions{{shards: 1}, {shards: shards, small: true}, {shards: shards, cold: true}} {
		o.partitions = partitions
		p, err := newPipeline[T](h.topology, o)
		if err != nil {
			h.t.Fatalf("%v", err)
		}
		h.runs = append(h.runs, p)
	}
	h.beginFlink(shards)
}

// Send sends a record, of the first partition if there are several.
func (h *Harness[T]) Send(t event.Time, record T) { h.SendTo(0, t, record) }

// SendTo sends a record of a partition. What one partition sends stays in
// order; engines take those of a block in an order of their own.
func (h *Harness[T]) SendTo(partition int, t event.Time, record T) {
	m := operator.Meta{Time: t, Watermark: h.mark}
	if h.source != nil {
		h.source.Observe(partition, t, t, false)
		h.mark = max(h.mark, h.source.Watermark())
	}
	for _, r := range h.runs {
		if h.options.Partitions > 1 {
			m.Watermark = h.began
			r.send(partition, m, &record, h.began)
			continue
		}
		r.send(partition, m, &record, h.mark)
	}
}

// Advance moves event time as Watermark does, in the middle of a block: with
// one partition the records after it travel with it.
func (h *Harness[T]) Advance(t event.Time) {
	h.mark = max(h.mark, t)
	if h.options.Partitions > 1 {
		return
	}
	for _, r := range h.runs {
		r.advance(h.mark)
	}
}

// Watermark moves event time; it never goes back.
func (h *Harness[T]) Watermark(t event.Time) {
	h.t.Helper()
	h.Advance(t)
	h.Flush()
}

// ProcessingTime moves processing time; it never goes back. What was sent
// before is processed before.
func (h *Harness[T]) ProcessingTime(t event.Time) {
	h.t.Helper()
	h.Flush()
	h.now = max(h.now, t)
	for _, r := range h.runs {
		r.processing(h.now)
	}
	h.Flush()
}

// Flush has all that was sent processed, and ends the block of the pipelines.
// All other methods but those that send, and Advance, do so too.
func (h *Harness[T]) Flush() {
	h.t.Helper()
	h.began = h.mark
	for _, r := range h.runs {
		if err := r.flush(h.mark, h.now); err != nil {
			h.t.Fatalf("%s: %v", r.name(), err)
		}
	}
	h.agree()
}

// Forget drops a deleted user or item.
func (h *Harness[T]) Forget(subject operator.Subject, key string) {
	h.t.Helper()
	h.Flush()
	for _, r := range h.runs {
		r.forget(subject, key)
	}
	h.Flush()
}

// Emitted is what a port has emitted since the last call for it: in the order
// in which a single shard without blocks emits, where timers fire in the order
// of their times, then of keys.
func Emitted[O, T any](h *Harness[T], stage, port string) []Record[O] {
	h.t.Helper()
	h.check(stage, port)
	h.Flush()
	name := stage + "." + port
	var list []Record[O]
	for _, e := range h.emitted {
		if e.port != name {
			continue
		}
		record, ok := e.record.(O)
		if !ok {
			h.t.Fatalf("%s emits %T, not %T", name, e.record, *new(O))
		}
		list = append(list, Record[O]{e.time, record})
	}
	h.emitted = slices.DeleteFunc(h.emitted, func(e emission) bool { return e.port == name })
	return list
}

// check demands that there is such a port, and returns its stage.
func (h *Harness[T]) check(stage, port string) *operator.Node {
	h.t.Helper()
	for _, n := range h.topology.Nodes() {
		for _, p := range n.Outputs {
			if n.Name == stage && p == port {
				return n
			}
		}
	}
	h.t.Fatalf("no stage %q with a port %q", stage, port)
	return nil
}

// Expect demands that a port has emitted these records since the last call, in
// this order, see Emitted.
func Expect[O, T any](h *Harness[T], stage, port string, want ...Record[O]) {
	h.t.Helper()
	got := Emitted[O](h, stage, port)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		h.t.Fatalf("%s.%s has emitted\n%swant\n%s", stage, port, lines(got), lines(want))
	}
}

func lines[O any](list []Record[O]) (text string) {
	for _, r := range list {
		text += fmt.Sprintf("  %d %+v\n", r.Time, r.Record)
	}
	if text == "" {
		return "  nothing\n"
	}
	return text
}

// Views are the answers of a view, by key.
func (h *Harness[T]) Views(view string) map[string]operator.Value {
	h.t.Helper()
	h.Flush()
	return h.runs[0].views()[view]
}

// ExpectView demands that a view has this answer for a key; nil is none.
func (h *Harness[T]) ExpectView(view, key string, want operator.Value) {
	h.t.Helper()
	if got := h.Views(view)[key]; !reflect.DeepEqual(got, want) {
		h.t.Fatalf("view %s, key %q: got %+v, want %+v", view, key, got, want)
	}
}

// State is the stored state of a stage, by stored key.
func (h *Harness[T]) State(stage string) map[string][]byte {
	h.t.Helper()
	h.Flush()
	return h.runs[0].state()[stage]
}

// ExpectKeys demands that a stage holds the state of so many keys.
func (h *Harness[T]) ExpectKeys(stage string, want int) {
	h.t.Helper()
	if got := len(h.State(stage)); got != want {
		h.t.Fatalf("stage %s holds %d keys, want %d", stage, got, want)
	}
}
