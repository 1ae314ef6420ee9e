// Package flink is the Go side of the Flink host: a worker that folds records
// for operators of Apache Flink. Flink owns the source, the exchanges, the
// watermarks and the checkpoints; beside each of its TaskManagers a worker
// process keeps the live state and runs the operators, a connection for each
// chain and subtask. flink/PROTOCOL.md says what travels over a connection,
// README.md why it is so.
package flink

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/publish"
)

// ErrProtocol is the error of a peer that does not keep to the protocol.
var ErrProtocol = errors.New("protocol error")

// SourceChain is the name of the chain that reads the source.
const SourceChain = "source"

// Program is what a job computes.
type Program struct {
	Topology *operator.Topology
	// Source reads the records that come from the source.
	Source Source
	// Key is where a source of Flink's own, which makes records as Source reads
	// them, finds the key in one: that of every stage that reads the source. Nil
	// if the chain SourceChain reads the source, and gives records their keys.
	Key *PlanKey
	// Views takes the answers; nil drops them.
	Views Views
	// Taps are told what ports emit.
	Taps []pipeline.Tap
	// Publish says what a publication leaves as; nil publishes nothing.
	Publish Publish
	// Sinks are stages that Flink takes the place of, by name: what takes their
	// inputs, "result" or "topic:NAME".
	Sinks map[string]string
}

// Publish says which topic a publication leaves for, see operator/publish, and
// with what value; an empty topic leaves it out. The error is of a system that
// has to be asked, and ends the session.
type Publish func(r *publish.Record) (topic string, value []byte, err error)

// Build makes the program that a plan describes, anew for each connection.
type Build func(program []byte) (*Program, error)

// Source is how the records of a source are read that come encoded.
type Source interface {
	// reader makes a function that reads a record and sends it to all sinks.
	reader(sinks []any) (func(operator.Meta, []byte) error, error)
	// partitions makes what reads raw records and sends what they are to all
	// sinks; nil if the source has none.
	partitions(sinks []any) (partitions, error)
	// letters is the topic of dead letters, "" for none.
	letters() string
}

// Records is the Source whose records are of type T, which says itself how it is
// read, see operator.Record, unless a codec does.
func Records[T any](by *codec.Codec[T]) Source { return records[T]{by} }

type records[T any] struct{ by *codec.Codec[T] }

func (s records[T]) reader(sinks []any) (func(operator.Meta, []byte) error, error) {
	var list []func(operator.Meta, *T)
	for _, s := range sinks {
		send, ok := s.(func(operator.Meta, *T))
		if !ok {
			return nil, fmt.Errorf("%w: the topology does not read a source of %T", operator.ErrTopology, *new(T))
		}
		list = append(list, send)
	}
	record := new(T)
	by := s.by
	if by == nil {
		typed, ok := any(record).(operator.Record)
		if !ok {
			return nil, fmt.Errorf("%w: %T is no operator.Record", operator.ErrTopology, record)
		}
		by = &codec.Codec[T]{Load: func(r *wire.Reader, _ *T) { typed.ReadRecord(r) }}
	}
	r := wire.NewReader(nil)
	return func(m operator.Meta, b []byte) error {
		r.Reset(b)
		*record = *new(T)
		by.Load(r, record)
		if err := r.End(); err != nil {
			return err
		}
		for _, send := range list {
			send(m, record)
		}
		return nil
	}, nil
}

func (records[T]) partitions([]any) (partitions, error) { return nil, nil }

func (records[T]) letters() string { return "" }

// edge is a way on which records reach a stage from another chain, or leave.
type edge struct {
	from int // the chain, or fromSource
	to   int // the stage, or nowhere
	sink string
}

// nowhere is where an edge to a sink leads that takes no stage's place.
const nowhere = -1

// The sinks of edges.
const (
	// SinkTopics takes publications, whose topics are in their payloads.
	SinkTopics = "topics"
	// SinkTopic and the name of a topic is a sink that has its records.
	SinkTopic = "topic:"
)

const fromSource = -1

// EdgeSource is the edge on which the chain SourceChain reads records.
const EdgeSource = 1<<16 - 1

