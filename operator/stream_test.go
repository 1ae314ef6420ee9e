package operator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/event"
	"millrace/operator"
)

// heard is what a stage that reads a stream is told.
func heard(t *testing.T, build func(source operator.Stream[note]) operator.Stream[note]) []string {
	t.Helper()
	topology, source := operator.NewTopology[note]()
	operator.Add(build(source), ledgerStage("ledger"))
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	var all []string
	n := topology.Nodes()[0]
	for i := range n.Inputs {
		send := n.Bind(i, func(m operator.Meta, in *note) {
			all = append(all, fmt.Sprintf("%s=%d@%d,%d", in.Key, in.Add, m.Time, m.Watermark))
		}).(func(operator.Meta, *note))
		for add := range int64(3) {
			send(at(event.Time(add), -1), &note{Key: "k", Add: add})
		}
	}
	return all
}

func TestStreams(t *testing.T) {
	for name, c := range map[string]struct {
		build func(operator.Stream[note]) operator.Stream[note]
		want  []string
	}{
		"map": {func(s operator.Stream[note]) operator.Stream[note] {
			return operator.Map(s, func(in, out *note) { out.Key, out.Add = in.Key, out.Add+in.Add*10 }) // out is zero
		}, []string{"k=0@0,-1", "k=10@1,-1", "k=20@2,-1"}},
		"filter": {func(s operator.Stream[note]) operator.Stream[note] {
			return operator.Filter(s, func(in *note) bool { return in.Add != 1 })
		}, []string{"k=0@0,-1", "k=2@2,-1"}},
		"flat map": {func(s operator.Stream[note]) operator.Stream[note] {
			return operator.FlatMap(s, func(in *note, emit func(*note)) {
				for i := range in.Add {
					emit(&note{Key: "m", Add: i})
				}
			})
		}, []string{"m=0@1,-1", "m=0@2,-1", "m=1@2,-1"}},
		"process": {func(s operator.Stream[note]) operator.Stream[note] {
			return operator.Process(s, func(m operator.Meta, in *note, emit func(*note)) {
				if m.Time > 0 {
					emit(&note{Key: "p", Add: int64(m.Watermark)})
				}
			})
		}, []string{"p=-1@1,-1", "p=-1@2,-1"}},
		"several steps": {func(s operator.Stream[note]) operator.Stream[note] {
			odd := operator.Filter(s, func(in *note) bool { return in.Add%2 == 1 })
			return operator.Map(odd, func(in, out *note) { out.Key, out.Add = "s", in.Add })
		}, []string{"s=1@1,-1"}},
		"union, also of a stream with itself": {func(s operator.Stream[note]) operator.Stream[note] {
			two := operator.Filter(s, func(in *note) bool { return in.Add == 2 })
			return operator.Union(two, s, two)
		}, []string{"k=2@2,-1", "k=0@0,-1", "k=1@1,-1", "k=2@2,-1", "k=2@2,-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, heard(t, c.build)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every error of a topology says what is wrong with which stage.
func TestErrorsOfStreams(t *testing.T) {
	stage := ledgerStage("ledger")
	for want, build := range map[string]func(t *operator.Topology, source operator.Stream[note]){
		"two topologies": func(_ *operator.Topology, source operator.Stream[note]) {
			_, other := operator.NewTopology[note]()
			operator.Union(source, other)
		},
		"of two topologies": func(_ *operator.Topology, source operator.Stream[note]) {
			_, other := operator.NewTopology[note]()
			operator.Add(operator.Union(other, source), stage) // of the other one
		},
		"cannot be chained to a union": func(_ *operator.Topology, source operator.Stream[note]) {
			a := operator.From[note](operator.Add(source, stage), "sums")
			operator.Chain(operator.Union(a, a), ledgerStage("b"))
		},
		"its parallelism is that of the stage before it": func(_ *operator.Topology, source operator.Stream[note]) {
			b := ledgerStage("b")
			b.Parallelism = 2
			operator.Chain(operator.From[note](operator.Add(source, stage), "sums"), b)
		},
		"parallelism 129": func(_ *operator.Topology, source operator.Stream[note]) {
			b := stage
			b.Parallelism = 129
			operator.Add(source, b)
		},
		"version 128": func(_ *operator.Topology, source operator.Stream[note]) {
			b := stage
			b.Version = 128
			operator.Add(source, b)
		},
		`has no port "what"`: func(_ *operator.Topology, source operator.Stream[note]) {
			operator.From[note](operator.Add(source, stage), "what")
		},
		"two writers": func(_ *operator.Topology, source operator.Stream[note]) {
			b := stage
			b.Name = "b"
			operator.Add(source, stage)
			operator.Add(source, b) // writes the view of the first
		},
		"refused by its builder": func(_ *operator.Topology, source operator.Stream[note]) {
			source.Refuse(fmt.Errorf("%w: refused by its builder", operator.ErrTopology))
			operator.Add(source, operator.Stage[string, int64, note]{}) // the first error is kept
		},
	} {
		t.Run(want, func(t *testing.T) {
			topology, source := operator.NewTopology[note]()
			build(topology, source)
			err := topology.Err()
			if !errors.Is(err, operator.ErrTopology) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// A stage behind a union is one level below the lowest stage that it reads.
func TestLevelOfAUnion(t *testing.T) {
	topology, source := operator.NewTopology[note]()
	a := operator.From[note](operator.Add(source, ledgerStage("a")), "sums")
	b := operator.From[note](operator.Add(a, ledgerStage("b")), "sums")
	operator.Add(operator.Union(source, a, b), ledgerStage("c"))
	n := topology.Nodes()[2]
	if err := topology.Err(); err != nil || n.Level != 2 || n.Ordered || len(n.Inputs) != 3 {
		t.Errorf("%v: level %d, ordered %v, %d inputs", err, n.Level, n.Ordered, len(n.Inputs))
	}
}
