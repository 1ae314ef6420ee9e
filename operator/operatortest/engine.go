// Package operatortest runs operators in tests: a small engine that is
// deliberately unlike the embedded one, and a harness for script files.
//
// The engine has no blocks. It moves one record at a time between queues,
// sends a watermark after every source record, and picks the next queue at
// random from a seed, so that records of different shards interleave in ways
// that a block engine never produces. What it computes must still be equal.
package operatortest

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// Engine runs a topology whose source has records of type T.
type Engine[T any] struct {
	// Emitted, if set, is told of every record that an output port emits.
	Emitted func(stage, port string, m operator.Meta, record any)

	topology *operator.Topology
	shards   int
	random   *rand.Rand // nil: first queue first
	source   watermark.Strategy
	strategy func() watermark.Strategy
	tasks    [][]*task        // by node, by shard
	queues   []*queue         // all of them, in a fixed order
	entry    map[int][]*queue // those that leave the source, by stage, by shard
	enter    []func(operator.Meta, *T)
	views    map[string]map[string]operator.Value
}

// task is one shard of one stage.
type task struct {
	node    *operator.Node
	raw     operator.Raw
	keys    map[string]*keyed
	inputs  []*queue
	chained []*task
	down    map[int][]*queue // by downstream stage, by shard
	mark    event.Time
	due     timers
	touched map[string]bool
	// broadcast says that the instance has had a record that every instance gets.
	broadcast bool
}

type keyed struct {
	state  any
	timers []event.Time
}

func (k *keyed) header(n *operator.Node) *operator.Header {
	return &operator.Header{Version: n.Version, Timers: k.timers, Stamp: event.MinTime}
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
		entry: map[int][]*queue{}, views: map[string]map[string]operator.Value{},
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
	k := &task{node: n, keys: map[string]*keyed{}, down: map[int][]*queue{}, mark: event.MinTime, touched: map[string]bool{}}
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
	k.raw = n.NewRaw(operator.RawEnv{Sinks: sinks, Views: e.put})
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

func (e *Engine[T]) put(w operator.ViewWrite) {
	view := e.views[w.View]
	if view == nil {
		view = map[string]operator.Value{}
		e.views[w.View] = view
	}
	if w.Value == nil {
		delete(view, w.Key)
	} else {
		view[w.Key] = w.Value
	}
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

// Watermark sends a watermark from the source; it never goes back.
func (e *Engine[T]) Watermark(w event.Time) {
	for _, queues := range e.entry {
		for _, q := range queues {
			q.watermark(w)
		}
	}
	if e.random == nil {
		e.Drain()
		return
	}
	for range e.random.IntN(8) { // leave some in the queues, so that they pile up
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
	k.mark = mark
	for {
		key, at, ok := k.earliest()
		if !ok || at > mark {
			break
		}
		k.fire(key, k.keys[key])
	}
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

// fire calls the operator for the key's first timer.
func (k *task) fire(key string, s *keyed) {
	at := s.timers[0]
	s.timers = slices.Delete(s.timers, 0, 1)
	k.raw.Context().Begin(operator.Meta{Time: at, Watermark: at - 1})
	k.raw.Timer(key, s.state, at)
	k.effects(key, s, at)
}

// earliest finds the first timer of all keys, by time, then key. due may
// name timers that were deleted since; those are passed over.
func (k *task) earliest() (key string, at event.Time, ok bool) {
	for len(k.due) > 0 {
		first := k.due[0]
		if s := k.keys[first.key]; s != nil && slices.Contains(s.timers, first.at) {
			return first.key, first.at, true
		}
		heap.Pop(&k.due)
	}
	return "", 0, false
}

func (e *Engine[T]) fold(k *task, m operator.Meta, record any) {
	if k.raw.IsBroadcast(record) {
		k.raw.Broadcast(m, record)
		k.broadcast = true
		return
	}
	key, _ := k.raw.Key(record)
	s, known := k.keys[key]
	if !known {
		s = &keyed{state: k.raw.NewState()}
		k.keys[key] = s
	}
	if k.node.Ordered { // a chained stage may be sent to before its own watermark
		for len(s.timers) > 0 && s.timers[0] <= m.Watermark {
			k.fire(key, s)
		}
		if k.keys[key] == nil {
			s, known = &keyed{state: k.raw.NewState()}, false
			k.keys[key] = s
		}
	}
	k.raw.Context().Begin(m)
	k.raw.Fold(key, s.state, record)
	k.effects(key, s, m.Watermark)
	if k.raw.Context().Effects().Unchanged && !known && len(s.timers) == 0 {
		delete(k.keys, key)
	}
	if e.random != nil && e.random.IntN(64) == 0 {
		k.answer()
	}
}

// effects carries out what a call asked for. passed is the watermark of the
// call, or the time of the timer that was called: it panics if a timer is set
// that is not after it, see operator.Context.SetTimer.
func (k *task) effects(key string, s *keyed, passed event.Time) {
	effects := k.raw.Context().Effects()
	set, unset := effects.Set, effects.Unset
	for _, at := range set {
		if at <= passed {
			panic(fmt.Sprintf("operatortest: stage %s, key %q: a timer is set for %v, but %v has passed: "+
				"when it fires would depend on the engine; use Effective", k.node.Name, key, at, passed))
		}
	}
	s.timers = slices.DeleteFunc(s.timers, func(t event.Time) bool { return slices.Contains(unset, t) })
	s.timers = append(s.timers, set...)
	for _, at := range set {
		heap.Push(&k.due, timer{at, key})
	}
	slices.Sort(s.timers)
	s.timers = slices.Compact(s.timers)
	if effects.Forget {
		delete(k.keys, key)
	}
	k.touched[key] = true
}

// answer lets the operator answer for every key that changed.
func (k *task) answer() {
	for key := range k.touched {
		if s := k.keys[key]; s != nil {
			k.raw.Answer(key, s.state)
		} else {
			k.raw.Answer(key, nil)
		}
	}
	clear(k.touched)
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
				delete(k.keys, key)
				k.touched[key] = true
			}
		}
	}
	e.Drain()
}

// StreamTime is the largest event time sent.
func (e *Engine[T]) StreamTime() event.Time { return e.source.StreamTime() }

// Views is what the views hold, by view and key. Call Drain first.
func (e *Engine[T]) Views() map[string]map[string]operator.Value { return e.views }

// State is the encoded state of every key, by stage and key, in the form that
// operator.Table stores. Call Drain first.
func (e *Engine[T]) State() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for i, n := range e.topology.Nodes() {
		all[n.Name] = map[string][]byte{}
		for _, k := range e.tasks[i] {
			for key, s := range k.keys {
				all[n.Name][key] = k.raw.Append(s.header(n).AppendTo(nil), s.state)
			}
			k.appendBroadcast(all[n.Name])
		}
	}
	return all
}

