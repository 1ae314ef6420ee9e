package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs a test with tables in every kind of database; open opens the same
// ones again.
func each(t *testing.T, test func(t *testing.T, open func() *outbox.Store)) {
	run := func(t *testing.T, c database.Config, file string) {
		test(t, func() *outbox.Store {
			s, err := outbox.Open(t.Context(), c, file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		})
	}
	t.Run("sqlite", func(t *testing.T) { run(t, database.Default(), filepath.Join(t.TempDir(), "likes.db")) })
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) { run(t, s.New(t), "") })
}

// TestOpenedTogether opens an empty database by several at once, as processes do
// that are started together: one makes the tables, the others wait for it.
func TestOpenedTogether(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				store, err := outbox.Open(t.Context(), c, "")
				if err != nil {
					t.Error(err)
					return
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// TestInterrupted opens a database whose tables another process has begun to
// make when it was killed.
func TestInterrupted(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		databasetest.Interrupted(t, s, "migrations/"+s.Driver+"/00001_reactions.sql", "likes_migrations", func(c database.Config) {
			store, err := outbox.Open(t.Context(), c, "")
			if err != nil {
				t.Fatal(err)
			}
			put(t, store, outbox.Reaction{Kind: outbox.Likes, User: "u", Content: "c"}, true)
			put(t, store, outbox.Reaction{Kind: outbox.Likes, User: "u", Content: "c"}, false)
			place(t, store)
			if n := len(all(t, store)); n != 1 {
				t.Errorf("%d entries, expected 1", n)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func put(t *testing.T, s *outbox.Store, r outbox.Reaction, fresh bool) {
	t.Helper()
	got, err := s.Put(t.Context(), r)
	if err != nil || got != fresh {
		t.Fatalf("putting %+v: fresh %v, %v; expected %v", r, got, err, fresh)
	}
}

func place(t *testing.T, s *outbox.Store) {
	t.Helper()
	for {
		if n, err := s.Place(t.Context(), 3); err != nil {
			t.Fatal(err)
		} else if n == 0 {
			return
		}
	}
}

func all(t *testing.T, s *outbox.Store) []outbox.Entry {
	t.Helper()
	list, err := s.After(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRepeats puts reactions again: a like is the same one, a comment only with
// its key.
func TestRepeats(t *testing.T) {
	each(t, func(t *testing.T, open func() *outbox.Store) {
		s := open()
		like := outbox.Reaction{Kind: outbox.Likes, User: "u", Content: "c", Title: "标题", Time: 7}
		comment := outbox.Reaction{Kind: outbox.Comments, User: "u", Content: "c"}
		keyed, favorite := comment, like
		keyed.Key, favorite.Kind = "k", outbox.Favorites
		put(t, s, like, true)
		put(t, s, like, false)
		put(t, s, favorite, true)
		for _, other := range []string{"U", "u ", "ü"} { // ids compare by their bytes
			r := like
			r.User = other
			put(t, s, r, true)
		}
		put(t, s, comment, true)
		put(t, s, comment, true)
		put(t, s, keyed, true)
		put(t, s, keyed, false)
		place(t, s)
		list := all(t, s)
		if len(list) != 8 {
			t.Fatalf("%d entries, expected 8", len(list))
		}
		for i, e := range list {
			if e.Position != uint64(i+1) || e.Ordinal != uint64(i+1) {
				t.Errorf("entry %d has position %d and ordinal %d", i, e.Position, e.Ordinal)
			}
		}
		if e := list[0]; e.Title != "标题" || e.Time != 7 || e.User != "u" || e.Content != "c" || e.Kind != outbox.Likes {
			t.Errorf("the like is %+v", e)
		}
		if err := s.Forget(t.Context(), "u"); err != nil {
			t.Fatal(err)
		}
		for i, e := range all(t, s) {
			if e.User == "u" || (list[i].User != "u" && e.User != list[i].User) {
				t.Errorf("after the user was forgotten entry %d is %+v", i, e)
			}
		}
		if again := open(); again.Identity() != s.Identity() || s.Identity() == "" {
			t.Errorf("the tables are %q, and opened again %q", s.Identity(), again.Identity())
		}
	})
}

func TestRefused(t *testing.T) {
	for _, bad := range []outbox.Reaction{
		{Kind: "shares", User: "u", Content: "c"}, {Kind: outbox.Likes, Content: "c"}, {Kind: outbox.Likes, User: "u"},
		{Kind: outbox.Likes, User: "u\x00", Content: "c"}, {Kind: outbox.Likes, User: "u", Content: "\xff"},
		{Kind: outbox.Likes, User: "u", Content: "c\n"}, {Kind: outbox.Likes, User: "u", Content: "c", Title: string(make([]byte, 3000))},
		{Kind: outbox.Reads, User: "u", Content: "c", Key: string(make([]byte, 300))},
	} {
		if err := bad.Check(); !errors.Is(err, outbox.ErrInvalid) {
			t.Errorf("%+v was not refused: %v", bad, err)
		}
	}
}

// TestPlaces has many put while several place: positions and ordinals have no
// gaps, and whoever reads on from where they were misses nothing.
func TestPlaces(t *testing.T) {
	each(t, func(t *testing.T, open func() *outbox.Store) {
		const writers, each, contents = 4, 60, 5
		stores := []*outbox.Store{open(), open()}
		ctx, cancel := context.WithCancel(t.Context())
		var writing, placing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for n := range each {
					r := outbox.Reaction{Kind: outbox.Reads, User: fmt.Sprint("u", w), Content: fmt.Sprint("c", n%contents)}
					if _, err := stores[w%2].Put(ctx, r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for _, s := range stores {
			placing.Go(func() {
				for ctx.Err() == nil {
					if n, err := s.Place(ctx, 7); err != nil && ctx.Err() == nil {
						t.Error(err)
					} else if n == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		var list []outbox.Entry
		for deadline := time.Now().Add(60 * time.Second); len(list) < writers*each && time.Now().Before(deadline); {
			next, err := stores[0].After(t.Context(), uint64(len(list)), 10)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, next...)
		}
		writing.Wait()
		cancel()
		placing.Wait()
		ordinals := map[string]uint64{}
		for i, e := range list {
			ordinals[e.Content]++
			if e.Position != uint64(i+1) || e.Ordinal != ordinals[e.Content] {
				t.Fatalf("entry %d has position %d and ordinal %d, expected %d and %d", i, e.Position, e.Ordinal, i+1, ordinals[e.Content])
			}
		}
		if len(list) != writers*each {
			t.Errorf("%d entries, expected %d", len(list), writers*each)
		}
		some, err := stores[0].OfContent(t.Context(), "c1", 2, 9, 100)
		if err != nil || len(some) != 7 || some[0].Ordinal != 3 || some[6].Ordinal != 9 {
			t.Errorf("entries 3 to 9 of a content: %+v, %v", some, err)
		}
	})
}

// TestLease has two processes want the outbox.
func TestLease(t *testing.T) {
	each(t, func(t *testing.T, open func() *outbox.Store) {
		s := open()
		lease := func(holder string, want bool) {
			t.Helper()
			if held, err := s.Lease(t.Context(), holder, 2*time.Second); err != nil || held != want {
				t.Errorf("%s: %v, %v, expected %v", holder, held, err, want)
			}
		}
		lease("a", true)
		lease("b", false)
		time.Sleep(5 * time.Millisecond)
		lease("a", true)
		lease("b", false)
		time.Sleep(2100 * time.Millisecond)
		lease("b", true)
		lease("a", false)
	})
}
