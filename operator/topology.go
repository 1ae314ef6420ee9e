package operator

import (
	"errors"
	"fmt"
	"slices"

	"millrace/operator/codec"
)

// ErrTopology is the error of stages that do not fit together.
var ErrTopology = errors.New("invalid topology")

// Subject says what kind of thing a stage's key identifies, so that a
// deletion reaches everything that is kept under the id.
type Subject uint8

// The subjects. Keys of other stages are not touched by deletions.
const (
	SubjectOther Subject = iota
	SubjectUser
	SubjectItem
)

// Stage describes one operator of a topology.
type Stage[K Key, S, I any] struct {
	// Name is unique and stable: keyed state is stored under it.
	Name string
	// Subject says what the key identifies.
	Subject Subject
	// Version is the version of the state format that Append writes, from 1.
	Version uint8
	// Key is the key of an input.
	Key func(in *I) K
	// New makes an instance for one shard. It declares the same ports each time.
	New func(p *Ports) Operator[K, S, I]
	// Combine, if set, merges records for one key before they cross the
	// exchange, so that a hot key costs one record a shard and block.
	Combine *Combiner[I]
	// Broadcast, if set, says which inputs every shard gets, instead of the one
	// that owns their key; they have none. The operator is a Broadcaster. What
	// a shard is sent from one place it gets in order, so that if the stage
	// reads the source, a broadcast record counts for exactly those after it.
	Broadcast func(in *I) bool
	// Codec is how inputs are written that come from another process; nil if
	// that is what they say themselves, see Record.
	Codec *codec.Codec[I]
	// TTL, if set, bounds how long a key is kept that is not used.
	TTL *TTL
	// Parallelism is over how many shards the stage is spread; 0 leaves it to
	// the engine. A chained stage has that of the stage before it.
	Parallelism int
}

// Combiner pre-aggregates the inputs of a stage on the sending side. The
// stage's fold must not use the Meta of combined inputs: what time means to
// it is in the record.
type Combiner[I any] struct {
	// Hash is equal for records that may be merged, besides their key.
	Hash func(in *I) uint64
	// Merge adds in to into and reports true, or reports false if the two
	// cannot be merged.
	Merge func(into, in *I) bool
}

// Topology is operators wired into a graph without cycles: one source, and
// stages in the order in which they were added, which is an order of the flow.
type Topology struct {
	nodes []*Node
	err   error
}

// Node is a stage of a topology with its types erased, for engines.
type Node struct {
	Name    string
	Subject Subject
	Version uint8
	// Level is how many exchanges lie between the source and this stage. A
	// stage that reads the source through an exchange by key has level 0.
	Level int
	// Ordered says that the records of a key arrive in the order of the source.
	Ordered bool
	// Broadcast says that the stage has inputs that every shard gets, and a
	// state that is stored under BroadcastKey.
	Broadcast bool
	// Parallelism is over how many shards the stage is to be spread, 0 if that
	// is left to the engine.
	Parallelism int
	// Inputs are where what the stage reads comes from.
	Inputs []Edge
	// Views are the views that the stage writes.
	Views []string
	// Outputs are the names of its output ports.
	Outputs []string

	outputs []portDecl
	def     definition
}

// Edge is a stream into a stage. From is the index of the stage that emits
// it, or SourceNode. A chained edge is a direct call within the shard: both
// stages have the same key.
type Edge struct {
	From    int
	Port    string
	Chained bool
}

// SourceNode stands for the source in an Edge.
const SourceNode = -1

// Handle names a stage that was added, to take its outputs.
type Handle struct {
	t    *Topology
	node int
}

// NewTopology makes a topology and its source, a stream of records of type T.
func NewTopology[T any]() (*Topology, Stream[T]) {
	t := &Topology{}
	return t, direct[T](t, SourceNode, "")
}

// direct is the stream of a port, or of the source.
func direct[T any](t *Topology, from int, port string) Stream[T] {
	attach := func(sink func(Meta, *T)) any { return sink }
	return Stream[T]{t: t, edges: []edge[T]{{from: from, port: port, direct: true, attach: attach}}}
}

// Nodes are the stages in the order of the flow. Not to be changed.
func (t *Topology) Nodes() []*Node { return t.nodes }

// Err is nil if all stages fit together.
func (t *Topology) Err() error { return t.err }

// Views are the names of all views that the topology writes, sorted.
func (t *Topology) Views() []string {
	var all []string
	for _, n := range t.nodes {
		all = append(all, n.Views...)
	}
	slices.Sort(all)
	return all
}

func (t *Topology) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("%w: %s", ErrTopology, fmt.Sprintf(format, args...))
	}
}

// Add adds a stage that reads in through an exchange by key.
func Add[K Key, S, I any](in Stream[I], stage Stage[K, S, I]) Handle {
	return add(in, stage, false)
}

