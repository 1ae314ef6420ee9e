package sqlstore

import (
	"cmp"
	"slices"

	"millrace/catalog"
	"millrace/event"
)

// net is what the changes of a block to one row come to. Whatever they are
// and however many, they are equal to at most three, in this order: delete
// the row, insert one where there is none, write one. (A second insert finds
// the first; a deletion makes what came before it vain; a later write covers
// an earlier one.) So a block is three kinds of statements a table, each over
// rows of different ids, which every database takes in batches and in order
// of id.
type net[R any] struct {
	id     string
	remove bool
	ensure *R // nil for none
	put    *R // nil for none
}

// netting collects the net changes to one table.
type netting[R any] struct {
	// replace is what a put makes of an earlier put.
	replace func(old, next *R) *R
	rows    []net[R]
	byID    map[string]int // position in rows
}

func (t *netting[R]) row(id string) *net[R] {
	if t.byID == nil {
		t.byID = map[string]int{}
	}
	at, ok := t.byID[id]
	if !ok {
		at = len(t.rows)
		t.byID[id] = at
		t.rows = append(t.rows, net[R]{id: id})
	}
	return &t.rows[at]
}

func (t *netting[R]) put(id string, next *R) {
	row := t.row(id)
	row.put = t.replace(row.put, next)
}

func (t *netting[R]) ensure(id string, next *R) {
	if row := t.row(id); row.put == nil && row.ensure == nil {
		row.ensure = next
	}
}

func (t *netting[R]) remove(id string) {
	*t.row(id) = net[R]{id: id, remove: true}
}

// take gives the net changes in order of id.
func (t *netting[R]) take() (removes []string, ensures, puts []*R) {
	slices.SortFunc(t.rows, func(a, b net[R]) int { return cmp.Compare(a.id, b.id) })
	for _, row := range t.rows {
		if row.remove {
			removes = append(removes, row.id)
		}
		if row.ensure != nil {
			ensures = append(ensures, row.ensure)
		}
		if row.put != nil {
			puts = append(puts, row.put)
		}
	}
	return removes, ensures, puts
}

// fold nets the changes of a block; the error wraps catalog.ErrInvalid.
func fold(changes []event.Change) (*netting[event.Item], *netting[event.User], error) {
	items := &netting[event.Item]{replace: catalog.Replace}
	users := &netting[event.User]{replace: func(_, next *event.User) *event.User { return next }}
	for _, c := range changes {
		if err := catalog.Check(c); err != nil {
			return nil, nil, err
		}
		switch c.Kind {
		case event.PutItem:
			items.put(c.Item.ID, c.Item)
		case event.EnsureItem:
			items.ensure(c.Item.ID, &event.Item{ID: c.Item.ID, Created: c.Item.Created})
		case event.DeleteItem:
			items.remove(c.Item.ID)
		case event.PutUser:
			users.put(c.User.ID, c.User)
		case event.EnsureUser:
			users.ensure(c.User.ID, &event.User{ID: c.User.ID})
		case event.DeleteUser:
			users.remove(c.User.ID)
		}
	}
	return items, users, nil
}
