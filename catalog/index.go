package catalog

import (
	"cmp"
	"iter"
	"slices"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v4"

	"millrace/event"
)

// Index is the catalogue in memory: every item, and the users that something
// is known of beyond their existence. One goroutine at a time may call the
// methods that are said to write; all others may be called from any goroutine
// meanwhile, take no lock, and see every value and every list whole, though
// perhaps one list with a change and the next still without it. Values are
// shared and immutable: neither the Index nor its callers change an item or a
// user once it is in here.
//
// The zero value is not usable; see NewIndex.
type Index struct {
	items   itemTable
	users   *xsync.Map[string, *event.User]
	shelves *xsync.Map[string, *shelf] // by category, and everything under ""
	dirty   dirty
}

// NewIndex is an empty Index.
func NewIndex() *Index {
	return &Index{
		users:   xsync.NewMap[string, *event.User](),
		shelves: xsync.NewMap[string, *shelf](),
	}
}

// Apply folds one change into the Index, which keeps the change's Item or
// User. The fold is that of Store.Apply, but for users that carry no
// attribute (age, gender, labels), which are not kept. A change that Check
// refuses for its kind, a missing value or an empty id does nothing, as no
// Store will hold it either. It writes.
func (x *Index) Apply(c event.Change) {
	switch c.Kind {
	case event.PutItem, event.EnsureItem, event.DeleteItem:
		if c.Item != nil && c.Item.ID != "" {
			x.applyItem(c.Kind, c.Item)
		}
	case event.PutUser, event.DeleteUser:
		if c.User != nil && c.User.ID != "" {
			x.applyUser(c.Kind, c.User)
		}
	}
}

func (x *Index) applyItem(kind event.ChangeKind, item *event.Item) {
	old := x.Item(item.ID)
	switch kind {
	case event.PutItem:
		item = Replace(old, item)
	case event.EnsureItem:
		if old != nil {
			return
		}
		item = &event.Item{ID: item.ID, Created: item.Created}
	case event.DeleteItem:
		if old == nil {
			return
		}
		x.items.remove(old.ID)
		x.shelve(old, nil)
		x.dirty.add(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: old.ID}})
		return
	}
	x.items.store(item)
	x.shelve(old, item)
	x.dirty.add(event.Change{Kind: event.PutItem, Item: item})
}

func (x *Index) applyUser(kind event.ChangeKind, user *event.User) {
	if kind == event.PutUser && hasAttributes(user) {
		x.users.Store(user.ID, user)
		x.dirty.add(event.Change{Kind: event.PutUser, User: user})
		return
	}
	if old, ok := x.users.LoadAndDelete(user.ID); ok {
		x.dirty.add(event.Change{Kind: event.DeleteUser, User: &event.User{ID: old.ID}})
	}
}

// hasAttributes says whether anything is known of the user but the id.
func hasAttributes(u *event.User) bool {
	return u.Age != 0 || u.Gender != "" || len(u.Labels) > 0
}

// Load replaces everything with the given items and users, each id once, and
// leaves nothing dirty: the Index is as it was when a checkpoint took them.
// It is faster than applying them one by one. A reader that does not wait for
// it may see a part. It writes.
func (x *Index) Load(items iter.Seq[*event.Item], users iter.Seq[*event.User]) {
	x.items.clear()
	x.users.Clear()
	for item := range items {
		x.items.store(item)
	}
	for user := range users {
		if hasAttributes(user) {
			x.users.Store(user.ID, user)
		}
	}
	x.stockShelves()
	x.dirty = dirty{}
}

// Item is the item of that id, nil where it is not known.
func (x *Index) Item(id string) *event.Item {
	return x.items.load(id, event.HashID(id))
}

// HashedItem is Item for whoever knows event.HashID of the id.
func (x *Index) HashedItem(id string, hash uint64) *event.Item { return x.items.load(id, hash) }

// ItemBytes is Item for an id that is still a part of some buffer. It
// allocates nothing and keeps nothing of id.
func (x *Index) ItemBytes(id []byte) *event.Item {
	// Item neither keeps nor changes its key, so the string may share the
	// buffer for the length of the call.
	return x.Item(unsafe.String(unsafe.SliceData(id), len(id)))
}

// User is the user of that id, nil where nothing is known of them but,
// perhaps, that they exist.
func (x *Index) User(id string) *event.User {
	user, _ := x.users.Load(id)
	return user
}

// Len is how many items, and how many users with attributes, there are.
func (x *Index) Len() (items, users int) { return int(x.items.size.Load()), x.users.Size() }

// Items is every item in order of id. It takes memory and time to sort them
// when the iteration starts; changes that come later are not in it. Between
// changes it is exact; during one, that change is in it or not.
func (x *Index) Items() iter.Seq[*event.Item] {
	return sorted(x.items.all, func(a, b *event.Item) int { return cmp.Compare(a.ID, b.ID) })
}

// Users is every user that has attributes in order of id, as Items.
func (x *Index) Users() iter.Seq[*event.User] {
	all := func(yield func(*event.User) bool) {
		x.users.Range(func(_ string, u *event.User) bool { return yield(u) })
	}
	return sorted(all, func(a, b *event.User) int { return cmp.Compare(a.ID, b.ID) })
}

func sorted[V any](all iter.Seq[V], order func(a, b V) int) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range slices.SortedFunc(all, order) {
			if !yield(v) {
				return
			}
		}
	}
}