// Chain adds a stage that reads in by direct calls within the shard. The
// stage must have the same keys as the one that emits in: the key of a record
// is the key that was being folded when it was emitted. It sees the records
// of a key in the order of the source if that stage does.
func Chain[K Key, S, I any](in Stream[I], stage Stage[K, S, I]) Handle {
	return add(in, stage, true)
}

func add[K Key, S, I any](in Stream[I], stage Stage[K, S, I], chained bool) Handle {
	t := in.t
	n := &Node{
		Name: stage.Name, Subject: stage.Subject, Version: stage.Version, Parallelism: stage.Parallelism,
		Broadcast: stage.Broadcast != nil,
		def:       typed[K, S, I]{stage, in.edges},
	}
	for _, e := range in.edges {
		n.Inputs = append(n.Inputs, Edge{From: e.from, Port: e.port, Chained: chained})
	}
	h := Handle{t: t, node: len(t.nodes)}
	if why := n.refused(t, stage.Key == nil || stage.New == nil, chained); why != "" {
		t.fail("%s", why)
		return h
	}
	n.place(t, chained)
	probe := NewPorts(&Context{}, nil, nil)
	op := stage.New(probe)
	n.outputs, n.Views = probe.outputs, probe.written
	for _, o := range n.outputs {
		n.Outputs = append(n.Outputs, o.name)
	}
	if _, ok := op.(Answerer[K, S]); !ok && len(n.Views) > 0 {
		t.fail("stage %q declares views but has no Answer", stage.Name)
	}
	if _, ok := op.(Broadcaster[I]); ok != n.Broadcast || n.Broadcast && (chained || stage.Combine != nil) {
		t.fail("stage %q: only a stage with Broadcast has a Broadcaster; it is not chained, and combines nothing", stage.Name)
	}
	for _, v := range n.Views {
		if slices.Contains(t.Views(), v) {
			t.fail("view %q has two writers", v)
		}
	}
	t.nodes = append(t.nodes, n)
	return h
}

// refused says why a stage can not be added, "" if it can.
func (n *Node) refused(t *Topology, incomplete, chained bool) string {
	switch {
	case n.Name == "" || n.Version == 0 || incomplete:
		return fmt.Sprintf("stage %q needs a name, a version from 1, a key and a constructor", n.Name)
	case n.Version >= headerMore:
		return fmt.Sprintf("stage %q: version %d: want 1 to %d", n.Name, n.Version, headerMore-1)
	case n.Parallelism < 0 || n.Parallelism > KeyGroups:
		return fmt.Sprintf("stage %q: parallelism %d: want 1 to %d, or 0", n.Name, n.Parallelism, KeyGroups)
	case slices.ContainsFunc(t.nodes, func(o *Node) bool { return o.Name == n.Name }):
		return fmt.Sprintf("two stages are called %q", n.Name)
	case len(n.Inputs) == 0:
		return fmt.Sprintf("stage %q reads nothing", n.Name)
	case chained && len(n.Inputs) > 1:
		return fmt.Sprintf("stage %q cannot be chained to a union", n.Name)
	case chained && n.Inputs[0].From == SourceNode:
		return fmt.Sprintf("stage %q cannot be chained to the source: the source has no key", n.Name)
	case chained && n.Parallelism != 0:
		return fmt.Sprintf("stage %q is chained: its parallelism is that of the stage before it", n.Name)
	}
	return ""
}

// place finds the stage's level and whether its records come in order.
func (n *Node) place(t *Topology, chained bool) {
	n.Ordered = true
	for _, in := range n.Inputs {
		if in.From == SourceNode {
			continue
		}
		up := t.nodes[in.From]
		if chained {
			n.Level, n.Ordered, n.Parallelism = up.Level, up.Ordered, up.Parallelism
			continue
		}
		n.Level, n.Ordered = max(n.Level, up.Level+1), false
	}
}

// From is the stream of records of type O that a stage emits at a port.
func From[O any](h Handle, port string) Stream[O] {
	if h.node >= len(h.t.nodes) {
		return direct[O](h.t, SourceNode, port) // the stage itself failed, which is the error to report
	}
	n := h.t.nodes[h.node]
	for _, o := range n.outputs {
		if o.name != port {
			continue
		}
		if want := fmt.Sprintf("%T", *new(O)); o.kind != want {
			h.t.fail("port %q of stage %q emits %s, not %s", port, n.Name, o.kind, want)
		}
		return direct[O](h.t, h.node, port)
	}
	h.t.fail("stage %q has no port %q", n.Name, port)
	return direct[O](h.t, SourceNode, port)
}

// PortsOf are the output ports of a stage that emit records of type O, in the
// order in which they were declared.
func PortsOf[O any](n *Node) []string {
	var ports []string
	for _, o := range n.outputs {
		if o.kind == fmt.Sprintf("%T", *new(O)) {
			ports = append(ports, o.name)
		}
	}
	return ports
}
