// Package flinktest plays Flink to a worker, in tests: subtasks that own ranges
// of key groups, queues between them that interleave at random, watermarks,
// barriers that checkpoints are aligned by, and sessions that are lost. It is
// the other half of the protocol, written without the first.
package flinktest

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"millrace/engine/flink"
	"millrace/event"
	"millrace/operator"
)

// groups are how many groups keys are divided into.
const groups = 128

// Options are how a cluster runs a plan.
type Options struct {
	Plan *flink.Plan
	// Dial opens a connection to a worker; stored is what it can read back.
	Dial func(stored func(stage, key string) ([]byte, bool)) (io.ReadWriteCloser, error)
	// Host runs the tasks of all chains but the source instead; nil has the cluster
	// play them.
	Host *Host
	// Restored is the number of the checkpoint that the job starts from, 0 if it
	// starts from no checkpoint of this job.
	Restored uint64
	// Subtasks are how many each chain has, Partitions how many the source has.
	Subtasks, Partitions int
	// Raw has the source read raw records of its partitions, which are divided
	// among as many subtasks as the chains have.
	Raw []string
	// Seed picks the interleavings and where batches end; 0 has everything happen
	// in order, in batches of BatchItems.
	Seed       uint64
	BatchItems int
	// Result takes what is emitted to sinks, once a checkpoint has come that has
	// it, or at the end.
	Result func(Output)
}

// Output is a record that has left for a sink.
type Output struct {
	Sink, Key string
	operator.Meta
	Record []byte
}

// Snapshot is the state of all stages, by stage and key.
type Snapshot map[string]map[string][]byte

// Cluster is a job at work.
type Cluster struct {
	o      Options
	random *rand.Rand
	tasks  []*task
	chains map[string][]*task
	queues []*queue
	source []map[int][]*queue // by partition, by edge
	now    event.Time

	barrier  uint64 // the number of the newest
	waiting  int    // tasks that the newest has not reached
	taken    Snapshot
	complete Snapshot // of the newest checkpoint that has come through
}

// New starts a job from a snapshot, nil for none.
func New(o Options, from Snapshot) (*Cluster, error) {
	c := &Cluster{o: o, chains: map[string][]*task{}, complete: from, barrier: o.Restored}
	if o.Seed != 0 {
		c.random = rand.New(rand.NewPCG(o.Seed, 7))
	}
	if c.o.BatchItems == 0 {
		c.o.BatchItems = 64
	}
	if o.Raw != nil {
		c.o.Partitions = len(o.Raw)
	}
	keyed := o.Raw == nil
	for _, e := range o.Plan.Edges {
		keyed = keyed && (e.From != flink.SourceChain || e.Key != nil)
	}
	for _, chain := range o.Plan.Chains {
		for i := range o.Subtasks {
			c.add(chain.Name, chain.Stages, i, o.Subtasks)
		}
	}
	if !keyed {
		readers := c.o.Partitions
		if o.Raw != nil {
			readers = o.Subtasks
		}
		for i := range readers {
			c.add(flink.SourceChain, nil, i, readers)
		}
	}
	c.connectAll(keyed)
	for _, k := range c.tasks {
		if err := k.start(from); err != nil {
			return nil, fmt.Errorf("chain %s: %w", k.chain, err)
		}
	}
	return c, nil
}

func (c *Cluster) add(chain string, stages []flink.PlanStage, subtask, of int) {
	k := &task{cluster: c, chain: chain, stages: stages, subtask: subtask, of: of, mark: event.MinTime, down: map[int][]*queue{}, state: Snapshot{}}
	c.tasks = append(c.tasks, k)
	c.chains[chain] = append(c.chains[chain], k)
}

// connect makes the queues of one sender on an edge.
func (c *Cluster) connect(e flink.PlanEdge) (list []*queue) {
	for _, to := range c.chains[e.To] {
		list = append(list, c.queue(to))
	}
	return list
}

func (c *Cluster) queue(to *task) *queue {
	q := &queue{to: to, mark: event.MinTime}
	to.inputs = append(to.inputs, q)
	c.queues = append(c.queues, q)
	return q
}

// connectAll makes the queues of all edges.
func (c *Cluster) connectAll(keyed bool) {
	for range c.o.Partitions {
		c.source = append(c.source, map[int][]*queue{})
	}
	for _, e := range c.o.Plan.Edges {
		if e.From == flink.SourceChain && keyed {
			for p := range c.source {
				c.source[p][e.ID] = c.connect(e)
			}
			continue
		}
		for _, k := range c.chains[e.From] {
			k.down[e.ID] = c.connect(e)
		}
	}
	if keyed {
		return
	}
	readers := c.chains[flink.SourceChain]
	for p := range c.source {
		c.source[p][flink.EdgeSource] = []*queue{c.queue(readers[p%len(readers)])}
	}
}

// owner is the subtask, of so many, that owns a key.
func (c *Cluster) owner(key string, of int) (int, error) {
	if c.o.Host != nil {
		group, err := c.o.Host.group(key)
		return group * of / groups, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32()%groups) * of / groups, nil
}

