package catalog

import "millrace/event"

// TakeDirty is what has changed since it was last called: for every item and
// user that was touched its present value as a put, or its deletion. A copy
// that was equal to the Index at the last call is equal to it again once
// these have been applied in order, be it an Index, a Store or a map of the
// values. The order is that of the first touch. It takes no longer for many
// changes than for few, so a checkpoint can write them while the fold goes
// on. It writes.
func (x *Index) TakeDirty() []event.Change {
	changes := x.dirty.changes
	x.dirty = dirty{}
	return changes
}

// dirty is the changes since the last checkpoint, one an id where that is
// enough. The zero value is ready.
type dirty struct {
	changes []event.Change
	items   map[string]int // id -> position of its last change
	users   map[string]int
}

// add notes a PutItem with its final Created, a PutUser, or a deletion.
func (d *dirty) add(c event.Change) {
	if d.items == nil {
		d.items, d.users = map[string]int{}, map[string]int{}
	}
	positions, id := d.users, ""
	switch c.Kind {
	case event.PutItem, event.DeleteItem:
		positions, id = d.items, c.Item.ID
	default:
		id = c.User.ID
	}
	at, seen := positions[id]
	// A put without Created keeps the Created of the copy that it is applied
	// to. Where the item was deleted in between there is nothing to keep, so
	// then the deletion must stay before the put.
	if seen && c.Kind == event.PutItem && c.Item.Created == 0 && d.changes[at].Kind == event.DeleteItem {
		seen = false
	}
	if seen {
		d.changes[at] = c
		return
	}
	positions[id] = len(d.changes)
	d.changes = append(d.changes, c)
}
