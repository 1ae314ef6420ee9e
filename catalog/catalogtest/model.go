package catalogtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/event"
)

// Model is a catalogue as the plainest code would keep it, which is what
// stores and indexes are compared with. The zero value is ready.
type Model struct {
	Applied uint64
	Items   map[string]event.Item
	Users   map[string]event.User
}

// Apply does what catalog.Store says of Apply, for changes that are valid.
func (m *Model) Apply(block uint64, changes []event.Change) {
	if block <= m.Applied {
		return
	}
	m.Applied = block
	if m.Items == nil {
		m.Items, m.Users = map[string]event.Item{}, map[string]event.User{}
	}
	for _, c := range changes {
		m.change(c)
	}
}

func (m *Model) change(c event.Change) {
	switch c.Kind {
	case event.PutItem:
		item := *c.Item
		if old, ok := m.Items[item.ID]; ok && item.Created == 0 {
			item.Created = old.Created
		}
		m.Items[item.ID] = item
	case event.EnsureItem:
		if _, ok := m.Items[c.Item.ID]; !ok {
			m.Items[c.Item.ID] = event.Item{ID: c.Item.ID, Created: c.Item.Created}
		}
	case event.DeleteItem:
		delete(m.Items, c.Item.ID)
	case event.PutUser:
		m.Users[c.User.ID] = *c.User
	case event.EnsureUser:
		if _, ok := m.Users[c.User.ID]; !ok {
			m.Users[c.User.ID] = event.User{ID: c.User.ID}
		}
	case event.DeleteUser:
		delete(m.Users, c.User.ID)
	}
}

// Clone is a copy that changes on its own.
func (m *Model) Clone() *Model {
	return &Model{Applied: m.Applied, Items: maps.Clone(m.Items), Users: maps.Clone(m.Users)}
}

// SortedItems is the items in order of id.
func (m *Model) SortedItems() []*event.Item {
	return sorted(m.Items, func(a, b *event.Item) int { return cmp.Compare(a.ID, b.ID) })
}

// SortedUsers is the users in order of id.
func (m *Model) SortedUsers() []*event.User {
	return sorted(m.Users, func(a, b *event.User) int { return cmp.Compare(a.ID, b.ID) })
}

func sorted[V any](byID map[string]V, order func(a, b *V) int) []*V {
	list := make([]*V, 0, len(byID))
	for _, v := range byID {
		list = append(list, &v)
	}
	slices.SortFunc(list, order)
	return list
}

// String is all of the catalogue as text, a line a row.
func (m *Model) String() string { return Text(m.Applied, m.SortedItems(), m.SortedUsers()) }

// Text writes a catalogue as text, a line a row: equal texts are equal
// catalogues.
func Text(applied uint64, items []*event.Item, users []*event.User) string {
	var b strings.Builder
	fmt.Fprintf(&b, "applied %d\n", applied)
	for _, item := range items {
		b.WriteString(ItemText(item) + "\n")
	}
	for _, user := range users {
		b.WriteString(UserText(user) + "\n")
	}
	return b.String()
}

// ItemText writes an item as one line that shows every field that is set.
func ItemText(item *event.Item) string {
	line := fmt.Sprintf("item %q", item.ID)
	if item.Title != "" {
		line += fmt.Sprintf(" title=%q", item.Title)
	}
	if len(item.Categories) > 0 {
		line += fmt.Sprintf(" categories=%q", item.Categories)
	}
	if len(item.Tags) > 0 {
		line += fmt.Sprintf(" tags=%q", item.Tags)
	}
	if item.Hidden {
		line += " hidden"
	}
	if item.Created != 0 {
		line += fmt.Sprintf(" created=%d", int64(item.Created))
	}
	if len(item.Metadata) > 0 {
		line += fmt.Sprintf(" metadata=%s", item.Metadata)
	}
	return line
}

// UserText writes a user as one line that shows every field that is set.
func UserText(user *event.User) string {
	line := fmt.Sprintf("user %q", user.ID)
	if user.Age != 0 {
		line += fmt.Sprintf(" age=%d", user.Age)
	}
	if user.Gender != "" {
		line += fmt.Sprintf(" gender=%q", user.Gender)
	}
	if len(user.Labels) > 0 {
		line += fmt.Sprintf(" labels=%q", user.Labels)
	}
	return line
}