// Restored makes an engine of so many shards from this one's state, as after
// a checkpoint. Views start from what the restored keys answer.
func (e *Engine[T]) Restored(shards int, seed uint64) (*Engine[T], error) {
	e.Drain()
	r := NewWith[T](e.topology, shards, e.strategy, seed)
	r.Emitted = e.Emitted
	if err := r.source.Load(wire.NewReader(e.source.AppendTo(nil))); err != nil {
		return nil, fmt.Errorf("restore the watermark: %w", err)
	}
	for i, n := range e.topology.Nodes() {
		for key, value := range e.State()[n.Name] {
			if err := r.load(i, key, value); err != nil {
				return nil, err
			}
		}
	}
	r.Drain()
	mark := e.source.Watermark()
	for _, q := range r.queues {
		q.mark = mark
	}
	for _, tasks := range r.tasks {
		for _, k := range tasks {
			k.mark = mark
		}
	}
	return r, nil
}

func (e *Engine[T]) load(node int, key string, value []byte) error {
	n := e.topology.Nodes()[node]
	h, state, err := operator.SplitState(value)
	if err != nil {
		return fmt.Errorf("restore %s %q: %w", n.Name, key, err)
	}
	if key == operator.BroadcastKey {
		return loadBroadcast(e.tasks[node], h.Version, state)
	}
	k := e.tasks[node][operator.ShardOf(n.Group(key), e.shards)]
	s := &keyed{state: k.raw.NewState(), timers: h.Timers}
	if err := k.raw.Load(h.Version, state, s.state); err != nil {
		return fmt.Errorf("restore %s %q: %w", n.Name, key, err)
	}
	k.keys[key] = s
	k.touched[key] = true
	for _, at := range h.Timers {
		heap.Push(&k.due, timer{at, key})
	}
	return nil
}
