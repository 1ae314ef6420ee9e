package embedded

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

// ErrOperator is the error of an operator that panicked. The message names
// the stage, the key and the panic.
var ErrOperator = errors.New("an operator failed")

// inlineRecords is the size of a block, in records, up to which the shards
// are run one after the other on the calling goroutine: waking another one
// would take longer than the work.
const inlineRecords = 128

// pipeline is a topology laid out over shards, in memory: the tables of every
// stage and the exchanges between them. It is driven block by block: records
// are sent in, then finish moves them through the levels of the topology.
type pipeline struct {
	topology  *operator.Topology
	shards    int
	tables    [][]operator.Table  // by node, by shard
	exchanges []operator.Exchange // by node; nil if chained
	levels    [][]int             // node indexes by level, in the order of the flow
	writes    [][]operator.ViewWrite
	running   []int // by shard: the node that is being run, for reports
}

// tap receives what a port emits, on the goroutine of the shard.
type tap struct {
	stage, port string
	sink        func(shard int) operator.RawSink
}

func newPipeline(t *operator.Topology, shards int, taps []tap) (*pipeline, error) {
	if err := t.Err(); err != nil {
		return nil, err
	}
	if shards < 1 || shards > operator.KeyGroups {
		return nil, fmt.Errorf("%w: %d shards: want 1 to %d", operator.ErrTopology, shards, operator.KeyGroups)
	}
	nodes := t.Nodes()
	p := &pipeline{
		topology: t, shards: shards,
		tables:    make([][]operator.Table, len(nodes)),
		exchanges: make([]operator.Exchange, len(nodes)),
		writes:    make([][]operator.ViewWrite, shards),
		running:   make([]int, shards),
	}
	for i := len(nodes) - 1; i >= 0; i-- { // downstream first: sinks need it
		p.build(i, nodes, taps)
	}
	for i, n := range nodes {
		for len(p.levels) <= n.Level {
			p.levels = append(p.levels, nil)
		}
		p.levels[n.Level] = append(p.levels[n.Level], i)
	}
	return p, nil
}

// build makes the tables of one stage and the exchange in front of it.
func (p *pipeline) build(i int, nodes []*operator.Node, taps []tap) {
	n := nodes[i]
	if in := n.Inputs[0]; !in.Chained {
		from := p.shards
		if in.From == operator.SourceNode {
			from = 1
		}
		p.exchanges[i] = n.NewExchange(from, p.shards)
	}
	for shard := range p.shards {
		sinks := map[string][]any{}
		for _, t := range taps {
			if t.stage == n.Name {
				sinks[t.port] = append(sinks[t.port], t.sink(shard))
			}
		}
		for j, d := range nodes {
			in := d.Inputs[0]
			switch {
			case in.From != i:
			case in.Chained:
				sinks[in.Port] = append(sinks[in.Port], p.tables[j][shard].Sink())
			default:
				sinks[in.Port] = append(sinks[in.Port], p.exchanges[j].Sender(shard))
			}
		}
		p.tables[i] = append(p.tables[i], n.NewTable(operator.Shard{Sinks: sinks, Views: func(w operator.ViewWrite) {
			p.writes[shard] = append(p.writes[shard], w)
		}}))
	}
}

// entries are the functions through which records of type T enter: one for
// each stage that reads the source.
func entries[T any](p *pipeline) ([]func(operator.Meta, *T), error) {
	var list []func(operator.Meta, *T)
	for i, n := range p.topology.Nodes() {
		if n.Inputs[0].From != operator.SourceNode {
			continue
		}
		send, ok := p.exchanges[i].Sender(0).(func(operator.Meta, *T))
		if !ok {
			return nil, fmt.Errorf("%w: stage %s does not read a source of %T", operator.ErrTopology, n.Name, *new(T))
		}
		list = append(list, send)
	}
	return list, nil
}

