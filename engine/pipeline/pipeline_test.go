package pipeline_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// item is an input: its key, and what to do.
type item struct {
	Key   string
	Timer event.Time
	Panic bool
}

// counts counts, and hands on what it has counted.
type counts struct {
	out *operator.Output[item]
}

func (o *counts) Fold(c *operator.Context, key string, s *int64, in *item) {
	if in.Panic {
		panic("that was too much")
	}
	if *s++; in.Timer != 0 {
		c.SetTimer(in.Timer)
	}
	o.out.Emit(c.Time, item{Key: key})
}

func (o *counts) Timer(_ *operator.Context, key string, s *int64, at event.Time) {
	*s += 100
	o.out.Emit(at, item{Key: key})
}

func (o *counts) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (o *counts) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func stage(name string, parallelism int) operator.Stage[string, int64, item] {
	return operator.Stage[string, int64, item]{
		Name: name, Version: 1, Parallelism: parallelism, Key: func(i *item) string { return i.Key },
		New: func(p *operator.Ports) operator.Operator[string, int64, item] {
			return &counts{operator.Out[item](p, "out")}
		},
	}
}

// layers are three stages, each behind an exchange, with their parallelism.
func layers(a, b, c int) *operator.Topology {
	t, source := operator.NewTopology[item]()
	first := operator.Add(source, stage("a", a))
	second := operator.Add(operator.From[item](first, "out"), stage("b", b))
	operator.Add(operator.Union(operator.From[item](second, "out"), source), stage("c", c))
	return t
}

// bench is a pipeline with its entries, and what its last stage has emitted.
type bench struct {
	*pipeline.Pipeline
	enter []func(operator.Meta, *item)
	mutex sync.Mutex
	shown map[int]int // records of stage c, by shard
}

func newBench(t *testing.T, topology *operator.Topology, o pipeline.Options) *bench {
	t.Helper()
	b := &bench{shown: map[int]int{}}
	o.Taps = []pipeline.Tap{{Stage: "c", Port: "out", Sink: func(shard int) operator.RawSink {
		return func(operator.Meta, any) {
			b.mutex.Lock()
			defer b.mutex.Unlock()
			b.shown[shard]++
		}
	}}}
	var err error
	if b.Pipeline, err = pipeline.New(topology, o); err != nil {
		t.Fatal(err)
	}
	for i := range max(1, o.Partitions) {
		enter, err := pipeline.Entry[item](b.Pipeline, i)
		if err != nil {
			t.Fatal(err)
		}
		b.enter = append(b.enter, enter)
	}
	return b
}

