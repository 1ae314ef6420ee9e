package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/event"
)

// TestScripts runs the scripts in testdata against an index. The commands:
//
//	apply                   a change a line: put, ensure or delete, item or user,
//	                        the id, then fields as name=value, lists with |
//	items, users            everything, in order of id
//	newest n=N [category=C] the ids of Newest
//	categories              the names and counts of Categories
//	dirty                   what TakeDirty gives
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		index := catalog.NewIndex()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return runCommand(t, index, d)
		})
	})
}

func runCommand(t *testing.T, index *catalog.Index, d *datadriven.TestData) string {
	var out strings.Builder
	switch d.Cmd {
	case "apply":
		for line := range strings.Lines(d.Input) {
			index.Apply(parseChange(t, d, strings.TrimSpace(line)))
		}
		return "ok"
	case "items":
		for item := range index.Items() {
			out.WriteString(catalogtest.ItemText(item) + "\n")
		}
	case "users":
		for user := range index.Users() {
			out.WriteString(catalogtest.UserText(user) + "\n")
		}
	case "newest":
		var n int
		var category string
		d.ScanArgs(t, "n", &n)
		d.MaybeScanArgs(t, "category", &category)
		for _, item := range index.Newest(category, n) {
			out.WriteString(item.ID + "\n")
		}
	case "categories":
		for _, c := range index.Categories() {
			fmt.Fprintf(&out, "%s: %d\n", c.Category, c.Items)
		}
	case "dirty":
		for _, c := range index.TakeDirty() {
			out.WriteString(changeText(c) + "\n")
		}
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return out.String()
}

var kinds = map[string]event.ChangeKind{
	"put item": event.PutItem, "ensure item": event.EnsureItem, "delete item": event.DeleteItem,
	"put user": event.PutUser, "ensure user": event.EnsureUser, "delete user": event.DeleteUser,
}

func parseChange(t *testing.T, d *datadriven.TestData, line string) event.Change {
	words := strings.Fields(line)
	if len(words) < 3 || kinds[words[0]+" "+words[1]] == 0 {
		d.Fatalf(t, "not a change: %s", line)
	}
	item, user := &event.Item{ID: words[2]}, &event.User{ID: words[2]}
	for _, field := range words[3:] {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "title":
			item.Title = value
		case "categories":
			item.Categories = strings.Split(value, "|")
		case "hidden":
			item.Hidden = true
		case "created":
			created, err := strconv.Atoi(value)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			item.Created = event.Time(created)
		case "age":
			age, err := strconv.Atoi(value)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			user.Age = age
		case "gender":
			user.Gender = value
		case "labels":
			user.Labels = strings.Split(value, "|")
		default:
			d.Fatalf(t, "unknown field %s", name)
		}
	}
	c := event.Change{Kind: kinds[words[0]+" "+words[1]]}
	if words[1] == "item" {
		c.Item = item
	} else {
		c.User = user
	}
	return c
}

func changeText(c event.Change) string {
	switch c.Kind {
	case event.PutItem:
		return "put " + catalogtest.ItemText(c.Item)
	case event.DeleteItem:
		return "delete " + catalogtest.ItemText(c.Item)
	case event.PutUser:
		return "put " + catalogtest.UserText(c.User)
	case event.DeleteUser:
		return "delete " + catalogtest.UserText(c.User)
	}
	return fmt.Sprintf("kind %d", c.Kind)
}

// indexText is all of an index as text.
func indexText(index *catalog.Index) string {
	return catalogtest.Text(0, slices.Collect(index.Items()), slices.Collect(index.Users()))
}

// modelText is what an index that folded the same changes as the model holds.
func modelText(m *catalogtest.Model) string {
	users := slices.DeleteFunc(m.SortedUsers(), func(u *event.User) bool {
		return u.Age == 0 && u.Gender == "" && len(u.Labels) == 0
	})
	return catalogtest.Text(0, m.SortedItems(), users)
}

