// Package pipeline is a topology laid out over shards, in memory: the tables
// of every stage and the exchanges between them. Engines drive it block by
// block: records are sent in, then Finish moves them through the levels of the
// topology. It reads no clock and starts no goroutine that outlives a call.
package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	"millrace/event"
	"millrace/operator"
)

// ErrOperator is the error of an operator that panicked.
var ErrOperator = errors.New("an operator failed")

// OperatorError says where an operator panicked. It is ErrOperator.
type OperatorError struct {
	Stage, Key string
	Timer      bool // in a timer, not because of an input
	Panic      any
	Stack      []byte
}

// Error names the stage, the key and the panic, and ends with the stack.
func (e *OperatorError) Error() string {
	where := ""
	if e.Timer {
		where = " in a timer"
	}
	return fmt.Sprintf("%v%s: stage %s, key %q: %v\n%s", ErrOperator, where, e.Stage, e.Key, e.Panic, e.Stack)
}

// Is makes every OperatorError an ErrOperator.
func (e *OperatorError) Is(target error) bool { return target == ErrOperator }

const (
	// inlineRecords is the size of a block, in records, up to which the shards
	// are run one after the other on the calling goroutine: waking another one
	// would take longer than the work.
	inlineRecords = 128
	// sliceRecords and sliceTimers are the defaults of Options.
	sliceRecords = 1 << 15
	sliceTimers  = 1 << 13
)

// Pipeline is a topology laid out over shards. Its methods are called from one
// goroutine, but for what Entry returned.
type Pipeline struct {
	topology  *operator.Topology
	shards    int
	tables    [][]operator.Table  // by node, by shard
	exchanges []operator.Exchange // by node; nil if chained
	senders   []map[int]int       // by node, by where records come from: its first sender
	levels    [][]int             // node indexes by level, in the order of the flow
	writes    [][]operator.ViewWrite
	running   []int // by shard: the node that is being run, for reports
	errs      []error
	more      []bool

	sliceRecords, sliceTimers int
}

// Options are how a topology is laid out.
type Options struct {
	// Shards is over how many shards stages are spread that do not say.
	Shards int
	// Parallelism is over how many shards stages are spread, by their names: it
	// goes before what a stage says itself. A chained stage has that of the
	// stage before it.
	Parallelism map[string]int
	// Partitions is how many partitions the source has; 0 means 1.
	Partitions int
	// Taps are told what ports emit.
	Taps []Tap
	// Cold is where keys are read back that were evicted; without it none is.
	Cold operator.Cold
	// SliceRecords and SliceTimers are how many records a stage folds, and how
	// many timers it fires, before what it has emitted moves on: they bound the
	// records between two stages. 0 means the defaults.
	SliceRecords, SliceTimers int
}

// Tap receives what a port emits, on the goroutine of the shard.
type Tap struct {
	Stage, Port string
	Sink        func(shard int) operator.RawSink
}

// New lays out a topology. Errors wrap operator.ErrTopology.
func New(t *operator.Topology, o Options) (*Pipeline, error) {
	if err := t.Err(); err != nil {
		return nil, err
	}
	if o.Shards < 1 || o.Shards > operator.KeyGroups {
		return nil, fmt.Errorf("%w: %d shards: want 1 to %d", operator.ErrTopology, o.Shards, operator.KeyGroups)
	}
	nodes := t.Nodes()
	p := &Pipeline{
		topology: t, shards: o.Shards,
		tables:    make([][]operator.Table, len(nodes)),
		exchanges: make([]operator.Exchange, len(nodes)),
		senders:   make([]map[int]int, len(nodes)),

		sliceRecords: cmp.Or(o.SliceRecords, sliceRecords),
		sliceTimers:  cmp.Or(o.SliceTimers, sliceTimers),
	}
	l := layout{p, o, max(1, o.Partitions)}
	if err := l.check(); err != nil {
		return nil, err
	}
	for i := range nodes {
		p.shards = max(p.shards, l.parallelism(i))
	}
	p.writes, p.running = make([][]operator.ViewWrite, p.shards), make([]int, p.shards)
	p.errs, p.more = make([]error, p.shards), make([]bool, p.shards)
	for i := len(nodes) - 1; i >= 0; i-- { // downstream first: sinks need it
		l.exchange(i)
		l.tables(i)
	}
	for i, n := range nodes {
		for len(p.levels) <= n.Level {
			p.levels = append(p.levels, nil)
		}
		p.levels[n.Level] = append(p.levels[n.Level], i)
	}
	return p, nil
}

// layout builds a pipeline.
type layout struct {
	*Pipeline
	options    Options
	partitions int
}

// check refuses a parallelism that can not be had.
func (l *layout) check() error {
	for _, name := range slices.Sorted(maps.Keys(l.options.Parallelism)) {
		i := slices.IndexFunc(l.topology.Nodes(), func(n *operator.Node) bool { return n.Name == name })
		switch n := l.options.Parallelism[name]; {
		case i < 0:
			return fmt.Errorf("%w: parallelism of %q: there is no such stage", operator.ErrTopology, name)
		case n < 1 || n > operator.KeyGroups:
			return fmt.Errorf("%w: parallelism of %q: want 1 to %d, got %d", operator.ErrTopology, name, operator.KeyGroups, n)
		case l.topology.Nodes()[i].Inputs[0].Chained:
			return fmt.Errorf("%w: parallelism of %q: it is chained to the stage before it", operator.ErrTopology, name)
		}
	}
	return nil
}

