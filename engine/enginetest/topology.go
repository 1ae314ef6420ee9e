package enginetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

// Timed is a record of a source with its event time.
type Timed[T any] struct {
	Time   event.Time
	Record T
}

// Outcome is what a topology has come to over the records of a source.
type Outcome struct {
	// Emitted is what was emitted, by "stage.port": "TIME RECORD", sorted.
	Emitted map[string][]string
	// State is what was remembered, by "stage key", before the end of time.
	State map[string]string

	mutex sync.Mutex
}

func newOutcome() *Outcome {
	return &Outcome{Emitted: map[string][]string{}, State: map[string]string{}}
}

// Failer is a test, of package testing or of another one.
type Failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Run says how a topology is run over records, for results that must not
// depend on it.
type Run[T any] struct {
	Build func() *operator.Topology
	// Bound is how late records may be.
	Bound event.Duration
	// Seed decides on blocks or interleavings, and on when the run is
	// interrupted and restored, over another number of shards.
	Seed uint64
	// Shards is over how many shards the run begins.
	Shards int
}

func (o *Outcome) emitted(stage, port string, m operator.Meta, record any) {
	at := stage + "." + port
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.Emitted[at] = append(o.Emitted[at], fmt.Sprintf("%d %+v", m.Time, reflect.ValueOf(record).Elem()))
}

func (o *Outcome) sort() *Outcome {
	for _, list := range o.Emitted {
		slices.Sort(list)
	}
	return o
}

// Blocks runs the records block by block; at the end, time ends.
func (r Run[T]) Blocks(t Failer, records []Timed[T]) *Outcome {
	t.Helper()
	random := rand.New(rand.NewPCG(r.Seed, 1))
	out, stored := newOutcome(), map[[2]string][]byte{}
	p, send := r.pipeline(t, out, r.Shards)
	strategy := watermark.NewBoundedOutOfOrderness(r.Bound)
	for len(records) > 0 {
		n := min(len(records), 1+random.IntN(1+len(records)/(1+random.IntN(10))))
		for i := range records[:n] {
			send(operator.Stamp(strategy, records[i].Time), &records[i].Record)
		}
		records = records[n:]
		if err := p.Finish(pipeline.Moment{Watermark: strategy.Watermark(), Processing: strategy.StreamTime()}); err != nil {
			t.Fatalf("block: %v", err)
		}
		switch random.IntN(6) {
		case 0:
			save(p, stored)
		case 1:
			save(p, stored)
			p, send = r.again(t, out, stored, 1+random.IntN(5))
		}
	}
	err := p.State(func(stage, key string, value []byte) error {
		at := fmt.Sprintf("%s %q", stage, key)
		if _, twice := out.State[at]; twice {
			return fmt.Errorf("%s is there twice", at)
		}
		out.State[at] = string(value)
		return nil
	})
	if err == nil {
		err = p.Finish(pipeline.Moment{Watermark: event.MaxTime, Processing: strategy.StreamTime()})
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out.sort()
}

func (r Run[T]) pipeline(t Failer, out *Outcome, shards int) (*pipeline.Pipeline, func(operator.Meta, *T)) {
	t.Helper()
	topology := r.Build()
	var taps []pipeline.Tap
	for _, n := range topology.Nodes() {
		for _, port := range n.Outputs {
			taps = append(taps, pipeline.Tap{Stage: n.Name, Port: port, Sink: func(int) operator.RawSink {
				return func(m operator.Meta, record any) { out.emitted(n.Name, port, m, record) }
			}})
		}
	}
	p, err := pipeline.New(topology, pipeline.Options{Shards: shards, Taps: taps})
	if err != nil {
		t.Fatalf("%v", err)
	}
	send, err := pipeline.Entry[T](p, 0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p, send
}

// again is a pipeline that goes on from the checkpoints of another one: those
// taken so far, each of what has changed since the one before.
func (r Run[T]) again(t Failer, out *Outcome, stored map[[2]string][]byte, shards int) (*pipeline.Pipeline, func(operator.Meta, *T)) {
	t.Helper()
	p, send := r.pipeline(t, out, shards)
	for at, value := range stored {
		if err := p.Load(at[0], []byte(at[1]), value); err != nil {
			t.Fatalf("load %q: %v", at, err)
		}
	}
	return p, send
}

// save takes a checkpoint: what has changed since the one before.
func save(p *pipeline.Pipeline, stored map[[2]string][]byte) {
	p.BeginCheckpoint()
	p.EncodeAll()
	for _, table := range p.TakeWrites() {
		for _, w := range table.Writes {
			at := [2]string{table.Stage, string(w.Key)}
			if stored[at] = w.Value; w.Value == nil {
				delete(stored, at)
			}
		}
	}
}

// BlockLess runs the records one by one, interleaved at random, without blocks.
func (r Run[T]) BlockLess(t Failer, records []Timed[T]) *Outcome {
	t.Helper()
	random := rand.New(rand.NewPCG(r.Seed, 2))
	out := newOutcome()
	e := operatortest.New[T](r.Build(), r.Shards, r.Bound, r.Seed)
	e.Emitted = out.emitted
	for i := range records {
		e.Send(records[i].Time, &records[i].Record)
		if random.IntN(1+len(records)/3) != 0 {
			continue
		}
		var err error
		if e, err = e.Restored(1+random.IntN(5), r.Seed+uint64(i)); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
	e.Drain()
	for stage, keys := range e.State() {
		for key, value := range keys {
			out.State[fmt.Sprintf("%s %q", stage, key)] = string(value)
		}
	}
	e.Watermark(event.MaxTime)
	e.Drain()
	return out.sort()
}
