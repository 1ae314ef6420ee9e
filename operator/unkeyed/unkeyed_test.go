package unkeyed_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/operatortest"
	"millrace/operator/unkeyed"
	"millrace/operator/watermark"
)

// line is a record of a partitioned source.
type line struct {
	Partition uint64
	Offset    int64
	Text      string
}

var texts = codec.String[string]()

// buffering collects the lines of a partition and emits three at a time, and
// what is left when it has waited for a second: Flink's example of list state.
func buffering() *operator.Topology {
	topology, source := operator.NewTopology[line]()
	flush := func(list *unkeyed.List[string], t event.Time, emit func(event.Time, string)) {
		if list.Len() > 0 {
			emit(t, fmt.Sprint(list.All()))
			list.Clear()
		}
	}
	unkeyed.Add(source, unkeyed.Spec[line, string, string]{
		Name: "buffer", Slots: 8, Slot: func(l *line) uint64 { return l.Partition },
		Fold: func(c *operator.Context, list *unkeyed.List[string], l *line, emit func(event.Time, string)) {
			list.Add(l.Text)
			if list.Len() == 3 {
				flush(list, c.Effective(), emit)
			} else {
				c.SetTimer(event.WindowStart(c.Effective(), event.Second) + event.Second)
			}
		},
		Timer: func(_ *operator.Context, list *unkeyed.List[string], at event.Time, emit func(event.Time, string)) {
			flush(list, at, emit)
		},
		Element: texts,
	})
	return topology
}

func ExampleAdd() {
	e := operatortest.New[line](buffering(), 1, 0, 0)
	e.Emitted = func(_, _ string, m operator.Meta, record any) { fmt.Println(m.Time, *record.(*string)) }
	for i, text := range []string{"a", "b", "c", "d"} {
		e.Send(event.Time(100+i), &line{Partition: 3, Text: text})
	}
	e.Watermark(event.MaxTime)
	// Output:
	// 1970-01-01T00:00:00.102Z [a b c]
	// 1970-01-01T00:00:01.000Z [d]
}

// What is emitted depends neither on shards nor blocks, nor on being restored
// over other shards: slots move as a whole.
func TestListsDoNotDependOnShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := event.Time(0)
		lines := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[line] {
			at += event.Time(rapid.IntRange(0, 500).Draw(t, "step"))
			return harness.At(at, line{
				Partition: rapid.Uint64Range(0, 11).Draw(t, "partition"), Text: rapid.StringMatching("[a-z]").Draw(t, "text"),
			})
		}), 0, 80).Draw(t, "lines")
		var rows map[string][]string
		var state []byte
		for i := range 3 {
			seed := rapid.Uint64().Draw(t, "seed")
			h := harness.New[line](t, buffering(), harness.Options{
				Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() }, Seed: seed, Shards: 2 + i,
			})
			h.Play(seed, lines)
			s := h.Snapshot()
			h.Watermark(event.MaxTime)
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

func TestSlotsAreSpreadEvenly(t *testing.T) {
	for _, slots := range []int{1, 2, 8, 100, operator.KeyGroups} {
		for shards := 1; shards <= min(slots, 8); shards++ {
			per := make([]int, shards)
			for i := range slots {
				per[operator.ShardOf(operator.KeyGroup(unkeyed.Key(uint64(i), slots)), shards)]++
			}
			if slices.Max(per)-slices.Min(per) > 2 {
				t.Errorf("%d slots over %d shards: %d", slots, shards, per)
			}
		}
		if unkeyed.Key(uint64(slots), slots) != unkeyed.Key(0, slots) {
			t.Errorf("slot %d of %d is not the first", slots, slots)
		}
	}
}

// position is how far a partition has been read.
type position struct {
	Partition uint64
	Next      int64
}

var positions = codec.Struct(
	codec.Field(func(p *position) *uint64 { return &p.Partition }, codec.Uint64[uint64]()),
	codec.Field(func(p *position) *int64 { return &p.Next }, codec.Int64[int64]()),
)

// offsets keeps how far each partition has been read, as list state, and emits
// every line that it has not seen before.
func offsets() *operator.Topology {
	topology, source := operator.NewTopology[line]()
	unkeyed.Add(source, unkeyed.Spec[line, position, string]{
		Name: "offsets", Slots: 4, Slot: func(l *line) uint64 { return l.Partition },
		Fold: func(c *operator.Context, list *unkeyed.List[position], l *line, emit func(event.Time, string)) {
			i := slices.IndexFunc(list.All(), func(p position) bool { return p.Partition == l.Partition })
			if i < 0 {
				i = list.Len()
				list.Add(position{Partition: l.Partition})
			}
			p := &list.All()[i]
			if l.Offset != p.Next {
				emit(c.Time, fmt.Sprintf("partition %d: %d instead of %d", l.Partition, l.Offset, p.Next))
			}
			p.Next++
			emit(c.Time, l.Text)
		},
		Element: positions,
	})
	return topology
}

// A source that finds its positions among all elements of a checkpoint goes on
// there, whoever has read the partitions before, and misses and repeats
// nothing: Flink's use of union state.
func TestSourceGoesOnFromElements(t *testing.T) {
	const partitions, each = 10, 30
	var got []string
	stored := map[[2]string][]byte{}
	eachStored := func(fn func(stage, key string, value []byte) error) error {
		for at, value := range stored {
			if err := fn(at[0], at[1], value); err != nil {
				return err
			}
		}
		return nil
	}
	for run := range 6 {
		shards := 1 + run%4
		tap := pipeline.Tap{Stage: "offsets", Port: unkeyed.PortResults, Sink: func(int) operator.RawSink {
			return func(_ operator.Meta, v any) { got = append(got, *v.(*string)) }
		}}
		p, err := pipeline.New(offsets(), pipeline.Options{Shards: shards, Taps: []pipeline.Tap{tap}})
		if err != nil {
			t.Fatal(err)
		}
		if err := eachStored(func(stage, key string, value []byte) error { return p.Load(stage, []byte(key), value) }); err != nil {
			t.Fatal(err)
		}
		next := [partitions]int64{}
		elements, err := unkeyed.Elements(eachStored, "offsets", 1, positions)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range elements {
			next[p.Partition] = p.Next
		}
		send, err := pipeline.Entry[line](p, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range partitions {
			for range (i + run) % 8 {
				if next[i] < each {
					send(operator.Meta{Time: 1, Watermark: event.MinTime}, &line{uint64(i), next[i], fmt.Sprint(i, "/", next[i])})
					next[i]++
				}
			}
		}
		if err := p.Finish(pipeline.Moment{Watermark: event.MinTime}); err != nil {
			t.Fatal(err)
		}
		clear(stored)
		if err := p.State(func(stage, key string, value []byte) error {
			stored[[2]string{stage, key}] = value
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	if n := len(got); n != len(slices.Compact(got)) {
		t.Errorf("%d lines with repeats", n)
	}
	want := 0
	for i := range partitions {
		for run := range 6 {
			want += (i + run) % 8
		}
	}
	if len(got) != want {
		t.Errorf("%d lines, want %d: %q", len(got), want, got)
	}
}

func TestStagesThatMakeNoSenseAreRefused(t *testing.T) {
	topology, source := operator.NewTopology[line]()
	unkeyed.Add(source, unkeyed.Spec[line, string, string]{
		Name: "x", Slots: operator.KeyGroups + 1, Slot: func(*line) uint64 { return 0 }, Element: texts,
		Fold: func(*operator.Context, *unkeyed.List[string], *line, func(event.Time, string)) {},
	})
	if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("too many slots: %v", err)
	}
}