// layout is a topology cut into chains: a stage and those that are chained to
// it, which are run together.
type layout struct {
	program *Program
	nodes   []*operator.Node
	chains  [][]int // the stages of each, the head first
	of      []int   // by stage: its chain, -1 if it is a sink
	edges   []edge  // by number
	// subjects are those of the stages of each chain and of all that are behind
	// it, as a set of bits.
	subjects []uint64
}

// newLayout finds the chains and edges. Errors wrap operator.ErrTopology.
func newLayout(p *Program) (*layout, error) {
	if err := p.Topology.Err(); err != nil {
		return nil, err
	}
	l := &layout{program: p, nodes: p.Topology.Nodes(), of: make([]int, len(p.Topology.Nodes()))}
	for i, n := range l.nodes {
		l.of[i] = -1
		if n.Broadcast {
			return nil, fmt.Errorf("%w: stage %q: stages with broadcast inputs do not run on Flink", operator.ErrTopology, n.Name)
		}
		switch _, sink := p.Sinks[n.Name]; {
		case sink && (n.Inputs[0].Chained || len(n.Outputs) > 0):
			return nil, fmt.Errorf("%w: stage %q is not the end of an exchange, so nothing can take its place", operator.ErrTopology, n.Name)
		case sink:
		case n.Inputs[0].Chained:
			l.of[i] = l.of[n.Inputs[0].From]
			l.chains[l.of[i]] = append(l.chains[l.of[i]], i)
			continue
		default:
			l.of[i] = len(l.chains)
			l.chains = append(l.chains, []int{i})
		}
		if err := l.connect(i, n); err != nil {
			return nil, err
		}
	}
	l.leave()
	l.subjects = make([]uint64, len(l.chains))
	for i := len(l.nodes) - 1; i >= 0; i-- {
		if c := l.of[i]; c >= 0 {
			l.subjects[c] |= 1 << l.nodes[i].Subject
		}
	}
	for c := len(l.chains) - 1; c >= 0; c-- { // a chain comes after those that it reads
		for _, e := range l.edges {
			if e.from == c && e.sink == "" {
				l.subjects[c] |= l.subjects[l.of[e.to]]
			}
		}
	}
	return l, nil
}

// leave adds the edges for publications and for dead letters.
func (l *layout) leave() {
	if l.program.Publish != nil {
		for c, stages := range l.chains {
			if slices.ContainsFunc(stages, func(i int) bool { return len(operator.PortsOf[publish.Record](l.nodes[i])) > 0 }) {
				l.edges = append(l.edges, edge{c, nowhere, SinkTopics})
			}
		}
	}
	if name := l.program.Source.letters(); name != "" {
		l.edges = append(l.edges, edge{fromSource, nowhere, SinkTopic + name})
	}
}

// to is the number of the edge from a chain to a sink, -1 if there is none.
func (l *layout) to(from int, sink func(name string) bool) int {
	return slices.IndexFunc(l.edges, func(e edge) bool { return e.from == from && e.to == nowhere && sink(e.sink) })
}

// knows reports whether a stage of a subject is at the end of an edge or behind it.
func (l *layout) knows(e edge, subject operator.Subject) bool {
	return e.sink == "" && l.subjects[l.of[e.to]]&(1<<subject) != 0
}

// connect adds the edges to a stage: one from each chain, so that what one chain
// sends to a stage stays in order.
func (l *layout) connect(i int, n *operator.Node) error {
	for _, in := range n.Inputs {
		e := edge{from: fromSource, to: i, sink: l.program.Sinks[n.Name]}
		if in.From != operator.SourceNode {
			e.from = l.of[in.From]
		}
		if !slices.Contains(l.edges, e) {
			l.edges = append(l.edges, e)
		}
	}
	return n.Encodable()
}

// chain is the chain with a name, which is that of its head.
func (l *layout) chain(name string) (int, error) {
	if name == SourceChain {
		return fromSource, nil
	}
	for c, stages := range l.chains {
		if l.nodes[stages[0]].Name == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%w: there is no chain %q", ErrProtocol, name)
}

// A record whose event time is controlTime is none: it tells the stages of a
// subject that something was deleted. It travels where records do, so that it
// stays in order with those of its key, and is sent on to the chains behind.
const controlTime = event.Time(math.MinInt64)

// appendForget appends the payload of a deletion.
func appendForget(dst []byte, subject operator.Subject, key string) []byte {
	return append(append(dst, byte(subject)), key...)
}
