package recommendtest

import (
	"runtime"
	"testing"

	"millrace/event"
	"millrace/operator"
)

// Blocks runs a topology block by block, as the embedded engine does, without
// a log, a store or goroutines.
type Blocks struct {
	nodes     []*operator.Node
	tables    [][]operator.Table  // by node, by shard
	exchanges []operator.Exchange // by node; nil if chained
	enter     []func(operator.Meta, *event.Enriched)
	source    operator.BoundedOutOfOrderness
	shards    int

	// Answers is how many view writes there have been, and Views what they
	// come to, by view and key, unless it is nil.
	Answers int
	Views   map[string]map[string]operator.Value
}

// NewBlocks lays the topology out over so many shards. The bound of
// out-of-orderness is 5 seconds.
func NewBlocks(t *operator.Topology, shards int) *Blocks {
	b := &Blocks{nodes: t.Nodes(), shards: shards}
	b.source.Bound = 5 * event.Second
	b.tables = make([][]operator.Table, len(b.nodes))
	b.exchanges = make([]operator.Exchange, len(b.nodes))
	for i := len(b.nodes) - 1; i >= 0; i-- {
		n := b.nodes[i]
		if in := n.Inputs[0]; in.From == operator.SourceNode {
			b.exchanges[i] = n.NewExchange(1, shards)
			b.enter = append(b.enter, b.exchanges[i].Sender(0).(func(operator.Meta, *event.Enriched)))
		} else if !in.Chained {
			b.exchanges[i] = n.NewExchange(shards, shards)
		}
		for shard := range shards {
			b.tables[i] = append(b.tables[i], n.NewTable(b.shard(i, shard)))
		}
	}
	return b
}

// shard is what a shard's copy of a stage is connected to.
func (b *Blocks) shard(node, shard int) operator.Shard {
	sinks := map[string][]any{}
	for j, down := range b.nodes {
		if in := down.Inputs[0]; in.From == node && in.Chained {
			sinks[in.Port] = append(sinks[in.Port], b.tables[j][shard].Sink())
		} else if in.From == node {
			sinks[in.Port] = append(sinks[in.Port], b.exchanges[j].Sender(shard))
		}
	}
	return operator.Shard{Sinks: sinks, Views: b.put}
}

func (b *Blocks) put(w operator.ViewWrite) {
	b.Answers++
	switch {
	case b.Views == nil:
	case w.Value == nil:
		delete(b.Views[w.View], w.Key)
	default:
		if b.Views[w.View] == nil {
			b.Views[w.View] = map[string]operator.Value{}
		}
		b.Views[w.View][w.Key] = w.Value
	}
}

// State is the encoded state of every key, by stage and key.
func (b *Blocks) State() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for i, n := range b.nodes {
		all[n.Name] = map[string][]byte{}
		for _, t := range b.tables[i] {
			err := t.Each(func(key string, value []byte) error {
				all[n.Name][key] = value
				return nil
			})
			if err != nil {
				panic(err) // the function above has no errors
			}
		}
	}
	return all
}

// Run folds a block and lets every key that it changed answer.
func (b *Blocks) Run(block []event.Enriched) {
	for i := range block {
		m := b.source.Stamp(block[i].Time)
		for _, enter := range b.enter {
			enter(m, &block[i])
		}
	}
	levels := 0
	for level := 0; level <= levels; level++ {
		for shard := range b.shards {
			for i, n := range b.nodes {
				levels = max(levels, n.Level)
				if n.Level == level && b.exchanges[i] != nil {
					b.exchanges[i].Deliver(shard, b.tables[i][shard])
				}
			}
			for i, n := range b.nodes {
				if n.Level == level {
					b.tables[i][shard].Advance(b.source.Watermark())
				}
			}
		}
	}
	for _, tables := range b.tables {
		for _, t := range tables {
			t.Answers()
		}
	}
}

// Measure runs events in blocks of so many, and reports nanoseconds of
// CPU and answers an event, and the memory that the state takes. The first tenth only
// fills the state.
func Measure(b *testing.B, build func() *operator.Topology, shards, block int, events []event.Enriched) {
	warm := len(events) / 10 / block * block
	var answers int
	var used int64
	var megabytes float64
	b.ReportAllocs()
	for range b.N {
		b.StopTimer()
		before := heap()
		run := NewBlocks(build(), shards)
		for at := 0; at < warm; at += block {
			run.Run(events[at : at+block])
		}
		run.Answers = 0
		start := cpu()
		b.StartTimer()
		for at := warm; at < len(events); at += block {
			run.Run(events[at:min(at+block, len(events))])
		}
		b.StopTimer()
		used += cpu() - start
		megabytes = float64(heap()-before) / (1 << 20)
		answers = run.Answers
		runtime.KeepAlive(run)
		b.StartTimer()
	}
	measured := float64(len(events) - warm)
	b.ReportMetric(float64(used)/float64(b.N)/measured, "cpu-ns/event")
	b.ReportMetric(float64(answers)/measured, "answers/event")
	b.ReportMetric(megabytes, "MiB")
}

// heap is how many bytes are alive.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// MeasureFold runs one event after the other through a topology's first stage,
// 10 ms of event time apart, and lets it answer after each 1000. next makes the
// event of the given number of the one before.
func MeasureFold(b *testing.B, t *operator.Topology, first event.Enriched, next func(i int, e *event.Enriched)) {
	table := t.Nodes()[0].NewTable(operator.Shard{Views: func(operator.ViewWrite) {}})
	fold := table.Sink().(func(operator.Meta, *event.Enriched))
	e := first
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Time = event.Time(1_700_000_000_000 + i*10)
		next(i, &e)
		watermark := e.Time - bound - 1
		fold(operator.Meta{Time: e.Time, Watermark: watermark}, &e)
		if i%1000 == 0 {
			table.Advance(watermark)
			table.Answers()
		}
	}
}
