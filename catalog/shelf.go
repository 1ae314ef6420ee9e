package catalog

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/RaduBerinde/btreemap"

	"millrace/event"
)

// MaxNewest is the length of the longest list that Index.Newest gives.
const MaxNewest = 200

// CategoryCount is a category and how many items that are not hidden are in
// it, at least 1.
type CategoryCount struct {
	Category string
	Items    int
}

// Newest is the n items of the category that were created last, newest
// first and by id where they were created together; "" is every category and
// items that have none. Hidden items are left out, and an item whose creation
// is not known counts as created in 1970. There are fewer than n where the
// category is smaller, and never more than MaxNewest. It allocates nothing;
// the list is shared and must not be changed.
func (x *Index) Newest(category string, n int) []*event.Item {
	s, ok := x.shelves.Load(category)
	if !ok {
		return nil
	}
	list := *s.newest.Load()
	n = max(0, min(n, len(list)))
	return list[:n:n]
}

// Categories is every category that has an item that is not hidden, in order
// of name. An item without categories, or in the category "", counts in none.
func (x *Index) Categories() []CategoryCount {
	list := make([]CategoryCount, 0, x.shelves.Size())
	x.shelves.Range(func(category string, s *shelf) bool {
		if n := s.size.Load(); category != "" && n > 0 {
			list = append(list, CategoryCount{category, int(n)})
		}
		return true
	})
	slices.SortFunc(list, func(a, b CategoryCount) int { return cmp.Compare(a.Category, b.Category) })
	return list
}

// shelve moves an item from the shelves of its old value to those of its new
// one; either is nil where there is none.
func (x *Index) shelve(old, next *event.Item) {
	before, after := shelvesOf(old), shelvesOf(next)
	for _, category := range before {
		s, _ := x.shelves.Load(category)
		if slices.Contains(after, category) {
			s.replace(old, next)
			continue
		}
		s.replace(old, nil)
		if s.all.Len() == 0 {
			x.shelves.Delete(category)
		}
	}
	for _, category := range after {
		if slices.Contains(before, category) {
			continue
		}
		s, ok := x.shelves.Load(category)
		if !ok {
			s = newShelf()
			x.shelves.Store(category, s)
		}
		s.replace(nil, next)
	}
}

// shelvesOf names the shelves that an item is on, each once and "" first; none
// where it is nil or hidden.
func shelvesOf(item *event.Item) []string {
	if item == nil || item.Hidden {
		return nil
	}
	names := make([]string, 1, 8)
	for _, category := range item.Categories {
		if !slices.Contains(names, category) {
			names = append(names, category)
		}
	}
	return names
}

// stockShelves fills the shelves anew from the items.
func (x *Index) stockShelves() {
	stock := map[string][]*event.Item{}
	for item := range x.items.all {
		for _, category := range shelvesOf(item) {
			stock[category] = append(stock[category], item)
		}
	}
	x.shelves.Clear()
	for category, items := range stock {
		slices.SortFunc(items, compareNewest)
		s := newShelf()
		for _, item := range items {
			s.all.ReplaceOrInsert(item, struct{}{})
		}
		s.publish(slices.Clone(items[:min(len(items), MaxNewest)]))
		x.shelves.Store(category, s)
	}
}

// shelf is the items of one category that are not hidden. The goroutine that
// writes owns the tree, from which the list is refilled when one of the
// newest goes; readers see only the list and the size.
type shelf struct {
	all    *btreemap.BTreeMap[*event.Item, struct{}] // ordered by compareNewest
	newest atomic.Pointer[[]*event.Item]             // the first MaxNewest of all; never changed once published
	size   atomic.Int64                              // of all
}

// treeDegree makes nodes of up to 63 pointers, 8 cache lines.
const treeDegree = 32

func newShelf() *shelf {
	s := &shelf{all: btreemap.New[*event.Item, struct{}](treeDegree, compareNewest)}
	s.publish(nil)
	return s
}

// compareNewest orders by creation, latest first, then by id.
func compareNewest(a, b *event.Item) int {
	if a.Created != b.Created {
		return cmp.Compare(b.Created, a.Created)
	}
	return strings.Compare(a.ID, b.ID)
}

func (s *shelf) publish(list []*event.Item) {
	s.newest.Store(&list)
	s.size.Store(int64(s.all.Len()))
}

// replace puts next in the place of old, either of which is nil where there is
// none, and publishes the result once.
func (s *shelf) replace(old, next *event.Item) {
	list := *s.newest.Load()
	if old != nil && next != nil && compareNewest(old, next) == 0 {
		s.all.ReplaceOrInsert(next, struct{}{})
		if i, found := slices.BinarySearchFunc(list, old, compareNewest); found {
			list = slices.Clone(list)
			list[i] = next
		}
		s.publish(list)
		return
	}
	if old != nil {
		list = s.remove(list, old)
	}
	if next != nil {
		list = s.insert(list, next)
	}
	s.publish(list)
}

// remove takes an item from the tree and gives the list without it, refilled.
func (s *shelf) remove(list []*event.Item, old *event.Item) []*event.Item {
	s.all.Delete(old)
	i, found := slices.BinarySearchFunc(list, old, compareNewest)
	if !found {
		return list
	}
	last := list[len(list)-1] // perhaps old itself: what follows it is the same
	next := append(make([]*event.Item, 0, len(list)), list[:i]...)
	next = append(next, list[i+1:]...)
	s.all.AscendFunc(btreemap.GT(last), btreemap.Max[*event.Item](), func(item *event.Item, _ struct{}) bool {
		next = append(next, item)
		return false
	})
	return next
}

// insert adds an item to the tree and gives the list with it, if it is among
// the newest.
func (s *shelf) insert(list []*event.Item, item *event.Item) []*event.Item {
	s.all.ReplaceOrInsert(item, struct{}{})
	i, _ := slices.BinarySearchFunc(list, item, compareNewest)
	if i == MaxNewest {
		return list
	}
	kept := min(len(list), MaxNewest-1)
	next := append(make([]*event.Item, 0, kept+1), list[:i]...)
	next = append(next, item)
	return append(next, list[i:kept]...)
}
