package recommendtest

import (
	"math"
	"runtime"
	"testing"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

// Blocks runs a topology block by block, as the embedded engine does, without
// a log, a store or goroutines.
type Blocks struct {
	pipeline *pipeline.Pipeline
	enter    func(operator.Meta, *event.Enriched)
	source   watermark.Strategy

	// Answers is how many view writes there have been, and Views what they
	// come to, by view and key, unless it is nil.
	Answers int
	Views   operatortest.Views
}

// NewBlocks lays the topology out over so many shards. The bound of
// out-of-orderness is 5 seconds.
func NewBlocks(t *operator.Topology, shards int) *Blocks {
	b := &Blocks{source: watermark.NewBoundedOutOfOrderness(5 * event.Second)}
	var err error
	if b.pipeline, err = pipeline.New(t, pipeline.Options{Shards: shards}); err == nil {
		b.enter, err = pipeline.Entry[event.Enriched](b.pipeline, 0)
	}
	if err != nil {
		panic(err) // the topology of the test is wrong
	}
	return b
}

func (b *Blocks) put(w operator.ViewWrite) {
	b.Answers++
	if b.Views != nil {
		b.Views.Put(w)
	}
}

// State is the encoded state of every key, by stage and key.
func (b *Blocks) State() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	err := b.pipeline.State(func(stage, key string, value []byte) error {
		if all[stage] == nil {
			all[stage] = map[string][]byte{}
		}
		all[stage][key] = value
		return nil
	})
	if err != nil {
		panic(err) // the function above has no errors
	}
	return all
}

// Run folds a block and lets every key that it changed answer.
func (b *Blocks) Run(block []event.Enriched) {
	for i := range block {
		b.enter(operator.Stamp(b.source, block[i].Time), &block[i])
	}
	err := b.pipeline.Finish(pipeline.Moment{Watermark: b.source.Watermark(), Processing: b.source.StreamTime()})
	if err != nil {
		panic(err)
	}
	writes, err := b.pipeline.Answers()
	if err != nil {
		panic(err)
	}
	for _, shard := range writes {
		for _, w := range shard {
			b.put(w)
		}
	}
	b.pipeline.Recycle()
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
			table.Advance(watermark, math.MaxInt)
			table.Answers()
		}
	}
}
