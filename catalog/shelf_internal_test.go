package catalog

import (
	"testing"

	"millrace/event"
)

// TestEmptyShelvesAreDropped bounds the memory of an Index by what is in it,
// not by every category that ever was.
func TestEmptyShelvesAreDropped(t *testing.T) {
	index := NewIndex()
	for _, category := range []string{"a", "b", "c"} {
		index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: "x", Categories: []string{category}}})
		if n := index.shelves.Size(); n != 2 {
			t.Fatalf("%d shelves for category %s, expected its own and that of all", n, category)
		}
	}
	index.Apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: "x"}})
	if n := index.shelves.Size(); n != 0 {
		t.Fatalf("%d shelves for no items", n)
	}
}