// Send sends a record of a partition of the source to all edges. Without a stamp
// its watermark is that of whoever reads it.
func (c *Cluster) Send(partition int, m operator.Meta, stamped bool, record []byte) error {
	for edge, queues := range c.source[partition] {
		to, key := 0, ""
		if edge != flink.EdgeSource {
			k := c.o.Plan.Edges[edge].Key
			key = string(record[k.Offset : k.Offset+k.Length])
			var err error
			if to, err = c.owner(key, len(queues)); err != nil {
				return err
			}
		}
		queues[to].messages = append(queues[to].messages, message{edge: edge, key: key, meta: m, stamped: stamped, record: record})
	}
	return c.move()
}

// SendRaw sends a raw record of a partition; a nil key or value is none.
func (c *Cluster) SendRaw(partition int, offset int64, at event.Time, key, value []byte) error {
	readers := len(c.chains[flink.SourceChain])
	b := append([]byte{2}, byte(partition/readers), 0) // its place in what the subtask was assigned
	b = u64(u64(b, offset), at)
	for _, part := range [][]byte{key, value} {
		if part == nil {
			b = append(b, 0)
		} else {
			b = bytesOf(append(b, 1), string(part))
		}
	}
	q := c.source[partition][flink.EdgeSource][0]
	q.messages = append(q.messages, message{raw: b})
	return c.move()
}

// Forget sends the deletion of a user or an item into the source. It needs a
// source that Go gives the keys.
func (c *Cluster) Forget(subject operator.Subject, key string) error {
	q := c.source[0][flink.EdgeSource][0]
	q.messages = append(q.messages, message{
		edge: flink.EdgeSource, meta: operator.Meta{Time: math.MinInt64}, record: append([]byte{byte(subject)}, key...),
	})
	return c.move()
}

// Watermark sends a watermark from a partition of the source.
func (c *Cluster) Watermark(partition int, mark event.Time) error {
	for _, queues := range c.source[partition] {
		for _, q := range queues {
			q.messages = append(q.messages, message{mark: &mark})
		}
	}
	return c.move()
}

// ProcessingTime has every subtask learn the time, with an empty batch.
func (c *Cluster) ProcessingTime(now event.Time) error {
	c.now = max(c.now, now)
	for _, k := range slices.Backward(c.tasks) {
		if err := k.batch(); err != nil {
			return err
		}
	}
	return c.move()
}

// Checkpoint sends a barrier into the source. The one before is given up if it
// has not come through.
func (c *Cluster) Checkpoint() error {
	if err := c.Drain(); err != nil { // one at a time, as Flink's default has it
		return err
	}
	c.barrier++
	c.waiting, c.taken = len(c.tasks), Snapshot{}
	for _, down := range c.source {
		for _, queues := range down {
			for _, q := range queues {
				q.messages = append(q.messages, message{barrier: c.barrier})
			}
		}
	}
	for _, k := range c.tasks {
		if len(k.inputs) == 0 { // a reader without partitions
			if err := k.snapshot(); err != nil {
				return err
			}
		}
	}
	return c.move()
}

// Begun is the number of the newest checkpoint that has begun.
func (c *Cluster) Begun() uint64 { return c.barrier }

// Completed is the newest checkpoint that has come through, and its number.
func (c *Cluster) Completed() (Snapshot, uint64) {
	if c.waiting > 0 {
		return c.complete, c.barrier - 1
	}
	return c.complete, c.barrier
}

// move moves some of what is in flight, or with a seed of 0 all.
func (c *Cluster) move() error {
	if c.random == nil {
		return c.Drain()
	}
	for range c.random.IntN(8) {
		if moved, err := c.step(); err != nil || !moved {
			return err
		}
	}
	return nil
}

// Drain moves all that is in flight to its end.
func (c *Cluster) Drain() error {
	for {
		moved, err := c.step()
		if err != nil {
			return err
		}
		if moved {
			continue
		}
		idle := true
		for _, k := range c.tasks {
			if k.items > 0 {
				idle = false
				if err := k.batch(); err != nil {
					return err
				}
			}
		}
		if idle {
			return nil
		}
	}
}

// step takes a message out of a queue.
func (c *Cluster) step() (moved bool, err error) {
	start := 0
	if c.random != nil && len(c.queues) > 0 {
		start = c.random.IntN(len(c.queues))
	}
	for n := range c.queues {
		q := c.queues[(start+n)%len(c.queues)]
		if len(q.messages) == 0 || q.blocked {
			continue
		}
		m := q.messages[0]
		q.messages = q.messages[1:]
		return true, q.to.take(q, m)
	}
	return false, nil
}

// Close ends the job: what has been emitted is final. Without that, what no
// checkpoint has is lost.
func (c *Cluster) Close() error {
	if err := c.Drain(); err != nil {
		return err
	}
	for _, k := range c.tasks {
		k.commit(k.pending)
		if err := k.client.do(6, nil); err != nil {
			return err
		}
	}
	c.Kill()
	return nil
}

// Kill loses all sessions.
func (c *Cluster) Kill() {
	for _, k := range c.tasks {
		_ = k.conn.Close()
	}
}

// State is what is stored of all stages as it is now.
func (c *Cluster) State() Snapshot {
	all := Snapshot{}
	for _, k := range c.tasks {
		all.add(k.state)
	}
	return all
}

// add adds the state of other keys.
func (s Snapshot) add(o Snapshot) {
	for stage, keys := range o {
		if s[stage] == nil {
			s[stage] = map[string][]byte{}
		}
		for key, value := range keys {
			s[stage][key] = value
		}
	}
}
