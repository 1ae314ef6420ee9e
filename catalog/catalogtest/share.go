package catalogtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"millrace/catalog"
	"millrace/catalog/sqlstore"
	"millrace/event"
)

// RunShare tests that several stores write one database that no log belongs to:
// each write is whole, followers see all of them, and a data directory that the
// database was a copy of is kept from writing. Every call of place gives a new,
// empty place, and a function that opens the store there.
func RunShare(t *testing.T, place func(t *testing.T) (open func() *sqlstore.Store)) {
	t.Run("writers take turns", func(t *testing.T) { testWriters(t, place(t)) })
	t.Run("a log's database becomes shared", func(t *testing.T) { testShare(t, place(t)) })
}

const (
	shareWriters = 3
	shareWrites  = 20
)

func testWriters(t *testing.T, open func() *sqlstore.Store) {
	follows := catalog.NewIndex()
	reader := open()
	defer closeStore(t, reader)
	f := reader.Follow(follows, sqlstore.FollowOptions{})
	var writing sync.WaitGroup
	for w := range shareWriters {
		store := open()
		defer closeStore(t, store)
		if err := store.Share(t.Context()); err != nil {
			t.Fatal(err)
		}
		writing.Go(func() {
			for n := range shareWrites {
				id := fmt.Sprintf("%d-%d", w, n)
				_, err := store.Write(t.Context(), []event.Change{
					putItem(event.Item{ID: id, Title: "mine"}),
					putItem(event.Item{ID: "everybody's", Title: id}),
					putUser(event.User{ID: id, Age: n + 1}),
					deleteUser(fmt.Sprintf("%d-%d", w, n-1)),
				})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for writes := true; writes; {
		if err := f.Step(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case <-done:
			writes = false
		default:
		}
	}
	want := catalog.NewIndex()
	mustStep(t, reader.Follow(want, sqlstore.FollowOptions{}))
	requireFollowed(t, f, follows, want, shareWriters*shareWrites)
	items, users, err := reader.Counts(t.Context())
	if err != nil || items != shareWriters*shareWrites+1 || users != shareWriters {
		t.Errorf("%d items, %d users, %v", items, users, err)
	}
}

func mustStep(t *testing.T, f *sqlstore.Follower) {
	t.Helper()
	if err := f.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func testShare(t *testing.T, open func() *sqlstore.Store) {
	ctx, owner, writer := t.Context(), open(), open()
	defer closeStore(t, owner)
	defer closeStore(t, writer)
	if err := owner.Claim(ctx, "directory", false); err != nil {
		t.Fatal(err)
	}
	mustApply(t, owner, 7, putItem(event.Item{ID: "old", Title: "a", Created: 5}))
	for range 2 {
		if err := writer.Share(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := owner.Apply(ctx, 9, []event.Change{deleteItem("old")}); !errors.Is(err, sqlstore.ErrShared) {
		t.Errorf("the owner's block: %v, expected %v", err, sqlstore.ErrShared)
	}
	block, err := writer.Write(ctx, []event.Change{putItem(event.Item{ID: "old", Title: "b"})})
	if err != nil || block != 8 {
		t.Errorf("block %d, %v, expected 8", block, err)
	}
	if _, err := writer.Write(ctx, []event.Change{putItem(event.Item{})}); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("an item without id: %v, expected %v", err, catalog.ErrInvalid)
	}
	requireEqual(t, writer, Text(8, []*event.Item{{ID: "old", Title: "b", Created: 5}}, nil))
	if err := owner.Claim(ctx, "directory", false); !errors.Is(err, sqlstore.ErrShared) {
		t.Errorf("claiming: %v, expected %v", err, sqlstore.ErrShared)
	}
	if err := owner.Claim(ctx, "directory", true); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(ctx, []event.Change{deleteItem("old")}); !errors.Is(err, sqlstore.ErrOwner) {
		t.Errorf("a write after it was taken over: %v, expected %v", err, sqlstore.ErrOwner)
	}
}
