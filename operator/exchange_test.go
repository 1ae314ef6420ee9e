package operator_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/event"
	"millrace/operator"
)

// Records reach the shard that owns their key, sender by sender, whatever the
// number of shards; with a combiner, a hot key is one record a sender.
func TestExchangeRoutesByKey(t *testing.T) {
	for _, shards := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			topology, source := operator.NewTopology[note]()
			stage := ledgerStage("ledger")
			stage.Combine = &operator.Combiner[note]{
				Hash:  func(*note) uint64 { return 0 },
				Merge: func(into, in *note) bool { into.Add += in.Add; return true },
			}
			operator.Add(source, stage)
			node := topology.Nodes()[0]
			x := node.NewExchange(2, shards)
			for sender := range 2 {
				send := x.Sender(sender).(func(operator.Meta, *note))
				for i := range 300 {
					send(at(event.Time(i), 0), &note{Key: fmt.Sprint("k", i%3), Add: 1})
				}
			}
			records, total := 0, map[string]int64{}
			for shard := range shards {
				records += x.Pending(shard)
				b := newBench(t)
				for x.Deliver(shard, b.Table, 7) {
				}
				b.Answers()
				for key, v := range b.views {
					if owner := operator.ShardOf(node.Group(key), shards); owner != shard {
						t.Errorf("key %s reached shard %d, owner is %d", key, shard, owner)
					}
					total[key] += int64(v.(sum))
				}
				if x.Pending(shard) != 0 {
					t.Error("delivered records are still pending")
				}
			}
			if records != 6 {
				t.Errorf("%d records crossed, want one a key and sender: 6", records)
			}
			if diff := cmp.Diff(map[string]int64{"k0": 200, "k1": 200, "k2": 200}, total); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTopologyRefusesWhatDoesNotFit(t *testing.T) {
	stage := ledgerStage("ledger")
	for name, build := range map[string]func() *operator.Topology{
		"same name twice": func() *operator.Topology {
			t, source := operator.NewTopology[note]()
			operator.Add(source, stage)
			operator.Add(source, stage)
			return t
		},
		"unknown port": func() *operator.Topology {
			t, source := operator.NewTopology[note]()
			operator.Add(operator.From[note](operator.Add(source, stage), "nothing"), ledgerStage("second"))
			return t
		},
		"wrong type": func() *operator.Topology {
			t, source := operator.NewTopology[note]()
			operator.From[int](operator.Add(source, stage), "sums")
			return t
		},
		"chained to the source": func() *operator.Topology {
			t, source := operator.NewTopology[note]()
			operator.Chain(source, stage)
			return t
		},
		"no version": func() *operator.Topology {
			t, source := operator.NewTopology[note]()
			s := stage
			s.Version = 0
			operator.Add(source, s)
			return t
		},
	} {
		if err := build().Err(); !errors.Is(err, operator.ErrTopology) {
			t.Errorf("%s: got %v, want ErrTopology", name, err)
		}
	}
}

// Levels count exchanges; order survives chains and ends at an exchange.
func TestTopologyPlacesStages(t *testing.T) {
	topology, source := operator.NewTopology[note]()
	a := operator.Add(source, ledgerStage("a"))
	b := operator.Chain(operator.From[note](a, "sums"), ledgerStage("b"))
	c := operator.Add(operator.From[note](b, "sums"), ledgerStage("c"))
	operator.Chain(operator.From[note](c, "sums"), ledgerStage("d"))
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range topology.Nodes() {
		got[n.Name] = fmt.Sprint(n.Level, n.Ordered)
	}
	want := map[string]string{"a": "0 true", "b": "0 true", "c": "1 false", "d": "1 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Key groups are part of the format of checkpoints: they never change.
func TestKeyGroupsAreStable(t *testing.T) {
	for key, want := range map[string]int{"": 25, "1": 84, "user-42": 1} {
		if got := operator.KeyGroup(key); got != want {
			t.Errorf("KeyGroup(%q) = %d, want %d", key, got, want)
		}
	}
	if got := operator.KeyGroup(uint64(42)); got != 34 {
		t.Errorf("KeyGroup(42) = %d, want 34", got)
	}
}
