package operator

import (
	"fmt"
	"slices"
)

// Stream is a flow of records of one type: the source, an output port, or
// several of these, with what is done to each record on the way. What is done
// on the way keeps nothing and knows no key; it runs where the record is sent.
type Stream[T any] struct {
	t     *Topology
	edges []edge[T]
}

// edge is one way on which records of a stream come.
type edge[T any] struct {
	from   int // index of the stage that emits, or SourceNode
	port   string
	direct bool // nothing is done on the way
	// attach makes of what takes records of the stream what takes those of
	// the port.
	attach func(sink func(Meta, *T)) any
}

// Ordered reports whether a stage that reads the stream sees the records of a key
// in the order of the source, on every engine: that needs a stream that comes
// from the source without an exchange before it.
func (s Stream[T]) Ordered() bool {
	return !slices.ContainsFunc(s.edges, func(e edge[T]) bool { return e.from != SourceNode })
}

// step is a stream that does something to the records of another: via makes of
// what takes the new records what takes the old ones.
func step[T, O any](in Stream[T], via func(sink func(Meta, *O)) func(Meta, *T)) Stream[O] {
	out := Stream[O]{t: in.t}
	for _, e := range in.edges {
		out.edges = append(out.edges, edge[O]{from: e.from, port: e.port, attach: func(sink func(Meta, *O)) any {
			return e.attach(via(sink))
		}})
	}
	return out
}

// Map is a stream with another record in place of each: fn fills out, which is
// a zero O, from in.
func Map[T, O any](in Stream[T], fn func(in *T, out *O)) Stream[O] {
	return step(in, func(sink func(Meta, *O)) func(Meta, *T) {
		record := new(O)
		return func(m Meta, v *T) {
			*record = *new(O)
			fn(v, record)
			sink(m, record)
		}
	})
}

// Filter is a stream with the records for which keep is true.
func Filter[T any](in Stream[T], keep func(in *T) bool) Stream[T] {
	return step(in, func(sink func(Meta, *T)) func(Meta, *T) {
		return func(m Meta, v *T) {
			if keep(v) {
				sink(m, v)
			}
		}
	})
}

// FlatMap is a stream with any number of records in place of each: fn emits
// them.
func FlatMap[T, O any](in Stream[T], fn func(in *T, emit func(*O))) Stream[O] {
	return step(in, func(sink func(Meta, *O)) func(Meta, *T) {
		var meta Meta
		emit := func(v *O) { sink(meta, v) }
		return func(m Meta, v *T) {
			meta = m
			fn(v, emit)
		}
	})
}

// Union is a stream with the records of several. There is no union of nothing:
// it would belong to no topology, so that none could refuse it.
func Union[T any](first Stream[T], others ...Stream[T]) Stream[T] {
	all := Stream[T]{t: first.t, edges: slices.Clone(first.edges)}
	for _, s := range others {
		if s.t != all.t {
			for _, t := range []*Topology{all.t, s.t} {
				t.fail("a union of streams of two topologies")
			}
		}
		all.edges = append(all.edges, s.edges...)
	}
	return all
}

// bind makes of an edge's sink what takes records of the port.
func (d typed[K, S, I]) bind(i int, sink any) any {
	e := &d.edges[i]
	switch f := sink.(type) {
	case func(Meta, *I):
		return e.attach(f)
	case RawSink:
		return e.attach(func(m Meta, v *I) { f(m, v) })
	}
	panic(fmt.Sprintf("operator: stage %q reads %T, bound to a %T", d.stage.Name, *new(I), sink))
}

// Bind makes of sink, which takes the stage's inputs and is a func(Meta, *I) or
// a RawSink, what takes the records of the port, or of the source, that the
// stage's input i comes from.
func (n *Node) Bind(i int, sink any) any { return n.def.bind(i, sink) }

// Refuse has the topology report an error, for builders of stages.
func (s Stream[T]) Refuse(err error) {
	if s.t.err == nil {
		s.t.err = err
	}
}

// Process is a stream of what fn makes of each record and of what travels with
// it.
func Process[T, O any](in Stream[T], fn func(m Meta, in *T, emit func(*O))) Stream[O] {
	return step(in, func(sink func(Meta, *O)) func(Meta, *T) {
		var meta Meta
		emit := func(v *O) { sink(meta, v) }
		return func(m Meta, v *T) {
			meta = m
			fn(m, v, emit)
		}
	})
}