// finish folds what has been sent in, level by level, and fires the timers
// that the watermark has passed.
func (p *pipeline) finish(records int, watermark event.Time) error {
	for _, level := range p.levels {
		err := p.each(records <= inlineRecords, func(shard int) {
			for _, i := range level {
				if x := p.exchanges[i]; x != nil {
					p.running[shard] = i
					x.Deliver(shard, p.tables[i][shard])
				}
			}
			for _, i := range level {
				p.running[shard] = i
				p.tables[i][shard].Advance(watermark)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// answers collects the view writes of every key that changed. They are valid
// until recycle.
func (p *pipeline) answers(inline bool) ([][]operator.ViewWrite, error) {
	err := p.each(inline, func(shard int) {
		for i, tables := range p.tables {
			p.running[shard] = i
			tables[shard].Answers()
		}
	})
	return p.writes, err
}

// recycle drops the view writes once they are published.
func (p *pipeline) recycle() {
	for i, w := range p.writes {
		clear(w)
		p.writes[i] = w[:0]
	}
}

// each runs fn for every shard, in parallel unless inline, and turns a panic
// of an operator into an error that says where.
func (p *pipeline) each(inline bool, fn func(shard int)) error {
	errs := make([]error, p.shards)
	guarded := func(shard int) {
		defer func() {
			if r := recover(); r != nil {
				i := p.running[shard]
				errs[shard] = fmt.Errorf("%w: stage %s, key %q: %v\n%s", ErrOperator,
					p.topology.Nodes()[i].Name, p.tables[i][shard].Current(), r, debug.Stack())
			}
		}()
		fn(shard)
	}
	if inline {
		for shard := range p.shards {
			guarded(shard)
		}
		return errors.Join(errs...)
	}
	var wait sync.WaitGroup
	for shard := 1; shard < p.shards; shard++ {
		wait.Go(func() { guarded(shard) })
	}
	guarded(0)
	wait.Wait()
	return errors.Join(errs...)
}

// forget drops a deleted user or item from every stage that is keyed by it.
func (p *pipeline) forget(subject operator.Subject, key string) {
	for i, n := range p.topology.Nodes() {
		if n.Subject == subject {
			p.tables[i][operator.ShardOf(n.Group(key), p.shards)].Forget(key)
		}
	}
}

// load restores one key of one stage. Keys of stages that the topology does
// not have any more are dropped.
func (p *pipeline) load(stage string, key, value []byte) error {
	for i, n := range p.topology.Nodes() {
		if n.Name == stage {
			shard := operator.ShardOf(n.Group(string(key)), p.shards)
			return p.tables[i][shard].Load(key, value)
		}
	}
	return nil
}

// state calls fn for every key of every stage, in order.
func (p *pipeline) state(fn func(stage, key string, value []byte) error) error {
	for i, n := range p.topology.Nodes() {
		for _, t := range p.tables[i] {
			if err := t.Each(func(key string, value []byte) error { return fn(n.Name, key, value) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOver moves all state from the pipeline before. It returns the keys of
// stages that there are no longer, as deletions.
func (p *pipeline) takeOver(old *pipeline) ([]state.Table, error) {
	var orphans []state.Table
	for i, n := range old.topology.Nodes() {
		at := slices.IndexFunc(p.topology.Nodes(), func(m *operator.Node) bool { return m.Name == n.Name })
		orphan := state.Table{Stage: n.Name}
		for _, t := range old.tables[i] {
			err := t.HandOver(func(key string, value []byte) error {
				if at < 0 {
					orphan.Writes = append(orphan.Writes, operator.StateWrite{Key: []byte(key)})
					return nil
				}
				shard := operator.ShardOf(n.Group(key), p.shards)
				return p.tables[at][shard].TakeOver([]byte(key), value)
			})
			if err != nil {
				return nil, err
			}
		}
		if len(orphan.Writes) > 0 {
			orphans = append(orphans, orphan)
		}
	}
	return orphans, nil
}

// keys is how many keys each stage holds.
func (p *pipeline) keys() map[string]int {
	all := map[string]int{}
	for i, n := range p.topology.Nodes() {
		for _, t := range p.tables[i] {
			all[n.Name] += t.Len()
		}
	}
	return all
}
