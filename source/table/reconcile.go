package table

import (
	"context"
	"errors"
	"fmt"

	"millrace/event"
)

// ErrTooManyDeleted says that more is gone from a table than is deleted at once.
var ErrTooManyDeleted = errors.New("too much is gone from the table at once")

// leastDeleted may always be gone.
const leastDeleted = 10

// reconcile imports all rows, which finds what was committed later than the
// overlap, and deletes what is described in the catalogue and not in the table
// any more. All that was imported before is in the catalogue by now, and was in
// the table before this began, so what is missing is gone. Items of which only
// events have told stay.
func (i *Importer) reconcile(ctx context.Context, f *follower) error {
	there := map[string]bool{}
	if err := i.readAll(ctx, f, there); err != nil {
		return err
	}
	known := 0
	var changes []event.Change
	if f.name == "items" {
		for item := range i.o.Catalogue.Items() {
			if item.Title == "" && len(item.Categories) == 0 && len(item.Tags) == 0 && len(item.Metadata) == 0 {
				continue
			}
			if known++; !there[item.ID] {
				changes = append(changes, event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: item.ID}})
			}
		}
	} else {
		for user := range i.o.Catalogue.Users() {
			if known++; !there[user.ID] {
				changes = append(changes, event.Change{Kind: event.DeleteUser, User: &event.User{ID: user.ID}})
			}
		}
	}
	if n := len(changes); n > leastDeleted && float64(n) > i.o.Config.MaxDeleted*float64(known) {
		return fmt.Errorf("%w: %d of %d %s are not in the table any more, and import.max_deleted is %v: if that is right, raise it",
			ErrTooManyDeleted, n, known, f.name, i.o.Config.MaxDeleted)
	}
	for len(changes) > 0 {
		n := min(len(changes), f.pageRows)
		if err := i.o.Log.Append(ctx, changes[:n], f.source, f.mark); err != nil {
			return err
		}
		for _, c := range changes[:n] { // one that comes back is another one
			if c.Item != nil {
				delete(f.seen, c.Item.ID)
			} else {
				delete(f.seen, c.User.ID)
			}
		}
		changes = changes[n:]
	}
	return nil
}
