package flinktest

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"millrace/engine/flink"
	"millrace/event"
	"millrace/operator"
)

// loadKeys are how many keys a LOAD has.
const loadKeys = 100

// task is a subtask of a chain.
type task struct {
	cluster     *Cluster
	chain       string
	stages      []flink.PlanStage
	subtask, of int
	client      client
	conn        io.Closer
	inputs      []*queue
	down        map[int][]*queue // by edge; those to sinks have none
	state       Snapshot
	mark        event.Time
	idle        bool
	buf         []byte // items of the next batch
	items       int
	pending     []Output // since the last barrier
	sealed      []Output // before it
}

// queue is a channel between two tasks.
type queue struct {
	to       *task
	messages []message
	mark     event.Time
	idle     bool
	blocked  bool // by a barrier that others have not brought yet
}

// message is a record, a watermark or a barrier.
type message struct {
	edge    int
	key     string
	meta    operator.Meta
	stamped bool
	record  []byte
	mark    *event.Time
	idle    *bool
	raw     []byte // an item as it is sent
	barrier uint64
}

// start opens the session and loads the keys that the task owns.
func (k *task) start(from Snapshot) error {
	p := k.cluster.o.Plan
	dial := k.cluster.o.Dial
	if k.hosted() {
		dial = k.cluster.o.Host.dial(p)
	}
	conn, err := dial(k.stored)
	if err != nil {
		return err
	}
	k.conn, k.client = conn, client{conn: conn, stored: k.stored}
	b := u32(nil, p.Protocol)
	b = bytesOf(bytesOf(bytesOf(b, p.Job), string(p.Program)), k.chain)
	b = u64(u32(u32(u32(b, k.subtask), k.of), groups), k.cluster.barrier)
	if err := k.client.do(1, b); err != nil {
		return err
	}
	for _, stage := range k.stages {
		k.state[stage.Name] = map[string][]byte{}
		for key, value := range from[stage.Name] {
			owner, err := k.cluster.owner(key, k.of)
			if err != nil {
				return err
			}
			if owner == k.subtask {
				k.state[stage.Name][key] = value
			}
		}
		keys := slices.Sorted(maps.Keys(k.state[stage.Name]))
		for some := range slices.Chunk(keys, loadKeys) {
			b := u32(bytesOf(nil, stage.Name), len(some))
			for _, key := range some {
				b = bytesOf(bytesOf(b, key), string(k.state[stage.Name][key]))
			}
			if err := k.client.do(2, b); err != nil {
				return err
			}
		}
	}
	if k.cluster.o.Raw != nil && k.chain == flink.SourceChain {
		if err := k.assign(from); err != nil {
			return err
		}
	}
	return k.client.do(3, nil)
}

// assign gives the source what was stored of all partitions, and the first item,
// the partitions that the task reads.
func (k *task) assign(from Snapshot) error {
	names := slices.Sorted(maps.Keys(from[flink.SourceChain]))
	b := u32(bytesOf(nil, flink.SourceChain), len(names))
	for _, name := range names {
		b = bytesOf(bytesOf(b, name), string(from[flink.SourceChain][name]))
	}
	if err := k.client.do(2, b); err != nil {
		return err
	}
	k.state[flink.SourceChain] = map[string][]byte{}
	var own []string
	for p, name := range k.cluster.o.Raw {
		if p%k.of == k.subtask {
			own = append(own, name)
		}
	}
	k.buf = append(k.buf, 3, byte(len(own)), 0)
	for _, name := range own {
		k.buf = bytesOf(k.buf, name)
	}
	k.items++
	return nil
}

// hosted reports whether the host runs the task.
func (k *task) hosted() bool { return k.cluster.o.Host != nil && k.chain != flink.SourceChain }

func (k *task) stored(stage, key string) ([]byte, bool) {
	v, ok := k.state[stage][key]
	return v, ok
}

// take takes a message of one of the inputs.
func (k *task) take(q *queue, m message) error {
	switch {
	case m.barrier > 0:
		return k.align(q)
	case m.mark != nil:
		q.mark = max(q.mark, *m.mark)
		return k.advance()
	case m.idle != nil:
		q.idle = *m.idle
		return k.advance()
	case m.raw != nil:
		k.buf = append(k.buf, m.raw...)
		return k.item()
	}
	k.buf = append(k.buf, 0, byte(m.edge), byte(m.edge>>8))
	if m.stamped {
		k.buf = u64(u64(append(k.buf, 1), m.meta.Time), m.meta.Watermark)
	} else {
		k.buf = u64(append(k.buf, 0), m.meta.Time)
	}
	k.buf = bytesOf(k.buf, string(m.record))
	if k.hosted() {
		k.buf = bytesOf(k.buf, m.key)
	}
	return k.item()
}

