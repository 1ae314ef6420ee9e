// Package catalogtest is what every catalog.Store must do, as a suite of
// tests, and a plain model and generators to test catalogues with.
package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"millrace/catalog"
	"millrace/event"
)

// Run tests that the stores which open gives behave as catalog.Store says.
// Every call of open gives a new, empty store; Run closes it.
func Run(t *testing.T, open func(t *testing.T) catalog.Store) {
	tests := []struct {
		name string
		test func(*testing.T, catalog.Store)
	}{
		{"starts empty", testEmpty},
		{"changes", testChanges},
		{"a block counts once", testIdempotence},
		{"an invalid change refuses the block", testInvalid},
		{"a cancelled call changes nothing", testCancelled},
		{"a block is seen whole", testWholeBlocks},
		{"odd ids", testOddIDs},
		{"extreme values", testExtremes},
		{"nothing reads as nil", testNothing},
		{"pages", testPages},
		{"pages while rows go", testPagesWhileDeleting},
		{"each", testEach},
		{"rebuild", testRebuild},
		{"a failed rebuild changes nothing", testFailedRebuild},
		{"many changes", testManyChanges},
		{"agrees with the model and the index", testAgreement},
		{"fails once closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := open(t)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
			tt.test(t, store)
		})
	}
}

// RunReopen tests that a store which was closed comes back as it was. Every
// call of place gives a new place, and a function that opens the store there,
// empty the first time.
func RunReopen(t *testing.T, place func(t *testing.T) (open func() catalog.Store)) {
	open := place(t)
	var model Model
	for n := range uint64(4) {
		store := open()
		requireEqual(t, store, model.String())
		// What came before is applied again, as after a crash.
		for block := uint64(1); block <= n+1; block++ {
			changes := reopenChanges(block)
			mustApply(t, store, block, changes...)
			model.Apply(block, changes)
		}
		requireEqual(t, store, model.String())
		if n%2 == 0 {
			if err := store.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func reopenChanges(block uint64) []event.Change {
	id := fmt.Sprintf("in-%d", block)
	return []event.Change{
		putItem(event.Item{ID: id, Title: "first", Categories: []string{"c"}, Created: 5}),
		putItem(event.Item{ID: "always", Title: fmt.Sprintf("as of %d", block)}),
		deleteItem(fmt.Sprintf("in-%d", block-2)),
		putUser(event.User{ID: id, Age: int(block)}),
		deleteUser(fmt.Sprintf("in-%d", block-1)),
		{Kind: event.EnsureUser, User: &event.User{ID: "seen"}},
	}
}

// Short forms of changes.
func putItem(item event.Item) event.Change { return event.Change{Kind: event.PutItem, Item: &item} }
func putUser(user event.User) event.Change { return event.Change{Kind: event.PutUser, User: &user} }
func deleteItem(id string) event.Change {
	return event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: id}}
}
func deleteUser(id string) event.Change {
	return event.Change{Kind: event.DeleteUser, User: &event.User{ID: id}}
}

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func mustApply(t failer, s catalog.Store, block uint64, changes ...event.Change) {
	t.Helper()
	if err := s.Apply(context.Background(), block, changes); err != nil {
		t.Fatalf("applying block %d: %v", block, err)
	}
}

// Read gives all of a store as Text does, read through pages.
func Read(ctx context.Context, s catalog.Store) (string, error) {
	applied, err := s.Applied(ctx)
	if err != nil {
		return "", err
	}
	items, err := readPages(ctx, 100, s.Items)
	if err != nil {
		return "", err
	}
	users, err := readPages(ctx, 100, s.Users)
	if err != nil {
		return "", err
	}
	return Text(applied, items, users), nil
}

// readPages reads every page of n.
func readPages[R any](ctx context.Context, n int, page func(context.Context, string, int) ([]*R, string, error)) ([]*R, error) {
	var all []*R
	for after := ""; ; {
		list, next, err := page(ctx, after, n)
		if err != nil {
			return nil, err
		}
		if len(list) > n {
			return nil, fmt.Errorf("a page of %d has %d rows", n, len(list))
		}
		all = append(all, list...)
		if next == "" {
			return all, nil
		}
		if next <= after {
			return nil, fmt.Errorf("the page after %q is followed by that after %q", after, next)
		}
		after = next
	}
}

// requireEqual compares all of a store with a text, through pages, through
// EachItem and EachUser, and through Counts.
func requireEqual(t failer, s catalog.Store, want string) {
	t.Helper()
	ctx := context.Background()
	got, err := Read(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("the store holds\n%s\nexpected\n%s", got, want)
	}
	var items []*event.Item
	var users []*event.User
	err = errors.Join(
		s.EachItem(ctx, func(item *event.Item) error { items = append(items, item); return nil }),
		s.EachUser(ctx, func(user *event.User) error { users = append(users, user); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	applied, err := s.Applied(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := Text(applied, items, users); got != want {
		t.Fatalf("EachItem and EachUser give\n%s\nexpected\n%s", got, want)
	}
	nItems, nUsers, err := s.Counts(ctx)
	if err != nil || nItems != len(items) || nUsers != len(users) {
		t.Fatalf("Counts gives %d items, %d users, %v; expected %d and %d", nItems, nUsers, err, len(items), len(users))
	}
}

// requireRows is requireEqual for a store at the block with these lines.
func requireRows(t failer, s catalog.Store, applied uint64, lines ...string) {
	t.Helper()
	want := Text(applied, nil, nil)
	for _, line := range lines {
		want += line + "\n"
	}
	requireEqual(t, s, want)
}

// seqOf is an iterator over a list of values.
func seqOf[R any](rows ...R) func(yield func(*R) bool) {
	list := make([]*R, len(rows))
	for i := range rows {
		list[i] = &rows[i]
	}
	return slices.Values(list)
}
