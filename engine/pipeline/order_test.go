package pipeline_test

import (
	"fmt"
	"slices"
	"testing"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
)

// journal keeps the numbers of the records in the order in which they came.
type journal struct{ all *operator.Output[[]uint64] }

func (j *journal) Fold(c *operator.Context, _ string, s *[]uint64, in *uint64) {
	*s = append(*s, *in)
	j.all.Emit(c.Time, slices.Clone(*s))
}

func (*journal) Timer(*operator.Context, string, *[]uint64, event.Time) {}

func (*journal) Append(dst []byte, s *[]uint64) []byte {
	for _, n := range *s {
		dst = wire.AppendUvarint(dst, n)
	}
	return dst
}

func (*journal) Load(uint8, []byte, *[]uint64) error { return nil }

// A union of streams of the source is in the order of the source, and one of
// streams of a stage in the order in which each shard has emitted.
func TestUnionsKeepTheOrderOfWhereTheyComeFrom(t *testing.T) {
	build := func() *operator.Topology {
		topology, source := operator.NewTopology[uint64]()
		odd := operator.Filter(source, func(n *uint64) bool { return *n%2 == 1 })
		even := operator.Filter(source, func(n *uint64) bool { return *n%2 == 0 })
		operator.Add(operator.Union(odd, even), operator.Stage[string, []uint64, uint64]{
			Name: "journal", Version: 1, Key: func(n *uint64) string { return fmt.Sprint(*n % 3) },
			New: func(p *operator.Ports) operator.Operator[string, []uint64, uint64] {
				return &journal{operator.Out[[]uint64](p, "all")}
			},
		})
		return topology
	}
	check := func(t *testing.T, got []uint64) {
		t.Helper()
		if len(got) > 1 && got[len(got)-1] != got[len(got)-2]+3 {
			t.Fatalf("out of order: %d", got)
		}
	}
	for shards := 1; shards <= 3; shards++ {
		tap := pipeline.Tap{Stage: "journal", Port: "all", Sink: func(int) operator.RawSink {
			return func(_ operator.Meta, record any) { check(t, *record.(*[]uint64)) }
		}}
		p, err := pipeline.New(build(), pipeline.Options{Shards: shards, Taps: []pipeline.Tap{tap}})
		if err != nil {
			t.Fatal(err)
		}
		send, err := pipeline.Entry[uint64](p, 0)
		if err != nil {
			t.Fatal(err)
		}
		e := operatortest.New[uint64](build(), shards, 0, uint64(shards))
		e.Emitted = func(_, _ string, _ operator.Meta, record any) { check(t, *record.(*[]uint64)) }
		for n := uint64(1); n <= 100; n++ {
			send(operator.Meta{Time: event.Time(n), Watermark: event.MinTime}, &n)
			e.Send(event.Time(n), &n)
		}
		e.Drain()
		if err := p.Finish(pipeline.Moment{Watermark: event.MinTime}); err != nil {
			t.Fatal(err)
		}
	}
}