// advance has time come to the lowest watermark of the inputs that are not idle.
func (k *task) advance() error {
	mark, active := flinkMax, false
	for _, in := range k.inputs {
		if !in.idle {
			mark, active = min(mark, in.mark), true
		}
	}
	if mark <= k.mark || !active {
		return nil
	}
	k.mark = mark
	k.buf = u64(append(k.buf, 1), mark)
	k.items++
	return k.batch()
}

// flinkMax is the watermark of a stream that has ended.
const flinkMax = event.Time(math.MaxInt64)

// item counts an item, and perhaps sends what waits.
func (k *task) item() error {
	k.items++
	if k.items >= k.cluster.o.BatchItems || k.cluster.random != nil && k.cluster.random.IntN(6) == 0 {
		return k.batch()
	}
	return nil
}

// batch sends what waits, and sends on what comes of it.
func (k *task) batch() error {
	b := append(u32(u64(nil, k.cluster.now), k.items), k.buf...)
	k.buf, k.items = k.buf[:0], 0
	r, err := k.client.ask(4, b)
	if err != nil {
		return fmt.Errorf("chain %s, subtask %d: %w", k.chain, k.subtask, err)
	}
	return k.apply(r)
}

// apply does what a reply says.
func (k *task) apply(r reply) error {
	for _, o := range r.outputs {
		queues := k.down[o.edge]
		if queues == nil {
			k.pending = append(k.pending, Output{k.cluster.o.Plan.Edges[o.edge].To, o.key, o.meta, o.record})
			continue
		}
		to, err := k.cluster.owner(o.key, len(queues))
		if err != nil {
			return err
		}
		queues[to].messages = append(queues[to].messages, message{edge: o.edge, key: o.key, meta: o.meta, stamped: true, record: o.record})
	}
	for _, w := range r.writes {
		if k.state[w.stage] == nil {
			return fmt.Errorf("chain %s writes the state of stage %q", k.chain, w.stage)
		}
		if w.value == nil {
			delete(k.state[w.stage], w.key)
		} else {
			k.state[w.stage][w.key] = w.value
		}
		if w.stage == flink.SourceChain {
			continue
		}
		owner, err := k.cluster.owner(w.key, k.of)
		if err != nil {
			return err
		}
		if owner != k.subtask {
			return fmt.Errorf("chain %s, stage %s, subtask %d writes key %q of another", k.chain, w.stage, k.subtask, w.key)
		}

	}
	if r.idle != k.idle {
		k.idle = r.idle
		k.send(message{idle: &r.idle})
	}
	if r.watermark != math.MinInt64 {
		k.send(message{mark: &r.watermark})
	}
	return nil
}

// send sends a message to everybody downstream.
func (k *task) send(m message) {
	for _, queues := range k.down {
		for _, q := range queues {
			q.messages = append(q.messages, m)
		}
	}
}

// align waits for the barrier on all inputs.
func (k *task) align(q *queue) error {
	q.blocked = true
	for _, in := range k.inputs {
		if !in.blocked {
			return nil
		}
	}
	for _, in := range k.inputs {
		in.blocked = false
	}
	return k.snapshot()
}

// snapshot takes the task's part of a checkpoint, and sends the barrier on.
func (k *task) snapshot() error {
	c := k.cluster
	if err := k.batch(); err != nil {
		return err
	}
	r, err := k.client.ask(5, append(u64(nil, c.barrier), 0))
	if err != nil {
		return err
	}
	if err := k.apply(r); err != nil {
		return err
	}
	copied := Snapshot{}
	for stage, keys := range k.state {
		copied[stage] = maps.Clone(keys)
	}
	c.taken.add(copied)
	if k.stages == nil && len(k.state[flink.SourceChain]) > 0 {
		k.state[flink.SourceChain] = map[string][]byte{} // every snapshot has all of it
	}
	k.sealed, k.pending = append(k.sealed, k.pending...), nil
	k.send(message{barrier: c.barrier})
	if c.waiting--; c.waiting == 0 {
		c.complete = c.taken
		for _, k := range c.tasks {
			k.commit(k.sealed)
			k.sealed = nil
		}
	}
	return nil
}

func (k *task) commit(list []Output) {
	for _, o := range list {
		if k.cluster.o.Result != nil {
			k.cluster.o.Result(o)
		}
	}
}