// TestIndexAgreesWithModel folds random changes into an index and into the
// plain model; after each block the index, a copy that only sees TakeDirty,
// and one that is loaded afresh all hold what the model holds.
func TestIndexAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var model catalogtest.Model
		index, copied := catalog.NewIndex(), catalog.NewIndex()
		for _, block := range catalogtest.Blocks().Draw(t, "log") {
			model.Apply(block.Number, block.Changes)
			for _, c := range block.Changes {
				index.Apply(c)
			}
			want := modelText(&model)
			requireText(t, "the index", indexText(index), want)
			items, users := index.Len()
			if lines := strings.Count(want, "\nitem ") + strings.Count(want, "\nuser "); items+users != lines {
				t.Fatalf("Len gives %d and %d, expected %d together", items, users, lines)
			}
			changes := index.TakeDirty()
			if again := index.TakeDirty(); len(again) != 0 {
				t.Fatalf("TakeDirty gives %d changes, and again %d", len(changes), len(again))
			}
			for _, c := range changes {
				copied.Apply(c)
			}
			requireText(t, "the copy", indexText(copied), want)
			requireShelves(t, copied, &model)
		}
		loaded := catalog.NewIndex()
		loaded.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: "before", Categories: []string{"gone"}}})
		loaded.Load(slices.Values(model.SortedItems()), slices.Values(model.SortedUsers()))
		requireText(t, "the loaded index", indexText(loaded), modelText(&model))
		requireShelves(t, loaded, &model)
		if len(loaded.TakeDirty()) != 0 {
			t.Fatal("a loaded index is dirty")
		}
	})
}

func requireText(t *rapid.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s holds\n%s\nexpected\n%s", what, got, want)
	}
}

// requireShelves compares Newest and Categories with what they are said to
// be, computed from the model.
func requireShelves(t *rapid.T, index *catalog.Index, m *catalogtest.Model) {
	t.Helper()
	visible := slices.DeleteFunc(m.SortedItems(), func(item *event.Item) bool { return item.Hidden })
	// The items are in order of id, which the stable sort keeps.
	slices.SortStableFunc(visible, func(a, b *event.Item) int { return int(b.Created - a.Created) })
	shelves := map[string][]string{}
	for _, item := range visible {
		shelves[""] = append(shelves[""], catalogtest.ItemText(item))
		for i, c := range item.Categories {
			if c != "" && !slices.Contains(item.Categories[:i], c) {
				shelves[c] = append(shelves[c], catalogtest.ItemText(item))
			}
		}
	}
	var counts []catalog.CategoryCount
	for c, want := range shelves {
		if c != "" {
			counts = append(counts, catalog.CategoryCount{Category: c, Items: len(want)})
		}
		var got []string
		for _, item := range index.Newest(c, len(want)+1) {
			got = append(got, catalogtest.ItemText(item))
		}
		if want := want[:min(len(want), catalog.MaxNewest)]; !slices.Equal(got, want) {
			t.Fatalf("Newest of %q gives\n%q\nexpected\n%q", c, got, want)
		}
	}
	slices.SortFunc(counts, func(a, b catalog.CategoryCount) int { return strings.Compare(a.Category, b.Category) })
	if got := index.Categories(); !slices.Equal(got, counts) {
		t.Fatalf("Categories gives %v, expected %v", got, counts)
	}
}

// TestNewestOfLargeCategories keeps categories around and beyond MaxNewest
// items, where the list is refilled from those behind it.
func TestNewestOfLargeCategories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var model catalogtest.Model
		index := catalog.NewIndex()
		block := uint64(0)
		apply := func(c event.Change) {
			block++
			model.Apply(block, []event.Change{c})
			index.Apply(c)
		}
		put := func(n, created int, hidden bool) {
			apply(event.Change{Kind: event.PutItem, Item: &event.Item{
				ID: fmt.Sprint(n), Created: event.Time(created), Hidden: hidden, Categories: []string{"all", fmt.Sprint(n % 2)},
			}})
		}
		size := rapid.IntRange(catalog.MaxNewest-2, 2*catalog.MaxNewest+20).Draw(t, "items")
		for n := range size {
			put(n, 1+n%50, false)
		}
		var lists, copies [][]*event.Item // a list that was handed out never changes
		steps := rapid.IntRange(1, 150).Draw(t, "steps")
		for range steps {
			lists = append(lists, index.Newest("all", catalog.MaxNewest))
			copies = append(copies, slices.Clone(lists[len(lists)-1]))
			n := rapid.IntRange(0, size-1).Draw(t, "n")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // the newest go, so that the list is refilled
				if list := index.Newest("all", 3); len(list) > 0 {
					apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: list[n%len(list)].ID}})
				}
			case 1: // a first, an equal or a new place in the order
				put(n, rapid.IntRange(0, 60).Draw(t, "created"), false)
			case 2: // the place that it has, or none
				put(n, 0, rapid.Bool().Draw(t, "hidden"))
			case 3:
				apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: fmt.Sprint(n)}})
			}
		}
		requireShelves(t, index, &model)
		for i := range lists {
			if !slices.Equal(lists[i], copies[i]) {
				t.Fatal("a list has changed after it was handed out")
			}
		}
	})
}

