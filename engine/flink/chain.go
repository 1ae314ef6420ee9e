package flink

import (
	"fmt"
	"runtime/debug"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/publish"
)

const (
	// sliceRecords and sliceTimers are how many records a chain folds, and how
	// many timers it fires, before what it has emitted leaves.
	sliceRecords = 1 << 14
	sliceTimers  = 1 << 12
	// outRecords is how many records wait for another chain at most, so that
	// they are combined, before they leave.
	outRecords = 1 << 14
)

// chain runs the stages of a chain for one subtask.
type chain struct {
	layout  *layout
	stages  []int
	tables  []operator.Table // by place in the chain
	in      operator.Exchange
	entries map[int]func(operator.Meta, []byte) error // by edge
	outs    []out
	source  partitions // of the chain that reads raw records
	running int        // the place in the chain of the stage that is run, for reports
	mark    event.Time
}

// out is an edge that leaves the chain.
type out struct {
	edge     int
	exchange operator.Exchange
}

// links are what a chain is connected to besides its edges.
type links struct {
	subtask int
	views   func(operator.ViewWrite)
	cold    operator.Cold
	// publish takes a record for an edge that leads to topics.
	publish func(edge int, m operator.Meta, r *publish.Record)
}

// newChain lays out a chain.
func newChain(l *layout, c int, to links) (*chain, error) {
	if c == fromSource {
		return newSourceChain(l)
	}
	k := &chain{layout: l, stages: l.chains[c], entries: map[int]func(operator.Meta, []byte) error{}, mark: event.MinTime}
	k.tables = make([]operator.Table, len(k.stages))
	leave := newOuts(l, c)
	k.outs = leave.list
	for at := len(k.stages) - 1; at >= 0; at-- { // downstream first: sinks need it
		sinks := map[string][]any{}
		for _, t := range l.program.Taps {
			if t.Stage == l.nodes[k.stages[at]].Name {
				sinks[t.Port] = append(sinks[t.Port], t.Sink(to.subtask))
			}
		}
		if edge := l.to(c, func(sink string) bool { return sink == SinkTopics }); edge >= 0 {
			for _, port := range operator.PortsOf[publish.Record](l.nodes[k.stages[at]]) {
				sinks[port] = append(sinks[port], operator.RawSink(func(m operator.Meta, record any) { to.publish(edge, m, record.(*publish.Record)) }))
			}
		}
		for d, n := range l.nodes {
			for input, in := range n.Inputs {
				if in.From != k.stages[at] {
					continue
				}
				sink := leave.sink(d)
				if in.Chained {
					sink = k.table(d).Sink()
				}
				sinks[in.Port] = append(sinks[in.Port], n.Bind(input, sink))
			}
		}
		k.tables[at] = l.nodes[k.stages[at]].NewTable(operator.Shard{Index: to.subtask, Sinks: sinks, Views: to.views, Cold: to.cold})
	}
	return k, k.enter(c)
}

// table is that of a stage.
func (k *chain) table(stage int) operator.Table {
	for at, i := range k.stages {
		if i == stage {
			return k.tables[at]
		}
	}
	return nil
}

// outs are the exchanges of a chain to others, which have one receiver: which
// subtask gets a record is for Flink to say.
type outs struct {
	list []out
	to   map[int]operator.Exchange // by stage
}

func newOuts(l *layout, from int) outs {
	o := outs{to: map[int]operator.Exchange{}}
	for id, e := range l.edges {
		if e.from == from && e.to != nowhere {
			o.to[e.to] = l.nodes[e.to].NewExchange(1, 1)
			if e.sink != "" { // which is to have every record
				o.to[e.to].Uncombined()
			}
			o.list = append(o.list, out{id, o.to[e.to]})
		}
	}
	return o
}

// sink is what takes the records for a stage of another chain.
func (o outs) sink(stage int) any {
	if x := o.to[stage]; x != nil {
		return x.Sender(0)
	}
	return nil
}

// newSourceChain lays out the chain that reads the source: it has no stages, and
// gives each record the keys of those that read it.
func newSourceChain(l *layout) (*chain, error) {
	leave := newOuts(l, fromSource)
	k := &chain{layout: l, outs: leave.list, mark: event.MinTime}
	var sinks []any
	for i, n := range l.nodes {
		for input, in := range n.Inputs {
			if in.From == operator.SourceNode {
				sinks = append(sinks, n.Bind(input, leave.sink(i)))
			}
		}
	}
	var err error
	if k.source, err = l.program.Source.partitions(sinks); err != nil || k.source != nil {
		return k, err
	}
	read, err := l.program.Source.reader(sinks)
	k.entries = map[int]func(operator.Meta, []byte) error{EdgeSource: read}
	return k, err
}

