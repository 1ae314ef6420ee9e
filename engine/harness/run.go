package harness

import (
	"fmt"
	"maps"
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

// run is one engine with the topology on it.
type run[T any] interface {
	name() string
	// send sends a record of a partition, and mark is the watermark after it.
	send(partition int, m operator.Meta, record *T, mark event.Time)
	// advance moves the watermark within a block.
	advance(mark event.Time)
	flush(mark, now event.Time) error
	processing(now event.Time)
	forget(subject operator.Subject, key string)
	views() map[string]map[string]operator.Value
	state() map[string]map[string][]byte
	// take is what was emitted since the last call.
	take() []emission
	load(stage, key string, value []byte) error
	resume(mark, now event.Time) error
}

// outputs collects what is emitted.
type outputs []emission

func (o *outputs) add(port string, t event.Time, record any) {
	*o = append(*o, emission{port, t, reflect.ValueOf(record).Elem().Interface()})
}

func (o *outputs) take() []emission {
	taken := *o
	*o = nil
	return taken
}

// blockLess is a run on the engine of operatortest.
type blockLess[T any] struct {
	*operatortest.Engine[T]
	outputs
	called string
	// random mixes the records of several partitions, which wait for it until
	// the block ends. It is nil if they are taken as they come.
	random  *rand.Rand
	waiting [][]sent[T]
}

// sent is a record that waits.
type sent[T any] struct {
	meta   operator.Meta
	record *T
}

func newBlockLess[T any](t *operator.Topology, shards, partitions int, seed uint64) *blockLess[T] {
	b := &blockLess[T]{
		Engine: operatortest.NewWith[T](t, shards, func() watermark.Strategy { return watermark.NewMonotonous() }, seed),
		called: fmt.Sprintf("the block-less engine with %d shards and seed %d", shards, seed),
	}
	if seed != 0 && partitions > 1 {
		b.random, b.waiting = rand.New(rand.NewPCG(seed, 1)), make([][]sent[T], partitions)
	}
	b.Emitted = func(stage, port string, m operator.Meta, record any) { b.add(stage+"."+port, m.Time, record) }
	return b
}

func (b *blockLess[T]) name() string { return b.called }

func (b *blockLess[T]) send(partition int, m operator.Meta, record *T, mark event.Time) {
	if b.random != nil {
		b.waiting[partition] = append(b.waiting[partition], sent[T]{m, record})
		return
	}
	b.SendAt(m, record)
	if mark > m.Watermark {
		b.Watermark(mark)
	}
}

// mix sends what waits, in an order that keeps that of each partition.
func (b *blockLess[T]) mix() {
	var order []int
	for partition, list := range b.waiting {
		order = append(order, slices.Repeat([]int{partition}, len(list))...)
	}
	if len(order) == 0 {
		return
	}
	b.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, partition := range order {
		first := b.waiting[partition][0]
		b.waiting[partition] = b.waiting[partition][1:]
		b.SendAt(first.meta, first.record)
	}
}

func (b *blockLess[T]) advance(mark event.Time) { b.Watermark(mark) }

func (b *blockLess[T]) flush(mark, _ event.Time) error {
	b.mix()
	b.Watermark(mark)
	b.Drain()
	return nil
}

func (b *blockLess[T]) processing(now event.Time) { b.ProcessingTime(now) }

func (b *blockLess[T]) forget(subject operator.Subject, key string) { b.Forget(subject, key) }

func (b *blockLess[T]) views() map[string]map[string]operator.Value { return b.Views() }

func (b *blockLess[T]) state() map[string]map[string][]byte { return b.State() }

func (b *blockLess[T]) load(stage, key string, value []byte) error { return b.Load(stage, key, value) }

func (b *blockLess[T]) resume(mark, now event.Time) error {
	b.Resume(mark, now)
	return nil
}

// blocks is a run on a pipeline.
type blocks[T any] struct {
	*pipeline.Pipeline
	options pipelineOptions
	enter   []func(operator.Meta, *T) // by partition
	mutex   sync.Mutex                // shards emit at the same time
	outputs
	held  operatortest.Views
	saved map[string]map[string][]byte // what checkpoints have stored, by stage and key
	open  map[string]map[string][]byte // the state when the checkpoint began that is not encoded yet
	wait  int                          // blocks until it is
	span  int                          // blocks that the next one waits for
	mark  event.Time
	now   event.Time
}

type pipelineOptions struct {
	shards, partitions int

	small bool // slices are, and checkpoints are encoded some blocks late
	cold  bool // state is evicted after each block
}

func newPipeline[T any](t *operator.Topology, o pipelineOptions) (*blocks[T], error) {
	b := &blocks[T]{
		options: o, held: operatortest.Views{},
		saved: map[string]map[string][]byte{}, mark: event.MinTime,
	}
	options := pipeline.Options{Shards: o.shards, Partitions: o.partitions}
	if o.small {
		options.SliceRecords, options.SliceTimers = 2, 1
	}
	if o.cold {
		options.Cold = b.read
	}
	for _, n := range t.Nodes() {
		b.saved[n.Name] = map[string][]byte{}
		for _, port := range n.Outputs {
			options.Taps = append(options.Taps, pipeline.Tap{Stage: n.Name, Port: port, Sink: func(int) operator.RawSink {
				return func(m operator.Meta, record any) {
					b.mutex.Lock()
					defer b.mutex.Unlock()
					b.add(n.Name+"."+port, m.Time, record)
				}
			}})
		}
	}
	var err error
	if b.Pipeline, err = pipeline.New(t, options); err != nil {
		return nil, err
	}
	for partition := range o.partitions {
		enter, err := pipeline.Entry[T](b.Pipeline, partition)
		if err != nil {
			return nil, err
		}
		b.enter = append(b.enter, enter)
	}
	return b, nil
}

func (b *blocks[T]) name() string {
	text := fmt.Sprintf("the pipeline with %d shards", b.options.shards)
	if b.options.small {
		text += " and small slices"
	}
	if b.options.cold {
		text += " and evicted state"
	}
	return text
}

func (b *blocks[T]) read(stage string, key []byte) ([]byte, bool, error) {
	value, ok := b.saved[stage][string(key)]
	return value, ok, nil
}

func (b *blocks[T]) send(partition int, m operator.Meta, record *T, _ event.Time) {
	b.enter[partition](m, record)
}

func (b *blocks[T]) advance(event.Time) {} // it does at the end of the block

func (b *blocks[T]) processing(now event.Time) { b.now = now }

func (b *blocks[T]) forget(subject operator.Subject, key string) { b.Forget(subject, key) }

// flush ends a block, and takes a checkpoint.
func (b *blocks[T]) flush(mark, now event.Time) error {
	b.mark, b.now = mark, now
	if err := b.Finish(pipeline.Moment{Watermark: mark, Processing: now}); err != nil {
		return err
	}
	return b.settle()
}

// settle publishes what keys answer and takes a checkpoint.
func (b *blocks[T]) settle() error {
	writes, err := b.Answers()
	if err != nil {
		return err
	}
	for _, list := range writes {
		for _, w := range list {
			b.held.Put(w)
		}
	}
	b.Recycle()
	if b.options.small {
		return b.late()
	}
	b.BeginCheckpoint()
	b.store()
	if b.options.cold {
		b.BeginCheckpoint() // the one before is stored
		b.TakeWrites()
		b.Evict(0)
		return nil
	}
	return b.stored(b.live())
}

// late ends the checkpoint that has begun some blocks before, and begins one:
// keys change many times between two, and while one is encoded.
func (b *blocks[T]) late() error {
	if b.wait > 0 {
		b.wait--
		b.Encode(func() bool { return true }) // some of it
		return nil
	}
	if b.open != nil {
		b.store()
		if err := b.stored(b.open); err != nil {
			return err
		}
	}
	b.open = b.live()
	b.BeginCheckpoint()
	b.wait, b.span = b.span, (b.span+1)%3
	return nil
}

// store encodes a checkpoint.
func (b *blocks[T]) store() {
	b.EncodeAll()
	for _, table := range b.TakeWrites() {
		for _, w := range table.Writes {
			if w.Value == nil {
				delete(b.saved[table.Stage], string(w.Key))
			} else {
				b.saved[table.Stage][string(w.Key)] = w.Value
			}
		}
	}
}

// stored demands that the checkpoints come to the state.
func (b *blocks[T]) stored(state map[string]map[string][]byte) error {
	if reflect.DeepEqual(b.saved, state) {
		return nil
	}
	return fmt.Errorf("checkpoints come to what differs from the state: "+
		"an operator may have said Unchanged of a call that has changed it\n%s", difference(b.saved, state))
}

func (b *blocks[T]) views() map[string]map[string]operator.Value { return b.held }

// live is the state of the keys in memory.
func (b *blocks[T]) live() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for _, n := range b.Topology().Nodes() {
		all[n.Name] = map[string][]byte{}
	}
	_ = b.State(func(stage, key string, value []byte) error { // no error of its own
		all[stage][key] = slices.Clone(value)
		return nil
	})
	return all
}

// state is that of all keys. The checkpoint has those that are not in memory,
// and also those whose time has ended there and that nobody has missed.
func (b *blocks[T]) state() map[string]map[string][]byte {
	if !b.options.cold {
		return b.live()
	}
	all := map[string]map[string][]byte{}
	for _, n := range b.Topology().Nodes() {
		all[n.Name] = maps.Clone(b.saved[n.Name])
		ttl := n.TTL()
		maps.DeleteFunc(all[n.Name], func(_ string, value []byte) bool { return ttl.Over(value, b.mark, b.now) })
	}
	return all
}

func (b *blocks[T]) load(stage, key string, value []byte) error {
	b.saved[stage][key] = value
	if b.options.cold {
		return b.LoadCold(stage, []byte(key), value)
	}
	return b.Load(stage, []byte(key), value)
}

func (b *blocks[T]) resume(mark, now event.Time) error {
	b.mark, b.now = mark, now
	b.Resume(mark)
	if err := b.Finish(pipeline.Moment{Watermark: mark, Processing: now}); err != nil {
		return err
	}
	return b.settle()
}
