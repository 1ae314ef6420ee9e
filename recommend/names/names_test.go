package names

import (
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
)

// Numbers are given once, what was handed out stays as it is, and the order
// of numbers is that of the ids.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New()
		ids := map[string]uint32{}
		var before []string
		for range rapid.IntRange(1, 60).Draw(t, "ids") {
			name := rapid.SampledFrom([]string{"", "commonprefix", "a"}).Draw(t, "prefix") + rapid.StringN(1, 3, 12).Draw(t, "name")
			id := table.ID(name)
			if known, ok := ids[name]; ok && known != id || id == 0 || int(id) >= table.Len() {
				t.Fatalf("%q has the number %d, and %d before, of %d", name, id, known, table.Len())
			}
			if table.Name(id) != name || table.Hash(id) != event.HashID(name) || table.Hashes()[id] != table.Hash(id) {
				t.Fatalf("%d is %q with hash %x", id, table.Name(id), table.Hash(id))
			}
			for other, o := range ids {
				if cmp.Compare(table.Compare(id, o), 0) != strings.Compare(name, other) {
					t.Fatalf("%q and %q compare as %d", name, other, table.Compare(id, o))
				}
			}
			ids[name] = id
			for i, name := range before {
				if table.Names()[i] != name {
					t.Fatalf("number %d was %q and is %q", i, name, table.Names()[i])
				}
			}
			before = table.Names()
		}
		if table.Len() != len(ids)+1 {
			t.Fatalf("%d numbers for %d ids", table.Len()-1, len(ids))
		}
	})
}