// enter makes the entries of a chain's edges.
func (k *chain) enter(c int) error {
	head := k.stages[0]
	n := k.layout.nodes[head]
	k.in = n.NewExchange(1, 1)
	for id, e := range k.layout.edges {
		switch {
		case e.to != head:
		case e.from == fromSource && k.layout.program.Key != nil:
			var sinks []any
			for input, in := range n.Inputs {
				if in.From == operator.SourceNode {
					sinks = append(sinks, n.Bind(input, k.in.Sender(0)))
				}
			}
			read, err := k.layout.program.Source.reader(sinks)
			if err != nil {
				return err
			}
			k.entries[id] = read
		default:
			k.entries[id] = func(m operator.Meta, record []byte) error { return k.in.Decode(0, 0, m, record) }
		}
	}
	return nil
}

// deliver folds what has come in.
func (k *chain) deliver(emit func(out) error) error {
	for more := k.in != nil; more; {
		k.running = 0
		more = k.in.Deliver(0, k.tables[0], sliceRecords)
		if err := k.leave(outRecords, emit); err != nil {
			return err
		}
	}
	return nil
}

// forget drops a deleted user or item from the stages that are keyed by it, after
// what has come before.
func (k *chain) forget(m operator.Meta, payload []byte, emit func(out) error, send func(edge int, key, payload []byte) error) error {
	if len(payload) == 0 || payload[0] == 0 || payload[0] > byte(operator.SubjectItem) {
		return fmt.Errorf("%w: a malformed deletion", ErrProtocol)
	}
	if err := k.deliver(emit); err != nil {
		return err
	}
	subject, key := operator.Subject(payload[0]), string(payload[1:])
	for at, t := range k.tables {
		if k.layout.nodes[k.stages[at]].Subject == subject {
			k.running = at
			t.Forget(key, m.Watermark)
		}
	}
	for _, o := range k.outs {
		if !k.layout.knows(k.layout.edges[o.edge], subject) {
			continue
		}
		if err := emit(o); err != nil { // what was sent before stays before it
			return err
		}
		if err := send(o.edge, payload[1:], payload); err != nil {
			return err
		}
	}
	return nil
}

// advance fires the timers up to a watermark, stage by stage.
func (k *chain) advance(mark event.Time, emit func(out) error) error {
	k.mark = max(k.mark, mark)
	return k.each(emit, func(t operator.Table) bool { return t.Advance(k.mark, sliceTimers) })
}

// clock fires the timers in processing time, those of the last stages first, so
// that what they cause happens at the new time.
func (k *chain) clock(now event.Time, emit func(out) error) error {
	for at := len(k.tables) - 1; at >= 0; at-- {
		if err := k.drain(at, emit, func(t operator.Table) bool { return t.AdvanceProcessing(now, sliceTimers) }); err != nil {
			return err
		}
	}
	return nil
}

func (k *chain) each(emit func(out) error, step func(operator.Table) (more bool)) error {
	for at := range k.tables {
		if err := k.drain(at, emit, step); err != nil {
			return err
		}
	}
	return nil
}

// drain repeats a step of a stage until it has nothing left to do.
func (k *chain) drain(at int, emit func(out) error, step func(operator.Table) (more bool)) error {
	for more := true; more; {
		k.running = at
		more = step(k.tables[at])
		if err := k.leave(outRecords, emit); err != nil {
			return err
		}
	}
	return nil
}

// leave has records leave of which more than so many wait for one edge.
func (k *chain) leave(most int, emit func(out) error) error {
	for _, o := range k.outs {
		if o.exchange.Pending(0) > most {
			if err := emit(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// answers lets every stage answer for the keys that changed.
func (k *chain) answers() {
	for at, t := range k.tables {
		k.running = at
		t.Answers()
	}
}

// failed makes an error of what an operator has panicked with: it says which
// one, and at which key.
func (k *chain) failed(r any) error {
	if cold, ok := r.(operator.ColdError); ok {
		return cold.Err
	}
	if len(k.stages) == 0 {
		return fmt.Errorf("the source: %v\n%s", r, debug.Stack())
	}
	e := &pipeline.OperatorError{Stage: k.layout.nodes[k.stages[k.running]].Name, Panic: r, Stack: debug.Stack()}
	at := k.running
	e.Key, e.Timer, _ = k.tables[at].Current()
	for next := at + 1; next < len(k.tables); next++ {
		if k.layout.nodes[k.stages[next]].Inputs[0].From != k.stages[at] {
			continue
		}
		if key, timer, ok := k.tables[next].Current(); ok {
			at = next
			e.Stage, e.Key, e.Timer = k.layout.nodes[k.stages[next]].Name, key, e.Timer || timer
		}
	}
	return e
}

// stage is the table of a stage by its name.
func (k *chain) stage(name string) (operator.Table, error) {
	for at, i := range k.stages {
		if k.layout.nodes[i].Name == name {
			return k.tables[at], nil
		}
	}
	return nil, fmt.Errorf("%w: there is no stage %q in the chain", ErrProtocol, name)
}
