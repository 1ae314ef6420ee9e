package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"millrace/catalog"
	"millrace/event"
)

// testWholeBlocks reads while blocks are applied: every row of a block
// carries the block's number, so a page with two numbers is half a block.
func testWholeBlocks(t *testing.T, s catalog.Store) {
	const rows, blocks = 200, 60
	apply := func(block uint64) error {
		changes := make([]event.Change, rows)
		for i := range changes {
			changes[i] = putItem(event.Item{ID: fmt.Sprintf("%03d", i), Title: fmt.Sprint(block)})
		}
		return s.Apply(t.Context(), block, changes)
	}
	if err := apply(1); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var group errgroup.Group
	for range 3 {
		group.Go(func() error {
			for ctx.Err() == nil {
				before, err := s.Applied(t.Context())
				if err != nil {
					return err
				}
				list, _, err := s.Items(t.Context(), "", rows+1)
				if err != nil {
					return err
				}
				for _, item := range list {
					if item.Title != list[0].Title || len(list) != rows {
						return fmt.Errorf("a page shows block %s and block %s", list[0].Title, item.Title)
					}
				}
				var shown uint64
				if _, err := fmt.Sscan(list[0].Title, &shown); err != nil {
					return err
				}
				if shown < before {
					return fmt.Errorf("after block %d was applied a page shows block %d", before, shown)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer stop()
		for block := uint64(2); block <= blocks; block++ {
			if err := apply(block); err != nil {
				return err
			}
		}
		return s.Sync(t.Context())
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testOddIDs(t *testing.T, s catalog.Store) {
	var changes []event.Change
	for i := range OddIDs {
		id := OddIDs[len(OddIDs)-1-i]
		changes = append(changes, putItem(event.Item{ID: id, Title: "of " + id}), putUser(event.User{ID: id, Labels: []string{id}}))
	}
	mustApply(t, s, 1, changes...)
	var model Model
	model.Apply(1, changes)
	requireEqual(t, s, model.String())
	for _, id := range OddIDs {
		item, err := s.Item(t.Context(), id)
		if err != nil || item.ID != id || item.Title != "of "+id {
			t.Errorf("Item(%q) gives %v, %v", id, item, err)
		}
		user, err := s.User(t.Context(), id)
		if err != nil || user.ID != id || !slices.Equal(user.Labels, []string{id}) {
			t.Errorf("User(%q) gives %v, %v", id, user, err)
		}
	}
	for n, id := range OddIDs {
		block := uint64(n + 2)
		deletion := []event.Change{deleteItem(id), deleteUser(id)}
		mustApply(t, s, block, deletion...)
		model.Apply(block, deletion)
		requireEqual(t, s, model.String())
	}
}

// numbered is n items and as many users with ids in order.
func numbered(n int) (changes []event.Change, ids []string) {
	for i := range n {
		id := fmt.Sprintf("%05d", i*3)
		ids = append(ids, id)
		changes = append(changes, putItem(event.Item{ID: id}), putUser(event.User{ID: id}))
	}
	return changes, ids
}

func testPages(t *testing.T, s catalog.Store) {
	changes, ids := numbered(300)
	mustApply(t, s, 1, changes...)
	for _, n := range []int{1, 7, 100, 299, 300, 301, 100_000} {
		items, err := readPages(t.Context(), n, s.Items)
		if err != nil {
			t.Fatal(err)
		}
		users, err := readPages(t.Context(), n, s.Users)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) != len(ids) || len(users) != len(ids) {
			t.Fatalf("pages of %d give %d items and %d users, expected %d", n, len(items), len(users), len(ids))
		}
		for i, id := range ids {
			if items[i].ID != id || users[i].ID != id {
				t.Fatalf("pages of %d give item %q and user %q at %d, expected %q", n, items[i].ID, users[i].ID, i, id)
			}
		}
	}
	tests := []struct {
		after      string
		n          int
		first, end string // ids of the first and last row, "" for no rows
		next       string
	}{
		{"", 2, "00000", "00003", "00003"},
		{"00003", 2, "00006", "00009", "00009"},
		{"00004", 1, "00006", "00006", "00006"}, // there is no such id
		{"00894", 1, "00897", "00897", ""},      // a full last page
		{"00894", 5, "00897", "00897", ""},
		{"00897", 5, "", "", ""},
		{"z", 5, "", "", ""},
	}
	for _, tt := range tests {
		list, next, err := s.Items(t.Context(), tt.after, tt.n)
		first, end := "", ""
		if len(list) > 0 {
			first, end = list[0].ID, list[len(list)-1].ID
		}
		if err != nil || first != tt.first || end != tt.end || next != tt.next {
			t.Errorf("Items(%q, %d) gives %q to %q, next %q, %v; expected %q to %q, next %q",
				tt.after, tt.n, first, end, next, err, tt.first, tt.end, tt.next)
		}
	}
	for _, n := range []int{0, -1} {
		if _, _, err := s.Users(t.Context(), "", n); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("Users of %d gives %v, expected ErrInvalid", n, err)
		}
	}
}

// testPagesWhileDeleting deletes the last row of every page before the next
// is read: no other row is skipped or repeated by that.
func testPagesWhileDeleting(t *testing.T, s catalog.Store) {
	changes, ids := numbered(50)
	mustApply(t, s, 1, changes...)
	var seen []string
	block := uint64(1)
	for after := ""; ; {
		list, next, err := s.Items(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range list {
			seen = append(seen, item.ID)
		}
		if next == "" {
			break
		}
		block++
		mustApply(t, s, block, deleteItem(next))
		after = next
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("pages give %q, expected %q", seen, ids)
	}
}

func testEach(t *testing.T, s catalog.Store) {
	changes, ids := numbered(512) // a multiple of any likely page size
	mustApply(t, s, 1, changes...)
	block := uint64(1)
	var seen []string
	err := s.EachItem(t.Context(), func(item *event.Item) error {
		seen = append(seen, item.ID)
		if len(seen)%100 != 0 {
			return nil
		}
		// The function may use the store, writes included.
		if _, err := s.User(t.Context(), item.ID); err != nil {
			return err
		}
		block++
		return s.Apply(t.Context(), block, []event.Change{deleteItem(item.ID)})
	})
	if err != nil || !slices.Equal(seen, ids) {
		t.Errorf("EachItem gives %d items, %v; expected %d", len(seen), err, len(ids))
	}
	enough := errors.New("enough")
	calls := 0
	err = s.EachUser(t.Context(), func(*event.User) error {
		if calls++; calls == 300 {
			return enough
		}
		return nil
	})
	if fmt.Sprint(err) != enough.Error() || calls != 300 { // as it is, not wrapped
		t.Errorf("EachUser gives %v after %d calls, expected the function's own error after 300", err, calls)
	}
}

func testRebuild(t *testing.T, s catalog.Store) {
	mustApply(t, s, 40, putItem(event.Item{ID: "old", Created: 5}), putItem(event.Item{ID: "both", Created: 5}), putUser(event.User{ID: "old"}))
	items := seqOf(event.Item{ID: "b", Title: "B", Categories: []string{"c"}}, event.Item{ID: "a"}, event.Item{ID: "both"})
	users := seqOf(event.User{ID: "v", Age: 1}, event.User{ID: "u", Labels: []string{"l"}})
	if err := s.Rebuild(t.Context(), 12, items, users); err != nil {
		t.Fatal(err)
	}
	rows := []string{`item "a"`, `item "b" title="B" categories=["c"]`, `item "both"`, `user "u" labels=["l"]`, `user "v" age=1`}
	requireRows(t, s, 12, rows...)
	mustApply(t, s, 12, deleteItem("a"))
	requireRows(t, s, 12, rows...)
	mustApply(t, s, 13, deleteItem("a"))
	requireRows(t, s, 13, rows[1:]...)
}

func testFailedRebuild(t *testing.T, s catalog.Store) {
	mustApply(t, s, 40, putItem(event.Item{ID: "old", Created: 5}), putUser(event.User{ID: "old"}))
	many := func(extra *event.Item) func(func(*event.Item) bool) {
		return func(yield func(*event.Item) bool) {
			for n := range 500 {
				if !yield(&event.Item{ID: fmt.Sprint("new-", n)}) {
					return
				}
			}
			yield(extra)
		}
	}
	none := seqOf[event.User]()
	tests := []struct {
		name    string
		rebuild func() error
		invalid bool
	}{
		{"an item without id", func() error { return s.Rebuild(t.Context(), 50, many(&event.Item{}), none) }, true},
		{"a nil item", func() error { return s.Rebuild(t.Context(), 50, many(nil), none) }, true},
		{"an item twice", func() error { return s.Rebuild(t.Context(), 50, many(&event.Item{ID: "new-7"}), none) }, false},
		{"a user twice", func() error {
			return s.Rebuild(t.Context(), 50, seqOf[event.Item](), seqOf(event.User{ID: "u"}, event.User{ID: "u"}))
		}, false},
		{"a user that is not UTF-8", func() error {
			return s.Rebuild(t.Context(), 50, seqOf[event.Item](), seqOf(event.User{ID: "\xff"}))
		}, true},
	}
	for _, tt := range tests {
		err := tt.rebuild()
		if err == nil || errors.Is(err, catalog.ErrInvalid) != tt.invalid {
			t.Errorf("%s: Rebuild gives %v", tt.name, err)
		}
		requireRows(t, s, 40, `item "old" created=5`, `user "old"`)
	}
}
