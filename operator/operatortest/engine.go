// Package operatortest runs operators in tests: a small engine that is
// deliberately unlike those for production. engine/harness runs it beside them.
//
// The engine has no blocks. It moves one record at a time between queues,
// sends a watermark after every source record, and picks the next queue at
// random from a seed, so that records of different shards interleave in ways
// that a block engine never produces. What it computes must still be equal.
package operatortest

import (
	"math/rand/v2"
	"slices"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

// Engine runs a topology whose source has records of type T.
type Engine[T any] struct {
	// Emitted, if set, is told of every record that an output port emits.
	Emitted func(stage, port string, m operator.Meta, record any)

	topology *operator.Topology
	shards   int
	mark     event.Time // the watermark that was sent last
	now      event.Time // processing time
	random   *rand.Rand // nil: first queue first
	source   watermark.Strategy
	strategy func() watermark.Strategy
	tasks    [][]*task        // by node, by shard
	queues   []*queue         // all of them, in a fixed order
	entry    map[int][]*queue // those that leave the source, by stage, by shard
	enter    []func(operator.Meta, *T)
	views    Views
}

// queue is a channel between two tasks: records and watermarks in order.
type queue struct {
	to       *task
	messages []message
	mark     event.Time // the last watermark taken out
}

// message is a record, or a watermark if record is nil.
type message struct {
	meta   operator.Meta
	record any
}

// New makes an engine with so many shards, for a source whose records are at
// most bound late. Seed 0 always takes the first queue that holds something;
// any other seed interleaves at random.
func New[T any](t *operator.Topology, shards int, bound event.Duration, seed uint64) *Engine[T] {
	return NewWith[T](t, shards, func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) }, seed)
}

// NewWith is New for a source with another strategy for its watermark.
func NewWith[T any](t *operator.Topology, shards int, strategy func() watermark.Strategy, seed uint64) *Engine[T] {
	e := &Engine[T]{
		source: strategy(), strategy: strategy, topology: t, shards: shards,
		mark: event.MinTime, entry: map[int][]*queue{}, views: Views{},
	}
	if seed != 0 {
		e.random = rand.New(rand.NewPCG(seed, 0))
	}
	nodes := t.Nodes()
	e.tasks = make([][]*task, len(nodes))
	for i, n := range slices.Backward(nodes) { // downstream first: sinks need it
		for shard := range shards {
			e.tasks[i] = append(e.tasks[i], e.newTask(i, n, shard))
		}
	}
	for i, n := range nodes {
		for input, in := range n.Inputs {
			if in.From == operator.SourceNode {
				e.connectSource(i, input)
			}
		}
	}
	return e
}

// connect makes the queues of one sender to all shards of a stage, unless the
// sender has them for another input of the stage: what one sends to another
// stays in order.
func (e *Engine[T]) connect(sender map[int][]*queue, node int) []*queue {
	list := sender[node]
	if list != nil {
		return list
	}
	for _, to := range e.tasks[node] {
		q := &queue{to: to, mark: event.MinTime}
		to.inputs = append(to.inputs, q)
		list = append(list, q)
		e.queues = append(e.queues, q)
	}
	sender[node] = list
	return list
}

func (e *Engine[T]) newTask(index int, n *operator.Node, shard int) *task {
	k := &task{
		node: n, ttl: n.TTL(), keys: map[string]*keyed{}, down: map[int][]*queue{},
		mark: event.MinTime, touched: map[string]bool{},
	}
	sinks := map[string][]any{}
	for _, port := range n.Outputs {
		sinks[port] = append(sinks[port], operator.RawSink(func(m operator.Meta, record any) {
			if e.Emitted != nil {
				e.Emitted(n.Name, port, m, record)
			}
		}))
	}
	for i, d := range e.topology.Nodes() {
		for input, in := range d.Inputs {
			if in.From == index {
				sinks[in.Port] = append(sinks[in.Port], d.Bind(input, e.downstream(k, i, in.Chained, shard)))
			}
		}
	}
	k.raw = n.NewRaw(operator.RawEnv{Sinks: sinks, Views: e.views.Put})
	return k
}

// connectSource connects one input of a stage to the source.
func (e *Engine[T]) connectSource(node, input int) {
	queues := e.connect(e.entry, node)
	sink := e.topology.Nodes()[node].Bind(input, operator.RawSink(func(m operator.Meta, record any) {
		e.route(queues, m, record)
	}))
	e.enter = append(e.enter, sink.(func(operator.Meta, *T)))
}

// downstream is what takes a task's records for another stage.
func (e *Engine[T]) downstream(k *task, node int, chained bool, shard int) operator.RawSink {
	if chained {
		next := e.tasks[node][shard]
		k.chained = append(k.chained, next)
		return func(m operator.Meta, record any) { e.fold(next, m, record) }
	}
	queues := e.connect(k.down, node)
	return func(m operator.Meta, record any) { e.route(queues, m, record) }
}