// parallelism is over how many shards a stage is spread.
func (l *layout) parallelism(node int) int {
	if node == operator.SourceNode {
		return l.partitions
	}
	n := l.topology.Nodes()[node]
	set := l.options.Parallelism[n.Name]
	switch {
	case n.Inputs[0].Chained:
		return l.parallelism(n.Inputs[0].From)
	case set > 0:
		return set
	case n.Parallelism > 0:
		return n.Parallelism
	}
	return l.options.Shards
}

// exchange makes the exchange in front of a stage. Inputs that come from one
// place share its senders, so that their records stay in the order in which
// they were sent.
func (l *layout) exchange(i int) {
	n := l.topology.Nodes()[i]
	from := 0
	l.senders[i] = map[int]int{}
	for _, in := range n.Inputs {
		if in.Chained {
			return
		}
		if _, ok := l.senders[i][in.From]; !ok {
			l.senders[i][in.From] = from
			from += l.parallelism(in.From)
		}
	}
	l.exchanges[i] = n.NewExchange(from, l.parallelism(i))
}

// tables makes the tables of a stage.
func (l *layout) tables(i int) {
	n := l.topology.Nodes()[i]
	for shard := range l.parallelism(i) {
		sinks := map[string][]any{}
		for _, t := range l.options.Taps {
			if t.Stage == n.Name {
				sinks[t.Port] = append(sinks[t.Port], t.Sink(shard))
			}
		}
		for j, d := range l.topology.Nodes() {
			for input, in := range d.Inputs {
				if in.From == i {
					sinks[in.Port] = append(sinks[in.Port], l.sink(j, input, shard))
				}
			}
		}
		l.Pipeline.tables[i] = append(l.Pipeline.tables[i], n.NewTable(operator.Shard{Index: shard, Sinks: sinks, Cold: l.options.Cold, Views: func(w operator.ViewWrite) {
			l.writes[shard] = append(l.writes[shard], w)
		}}))
	}
}

// sink is what takes the records of one input of a stage from one sender.
func (p *Pipeline) sink(node, input, sender int) any {
	n := p.topology.Nodes()[node]
	if n.Inputs[input].Chained {
		return n.Bind(input, p.tables[node][sender].Sink())
	}
	return n.Bind(input, p.exchanges[node].Sender(p.senders[node][n.Inputs[input].From]+sender))
}

