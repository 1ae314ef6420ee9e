package catalogtest

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/catalog"
	"millrace/catalog/sqlstore"
	"millrace/event"
)

// RunFollow tests that an Index which follows a store becomes equal to one
// that is given every change. Every call of open gives a new, empty store;
// RunFollow closes it.
func RunFollow(t *testing.T, open func(t *testing.T) *sqlstore.Store) {
	t.Run("each step reaches the store", func(t *testing.T) { testFollowSteps(t, open) })
	t.Run("everything is replaced", func(t *testing.T) { testFollowRebuild(t, open) })
	t.Run("many pages", func(t *testing.T) { testFollowPages(t, open) })
}

// indexText is an index as Text writes it.
func indexText(block uint64, x *catalog.Index) string {
	return Text(block, slices.Collect(x.Items()), slices.Collect(x.Users()))
}

// requireFollowed steps, and compares what follows with an index that has
// everything.
func requireFollowed(t failer, f *sqlstore.Follower, follows, want *catalog.Index, block uint64) {
	t.Helper()
	if err := f.Step(context.Background()); err != nil {
		t.Fatal(err)
	}
	at, ok := f.Block()
	if got, want := indexText(at, follows), indexText(block, want); !ok || got != want {
		t.Fatalf("the follower holds\n%s\nexpected\n%s", got, want)
	}
}

func testFollowSteps(t *testing.T, open func(t *testing.T) *sqlstore.Store) {
	store := open(t)
	defer closeStore(t, store)
	base := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		want, follows := catalog.NewIndex(), catalog.NewIndex()
		if err := store.Rebuild(context.Background(), base, seqOf[event.Item](), seqOf[event.User]()); err != nil {
			t.Fatal(err)
		}
		early, late := store.Follow(follows, sqlstore.FollowOptions{}), catalog.NewIndex()
		requireFollowed(t, early, follows, want, base)
		last := base
		for _, b := range Blocks().Draw(t, "blocks") {
			last = base + b.Number
			mustApply(t, store, last, b.Changes...)
			for _, c := range b.Changes {
				want.Apply(c)
			}
			if rapid.Bool().Draw(t, "step") {
				requireFollowed(t, early, follows, want, last)
			}
		}
		requireFollowed(t, early, follows, want, last)
		requireFollowed(t, store.Follow(late, sqlstore.FollowOptions{}), late, want, last)
		base = last
	})
}

func testFollowRebuild(t *testing.T, open func(t *testing.T) *sqlstore.Store) {
	store := open(t)
	defer closeStore(t, store)
	follows, want := catalog.NewIndex(), catalog.NewIndex()
	f := store.Follow(follows, sqlstore.FollowOptions{})
	mustApply(t, store, 9, putItem(event.Item{ID: "old"}), putUser(event.User{ID: "old", Age: 3}))
	if _, ok := f.Block(); ok {
		t.Error("it is at a block before it has read anything")
	}
	if err := f.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An older state, in which block 9 is still to come, and comes otherwise.
	if err := store.Rebuild(t.Context(), 4, seqOf(event.Item{ID: "restored", Title: "a"}), seqOf[event.User]()); err != nil {
		t.Fatal(err)
	}
	want.Apply(putItem(event.Item{ID: "restored", Title: "a"}))
	requireFollowed(t, f, follows, want, 4)
	mustApply(t, store, 9, putItem(event.Item{ID: "new", Title: "b"}))
	want.Apply(putItem(event.Item{ID: "new", Title: "b"}))
	requireFollowed(t, f, follows, want, 9)
}

func testFollowPages(t *testing.T, open func(t *testing.T) *sqlstore.Store) {
	store := open(t)
	defer closeStore(t, store)
	follows, want := catalog.NewIndex(), catalog.NewIndex()
	f := store.Follow(follows, sqlstore.FollowOptions{})
	requireFollowed(t, f, follows, want, 0)
	var changes []event.Change
	for n := range 700 {
		id := "item-" + string(rune('a'+n%26)) + string(rune('a'+n/26))
		changes = append(changes, putItem(event.Item{ID: id, Title: "t"}), putUser(event.User{ID: id, Age: 20}))
	}
	var deletions []event.Change
	for _, c := range changes[:1100] {
		switch c.Kind {
		case event.PutItem:
			deletions = append(deletions, deleteItem(c.Item.ID))
		case event.PutUser:
			deletions = append(deletions, deleteUser(c.User.ID))
		}
	}
	for i, block := range [][]event.Change{changes, deletions} {
		mustApply(t, store, uint64(i+1), block...)
		for _, c := range block {
			want.Apply(c)
		}
		requireFollowed(t, f, follows, want, uint64(i+1))
	}
}

func closeStore(t *testing.T, s catalog.Store) {
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}