// Views are what views hold, by view and key.
type Views map[string]map[string]operator.Value

// Put applies one write.
func (v Views) Put(w operator.ViewWrite) {
	if w.Value == nil {
		delete(v[w.View], w.Key)
		return
	}
	if v[w.View] == nil {
		v[w.View] = map[string]operator.Value{}
	}
	v[w.View][w.Key] = w.Value
}

// route puts a record into the queue of the shard that owns its key.
func (e *Engine[T]) route(queues []*queue, m operator.Meta, record any) {
	raw := queues[0].to.raw
	if raw.IsBroadcast(record) {
		routeBroadcast(queues, m, record)
		return
	}
	_, group := raw.Key(record)
	q := queues[operator.ShardOf(group, e.shards)]
	q.messages = append(q.messages, message{m, raw.Copy(record)})
}

// Send feeds one source record, and the watermark after it.
func (e *Engine[T]) Send(t event.Time, record *T) {
	m := operator.Stamp(e.source, t)
	for _, enter := range e.enter {
		enter(m, record)
	}
	e.Watermark(e.source.Watermark())
}

// SendAt feeds one source record with a Meta of the caller's, and no watermark.
func (e *Engine[T]) SendAt(m operator.Meta, record *T) {
	for _, enter := range e.enter {
		enter(m, record)
	}
	e.move()
}

// Watermark sends a watermark from the source; it never goes back.
func (e *Engine[T]) Watermark(w event.Time) {
	e.mark = max(e.mark, w)
	for _, queues := range e.entry {
		for _, q := range queues {
			q.watermark(w)
		}
	}
	e.move()
}

// ProcessingTime has processing time come to a moment, for all stages at once;
// it begins at 0 and never goes back. What was sent before is folded before,
// and what was sent later sees the new time.
func (e *Engine[T]) ProcessingTime(now event.Time) {
	e.Drain()
	e.now = max(e.now, now)
	for _, tasks := range slices.Backward(e.tasks) {
		for _, k := range tasks {
			k.advanceProcessing(e.now)
		}
	}
	e.move()
}

// move moves all that is in flight, or leaves some in the queues at random, so
// that it piles up.
func (e *Engine[T]) move() {
	if e.random == nil {
		e.Drain()
		return
	}
	for range e.random.IntN(8) {
		e.step()
	}
}

// Drain moves everything that is in flight to its end and lets every changed
// key answer.
func (e *Engine[T]) Drain() {
	for e.step() {
	}
	for _, tasks := range e.tasks {
		for _, k := range tasks {
			k.answer()
		}
	}
}

// step takes one message out of one queue. It reports false if all are empty.
func (e *Engine[T]) step() bool {
	start := 0
	if e.random != nil {
		start = e.random.IntN(len(e.queues))
	}
	i := start
	for len(e.queues[i].messages) == 0 {
		if i = (i + 1) % len(e.queues); i == start {
			return false
		}
	}
	q := e.queues[i]
	m := q.messages[0]
	q.messages = q.messages[1:]
	if m.record != nil {
		e.fold(q.to, m.meta, m.record)
		return true
	}
	q.mark = max(q.mark, m.meta.Watermark)
	e.advance(q.to)
	return true
}

// advance moves a task to the lowest watermark of its inputs.
func (e *Engine[T]) advance(k *task) {
	mark := event.MaxTime
	for _, q := range k.inputs {
		mark = min(mark, q.mark)
	}
	e.advanceTo(k, mark)
}

// advanceTo fires the task's timers up to the watermark, in time order, and
// passes the watermark on.
func (e *Engine[T]) advanceTo(k *task, mark event.Time) {
	if mark <= k.mark {
		return
	}
	k.advance(mark)
	for _, next := range k.chained {
		e.advanceTo(next, mark)
	}
	for _, queues := range k.down {
		for _, q := range queues {
			q.watermark(mark)
		}
	}
}

// watermark sends a watermark, instead of one that still waits at the end.
func (q *queue) watermark(w event.Time) {
	if n := len(q.messages); n > 0 && q.messages[n-1].record == nil {
		q.messages = q.messages[:n-1]
	}
	q.messages = append(q.messages, message{meta: operator.Meta{Watermark: w}})
}

// Forget drops a deleted user or item from every stage that is keyed by it.
func (e *Engine[T]) Forget(subject operator.Subject, key string) {
	e.Drain()
	for i, n := range e.topology.Nodes() {
		if n.Subject != subject {
			continue
		}
		for _, k := range e.tasks[i] {
			if _, ok := k.keys[key]; ok {
				k.drop(key)
			}
		}
	}
	e.Drain()
}

// StreamTime is the largest event time sent.
func (e *Engine[T]) StreamTime() event.Time { return e.source.StreamTime() }

// Views is what the views hold, by view and key. Call Drain first.
func (e *Engine[T]) Views() map[string]map[string]operator.Value { return e.views }