// Entry is the function through which records of type T of one partition of
// the source enter. Those of two partitions may be used at the same time.
func Entry[T any](p *Pipeline, partition int) (func(operator.Meta, *T), error) {
	var list []func(operator.Meta, *T)
	for i, n := range p.topology.Nodes() {
		for input, in := range n.Inputs {
			if in.From != operator.SourceNode {
				continue
			}
			send, ok := p.sink(i, input, partition).(func(operator.Meta, *T))
			if !ok {
				return nil, fmt.Errorf("%w: stage %s does not read a source of %T", operator.ErrTopology, n.Name, *new(T))
			}
			list = append(list, send)
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return func(m operator.Meta, v *T) {
		for _, send := range list {
			send(m, v)
		}
	}, nil
}

// Shards is the largest number of shards of a stage.
func (p *Pipeline) Shards() int { return p.shards }

// Topology is what is laid out.
func (p *Pipeline) Topology() *operator.Topology { return p.topology }

// Moment is how far time has come with a block.
type Moment struct {
	// Watermark is the source's after the block's records.
	Watermark event.Time
	// Processing is the processing time of the block.
	Processing event.Time
}

// Finish fires the timers in processing time that have come due, then folds
// what has been sent in, level by level, and fires the timers in event time.
// Processing time comes to the last stages first, so that all that happens in
// the block happens at the block's time.
func (p *Pipeline) Finish(now Moment) error {
	for level := len(p.levels) - 1; level >= 0; level-- {
		if err := p.drain(level, work{now: &now, clock: true}); err != nil {
			return err
		}
	}
	for level := range p.levels {
		if err := p.drain(level, work{now: &now}); err != nil {
			return err
		}
	}
	return nil
}

// Resume notes how far time had come with the state that was loaded.
func (p *Pipeline) Resume(watermark event.Time) {
	for _, tables := range p.tables {
		for _, t := range tables {
			t.Resume(watermark)
		}
	}
}

// work is what a level has to do: fold what waits before it and, if now is not
// nil, fire the timers in event time that are due. Or, with clock, fire those
// in processing time.
type work struct {
	now   *Moment
	clock bool
}

// due reports whether timers of a table are part of the work.
func (w work) due(t operator.Table) bool {
	switch {
	case w.clock:
		return t.Due(event.MinTime, w.now.Processing)
	case w.now != nil:
		return t.Due(w.now.Watermark, event.MinTime)
	}
	return false
}

// drain does a level's work until none is left. What it emits in slices moves
// on through the levels below, whose time stands still meanwhile.
func (p *Pipeline) drain(level int, w work) error {
	if level == len(p.levels) {
		return nil
	}
	for {
		err := p.each(p.little(level, w), func(shard int) { p.more[shard] = p.slice(shard, level, w) })
		if err != nil {
			return err
		}
		more := false
		for _, m := range p.more {
			more = more || m
		}
		if !more {
			return nil
		}
		if err := p.drain(level+1, work{}); err != nil {
			return err
		}
	}
}

// little reports whether a level has so little to do that other goroutines
// need not be woken for it.
func (p *Pipeline) little(level int, w work) bool {
	if p.shards == 1 {
		return true
	}
	records := 0
	for _, i := range p.levels[level] {
		for shard, t := range p.tables[i] {
			if w.due(t) {
				return false
			}
			if x := p.exchanges[i]; x != nil && !w.clock {
				records += x.Pending(shard)
			}
		}
	}
	return records <= inlineRecords
}

// slice is a bounded part of a level's work on one shard. It reports whether
// some is left.
func (p *Pipeline) slice(shard, level int, w work) (more bool) {
	nodes := p.levels[level]
	if w.clock {
		for _, i := range slices.Backward(nodes) { // chained stages before those that they are chained to
			if t := p.run(shard, i); t != nil && t.AdvanceProcessing(w.now.Processing, p.sliceTimers) {
				return true
			}
		}
		return false
	}
	for _, i := range nodes {
		x := p.exchanges[i]
		if t := p.run(shard, i); t != nil && x != nil && x.Deliver(shard, t, p.sliceRecords) {
			return true
		}
	}
	if w.now == nil {
		return false
	}
	for _, i := range nodes {
		if t := p.run(shard, i); t != nil && t.Advance(w.now.Watermark, p.sliceTimers) {
			return true
		}
	}
	return false
}

// run is a stage's table of a shard, nil if it has none, and notes that it is
// the one that is run.
func (p *Pipeline) run(shard, node int) operator.Table {
	if shard >= len(p.tables[node]) {
		return nil
	}
	p.running[shard] = node
	return p.tables[node][shard]
}

// Due reports whether something is due by a processing time: a timer, or the
// end of a key's time.
func (p *Pipeline) Due(now event.Time) bool {
	for _, tables := range p.tables {
		for _, t := range tables {
			if t.Due(event.MinTime, now) {
				return true
			}
		}
	}
	return false
}

// Answers collects the view writes of every key that changed, by shard. They
// are valid until Recycle.
func (p *Pipeline) Answers() ([][]operator.ViewWrite, error) {
	changed := 0
	for _, tables := range p.tables {
		for _, t := range tables {
			changed += t.Changed()
		}
	}
	err := p.each(changed <= inlineRecords, func(shard int) {
		for i := range p.tables {
			if t := p.run(shard, i); t != nil {
				t.Answers()
			}
		}
	})
	return p.writes, err
}

// Recycle drops the view writes once they are published.
func (p *Pipeline) Recycle() {
	for i, w := range p.writes {
		clear(w)
		p.writes[i] = w[:0]
	}
}

// each runs fn for every shard, in parallel unless inline, and turns a panic
// of an operator into an error that says where.
func (p *Pipeline) each(inline bool, fn func(shard int)) error {
	guarded := func(shard int) {
		defer func() {
			if r := recover(); r != nil {
				if cold, ok := r.(operator.ColdError); ok {
					p.errs[shard] = cold.Err
					return
				}
				e := p.failing(shard)
				e.Panic, e.Stack = r, debug.Stack()
				p.errs[shard] = e
			}
		}()
		fn(shard)
	}
	Parallel(p.shards, inline, guarded)
	err := errors.Join(p.errs...)
	clear(p.errs)
	return err
}

// failing says which operator's call has not returned on a shard: that of the
// stage that is run, or of one that is chained to it.
func (p *Pipeline) failing(shard int) *OperatorError {
	i := p.running[shard]
	nodes := p.topology.Nodes()
	e := &OperatorError{Stage: nodes[i].Name}
	e.Key, e.Timer, _ = p.tables[i][shard].Current()
	for j := i + 1; j < len(nodes); j++ { // those that are chained to a stage come after it
		if in := nodes[j].Inputs[0]; !in.Chained || in.From != i {
			continue
		}
		if key, timer, ok := p.tables[j][shard].Current(); ok {
			i = j
			e.Stage, e.Key, e.Timer = nodes[j].Name, key, e.Timer || timer
		}
	}
	return e
}

// Parallel calls fn with 0 to n-1, at the same time unless inline, and returns
// when all calls have.
func Parallel(n int, inline bool, fn func(i int)) {
	if inline || n == 1 {
		for i := range n {
			fn(i)
		}
		return
	}
	var wait sync.WaitGroup
	for i := 1; i < n; i++ {
		wait.Go(func() { fn(i) })
	}
	fn(0)
	wait.Wait()
}