// fill sends some records a key through every partition, with a timer each.
func (b *bench) fill(t *testing.T, keys int) map[string]int64 {
	t.Helper()
	for i, enter := range b.enter {
		for key := range keys {
			m := operator.Meta{Time: event.Time(key), Watermark: event.MinTime}
			enter(m, &item{Key: fmt.Sprint(key), Timer: event.Time(1000 + 10*i + key%7)})
		}
	}
	for _, watermark := range []event.Time{500, 2000} {
		if err := b.Finish(pipeline.Moment{Watermark: watermark}); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]int64{}
	err := b.State(func(stage, key string, value []byte) error {
		_, state, err := operator.SplitState(value)
		all[stage+" "+key] = wire.NewReader(state).Varint()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What a topology computes depends neither on shards, nor on the parallelism of
// stages, nor on the partitions of the source together with them, nor on how
// much is done at a time.
func TestLayouts(t *testing.T) {
	const keys = 300
	for _, partitions := range []int{1, 3} {
		want := newBench(t, layers(0, 0, 0), pipeline.Options{Shards: 1, Partitions: partitions}).fill(t, keys)
		each := int64(partitions)
		if got := want["a 7"]; got != each+100*each {
			t.Errorf("%d partitions: a has counted %d", partitions, got)
		}
		// Behind a: its records, and those of its timers. Behind that and the
		// source: the same, and the records of the source with their timers.
		if got := want["c 7"]; got != 2*each+each+100*each {
			t.Errorf("%d partitions: c has counted %d", partitions, got)
		}
		for _, c := range []struct {
			a, b, c int
			o       pipeline.Options
		}{
			{0, 0, 0, pipeline.Options{Shards: 2}},
			{0, 0, 0, pipeline.Options{Shards: 2, SliceRecords: 1, SliceTimers: 1}},
			{0, 0, 0, pipeline.Options{Shards: 3, SliceRecords: 7, SliceTimers: 1000}},
			{3, 1, 2, pipeline.Options{Shards: 2}},
			{1, 5, 3, pipeline.Options{Shards: 1, SliceRecords: 2, SliceTimers: 3}},
			{operator.KeyGroups, 1, 2, pipeline.Options{Shards: 1}},
		} {
			c.o.Partitions = partitions
			t.Run(fmt.Sprintf("%d partitions, parallelism %d %d %d, %d shards, slices of %d", partitions, c.a, c.b, c.c, c.o.Shards, c.o.SliceRecords), func(t *testing.T) {
				b := newBench(t, layers(c.a, c.b, c.c), c.o)
				if shards := max(c.a, c.b, c.c, c.o.Shards); b.Shards() != shards {
					t.Errorf("%d shards, want %d", b.Shards(), shards)
				}
				if diff := cmp.Diff(want, b.fill(t, keys)); diff != "" {
					t.Error(diff)
				}
				shards := max(c.c, 1)
				if c.c == 0 {
					shards = c.o.Shards
				}
				if got := slices.Sorted(maps.Keys(b.shown)); len(got) != shards || got[0] != 0 {
					t.Errorf("c emits on shards %v, want %d of them", got, shards)
				}
			})
		}
	}
}

// An operator that panics is reported with its stage and key, on any shard.
func TestPanicsAreReported(t *testing.T) {
	for _, n := range []int{1, 500} { // inline, and on goroutines of their own
		b := newBench(t, layers(2, 0, 0), pipeline.Options{Shards: 3})
		for i := range n {
			b.enter[0](operator.Meta{}, &item{Key: fmt.Sprint("key", i), Panic: i == n-1})
		}
		err := b.Finish(pipeline.Moment{})
		if !errors.Is(err, pipeline.ErrOperator) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{fmt.Sprintf(`key "key%d"`, n-1), "that was too much", "stage "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %.300v", want, err)
			}
		}
	}
}

// It is the operator that has failed that is named, not the one that it is
// chained to, at its own key; also when it had been called before without harm.
func TestPanicsOfChainedOperatorsAreTheirs(t *testing.T) {
	topology, source := operator.NewTopology[item]()
	first := operator.Add(source, stage("first", 0))
	rekeyed := stage("second", 0)
	rekeyed.Key = func(i *item) string { return "of " + i.Key }
	next := operator.Chain(operator.Map(operator.From[item](first, "out"), func(in, out *item) {
		*out = item{Key: in.Key, Panic: in.Key == "b"}
	}), rekeyed)
	operator.Chain(operator.From[item](next, "out"), stage("third", 0))
	operator.Chain(operator.From[item](first, "out"), stage("c", 0))
	b := newBench(t, topology, pipeline.Options{Shards: 1})
	for _, key := range []string{"a", "b"} {
		b.enter[0](operator.Meta{}, &item{Key: key})
	}
	var failed *pipeline.OperatorError
	if err := b.Finish(pipeline.Moment{}); !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if failed.Stage != "second" || failed.Key != "of b" || failed.Timer {
		t.Errorf("stage %q at key %q, timer %v, is said to have failed", failed.Stage, failed.Key, failed.Timer)
	}
}

// State that can not be read back ends the block with the error.
func TestColdReadError(t *testing.T) {
	broken := errors.New("the disk is gone")
	saved := map[string][]byte{}
	fail := false
	topology, source := operator.NewTopology[item]()
	operator.Add(source, stage("c", 0))
	b := newBench(t, topology, pipeline.Options{Shards: 2, Cold: func(stage string, key []byte) ([]byte, bool, error) {
		if fail {
			return nil, false, broken
		}
		value, ok := saved[string(key)]
		return value, ok, nil
	}})
	send := func() error {
		for i := range 10 {
			b.enter[0](operator.Meta{}, &item{Key: fmt.Sprint(i)})
		}
		return b.Finish(pipeline.Moment{})
	}
	evict := func() {
		b.BeginCheckpoint()
		for !b.Encode(func() bool { return false }) {
		}
		for _, table := range b.TakeWrites() {
			for _, w := range table.Writes {
				saved[string(w.Key)] = w.Value
			}
		}
		b.Evict(0)
	}
	for range 2 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
		evict()
	}
	if len(saved) != 10 {
		t.Fatalf("%d keys are stored, want 10", len(saved))
	}
	fail = true
	if err := send(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "stage c") {
		t.Errorf("got %v", err)
	}
}

// State is taken over by a pipeline with other stages and shards: of those that
// are gone, the keys are to be deleted.
func TestTakeOver(t *testing.T) {
	old := newBench(t, layers(0, 0, 0), pipeline.Options{Shards: 2})
	all := old.fill(t, 20)
	topology, source := operator.NewTopology[item]()
	operator.Add(operator.From[item](operator.Add(source, stage("a", 0)), "out"), stage("c", 0))
	next := newBench(t, topology, pipeline.Options{Shards: 3})
	orphans, err := next.TakeOver(old.Pipeline)
	if err != nil {
		t.Fatal(err)
	}
	if len(orphans) != 1 || orphans[0].Stage != "b" || len(orphans[0].Writes) != 20 {
		t.Errorf("orphans %+v", orphans)
	}
	want := maps.Clone(all)
	maps.DeleteFunc(want, func(key string, _ int64) bool { return strings.HasPrefix(key, "b ") })
	got := map[string]int64{}
	_ = next.State(func(stage, key string, value []byte) error {
		_, state, err := operator.SplitState(value)
		got[stage+" "+key] = wire.NewReader(state).Varint()
		return err
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, dirty := next.Bytes(); dirty != 40 {
		t.Errorf("%d keys wait for a checkpoint, want 40", dirty)
	}
}

func TestRefusedLayouts(t *testing.T) {
	for _, shards := range []int{0, -1, operator.KeyGroups + 1} {
		if _, err := pipeline.New(layers(0, 0, 0), pipeline.Options{Shards: shards}); !errors.Is(err, operator.ErrTopology) {
			t.Errorf("%d shards: %v", shards, err)
		}
	}
	p, err := pipeline.New(layers(0, 0, 0), pipeline.Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Entry[int](p, 0); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("an entry of another type: %v", err)
	}
}