// TestIndexIgnoresInvalidChanges gives an index what no store would take.
func TestIndexIgnoresInvalidChanges(t *testing.T) {
	index := catalog.NewIndex()
	for _, c := range []event.Change{
		{}, {Kind: event.PutItem}, {Kind: event.PutUser}, {Kind: event.DeleteItem}, {Kind: event.DeleteUser},
		{Kind: event.EnsureItem, Item: &event.Item{}}, {Kind: event.PutUser, User: &event.User{Age: 1}},
		{Kind: 9, Item: &event.Item{ID: "x"}, User: &event.User{ID: "x", Age: 1}},
	} {
		index.Apply(c)
		if items, users := index.Len(); items+users+len(index.TakeDirty()) != 0 {
			t.Errorf("%+v changed the index", c)
		}
	}
}

// TestReadsAllocateNothing holds the reads of the hot path to what they
// promise.
func TestReadsAllocateNothing(t *testing.T) {
	index := catalog.NewIndex()
	for n := range 300 {
		index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: fmt.Sprint("item-", n), Categories: []string{"c"}}})
	}
	buffer := []byte(`{"item_id":"item-42"}`)
	id := buffer[12:19]
	if item := index.ItemBytes(id); item == nil || item.ID != "item-42" {
		t.Fatalf("ItemBytes(%q) gives %v", id, item)
	}
	if item := index.ItemBytes(nil); item != nil {
		t.Fatalf("ItemBytes(nil) gives %v", item)
	}
	for name, read := range map[string]func(){
		"ItemBytes": func() { index.ItemBytes(id) },
		"Item":      func() { index.Item("item-42") },
		"User":      func() { index.User("nobody") },
		"Newest":    func() { index.Newest("c", 100) },
	} {
		if n := testing.AllocsPerRun(100, read); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestReadersSeeWholeLists reads while items of one creation time are put,
// re-categorised and deleted: every list that a reader gets is in order,
// without repetition, and of items that are of the category.
func TestReadersSeeWholeLists(t *testing.T) {
	index := catalog.NewIndex()
	put := func(n int, category string) {
		index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: fmt.Sprintf("%04d", n), Categories: []string{category}, Created: 1}})
	}
	for n := range 500 {
		put(n, "even")
	}
	ctx, stop := context.WithCancel(t.Context())
	var group errgroup.Group
	for range 2 {
		group.Go(func() error {
			for ctx.Err() == nil {
				for _, category := range []string{"even", "odd", ""} {
					list := index.Newest(category, catalog.MaxNewest)
					for i, item := range list {
						if category != "" && item.Categories[0] != category {
							return fmt.Errorf("%s is listed in %s", item.ID, category)
						}
						if i > 0 && list[i-1].ID >= item.ID {
							return fmt.Errorf("%s comes before %s", list[i-1].ID, item.ID)
						}
					}
				}
				if list := index.Newest("", catalog.MaxNewest); len(list) != catalog.MaxNewest {
					return fmt.Errorf("%d items of %d are listed", len(list), catalog.MaxNewest)
				}
				for _, c := range index.Categories() {
					if c.Items < 1 || c.Items > 500 {
						return fmt.Errorf("%d items in %s", c.Items, c.Category)
					}
				}
				if item := index.Item("0003"); item.ID != "0003" {
					return fmt.Errorf("item 0003 is %v", item)
				}
			}
			return nil
		})
	}
	for round := range 20 {
		for n := range 500 {
			put(n, []string{"even", "odd"}[(n+round)%2])
		}
		for n := 400; n < 500; n++ {
			index.Apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: fmt.Sprintf("%04d", n)}})
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIndexApply puts new items in three categories and "", oldest
// first, so that each enters every list.
func BenchmarkIndexApply(b *testing.B) {
	categories := []string{"a", "b", "c"}
	index := catalog.NewIndex()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: strconv.Itoa(n), Categories: categories, Created: event.Time(n)}})
	}
}

// BenchmarkIndexItem looks up items of 100,000.
func BenchmarkIndexItem(b *testing.B) {
	index := catalog.NewIndex()
	ids := make([][]byte, 100_000)
	for n := range ids {
		ids[n] = []byte(strconv.Itoa(n * 7919))
		index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: string(ids[n])}})
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if index.ItemBytes(ids[n%len(ids)]) == nil {
			b.Fatal("not found")
		}
	}
}
