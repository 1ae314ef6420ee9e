package operator_test

import (
	"testing"

	"millrace/operator"
)

// While the deletion of a key is on its way to the disk, what the disk still
// has of the key is not read back.
func TestDeletionThatIsNotStoredYet(t *testing.T) {
	topology, source := operator.NewTopology[note]()
	operator.Add(source, ledgerStage("ledger"))
	disk := map[string][]byte{}
	table := topology.Nodes()[0].NewTable(operator.Shard{
		Views: func(operator.ViewWrite) {},
		Cold: func(_ string, key []byte) ([]byte, bool, error) {
			value, ok := disk[string(key)]
			return value, ok, nil
		},
	})
	fold := table.Sink().(func(operator.Meta, *note))
	checkpoint := func() []operator.StateWrite {
		table.Answers()
		table.BeginCheckpoint()
		for table.Encode(1) > 0 {
		}
		return table.TakeWrites()
	}
	fold(at(1, 0), &note{Key: "a", Add: 40})
	for _, w := range checkpoint() {
		disk[string(w.Key)] = w.Value
	}
	table.Evict(0)
	fold(at(2, 0), &note{Key: "a", Forget: true})
	if writes := checkpoint(); len(writes) != 1 || writes[0].Value != nil {
		t.Fatalf("the checkpoint has %v, want a deletion", writes)
	}
	fold(at(3, 0), &note{Key: "a", Add: 2}) // the deletion is not on the disk yet
	fresh := newBench(t)
	fresh.fold(at(3, 0), &note{Key: "a", Add: 2})
	if got, want := contents(t, table)["a"], contents(t, fresh)["a"]; got != want {
		t.Errorf("the key has %q, want %q: what was deleted came back", got, want)
	}
}
