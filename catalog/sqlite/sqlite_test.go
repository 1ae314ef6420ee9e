package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/catalog/database"
	"millrace/catalog/sqlite"
	"millrace/catalog/sqlstore"
	"millrace/event"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		applyUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string) catalog.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func closeStore(t *testing.T, store catalog.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, store catalog.Store) string {
	t.Helper()
	text, err := catalogtest.Read(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) catalog.Store {
		return open(t, filepath.Join(t.TempDir(), "catalog.db"))
	})
}

func TestReopen(t *testing.T) {
	catalogtest.RunReopen(t, func(t *testing.T) func() catalog.Store {
		path := filepath.Join(t.TempDir(), "catalog.db")
		return func() catalog.Store { return open(t, path) }
	})
}

func TestFollow(t *testing.T) {
	catalogtest.RunFollow(t, func(t *testing.T) *sqlstore.Store {
		return open(t, filepath.Join(t.TempDir(), "catalog.db")).(*sqlstore.Store)
	})
}

func TestShare(t *testing.T) {
	catalogtest.RunShare(t, func(t *testing.T) func() *sqlstore.Store {
		path := filepath.Join(t.TempDir(), "catalog.db")
		return func() *sqlstore.Store { return open(t, path).(*sqlstore.Store) }
	})
}

// TestPaths opens files whose names mean something in a URL.
func TestPaths(t *testing.T) {
	for _, name := range []string{"a b", "what?", "100%41", "a#b", "a&_query_only=1", "ünï", "a+b;c"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			store := open(t, filepath.Join(dir, name+".db"))
			closeStore(t, store)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 || entries[0].Name() != name+".db" {
				t.Errorf("the folder holds %v, %v; expected one file", entries, err)
			}
		})
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	closeStore(t, open(t, "catalog.db"))
	if _, err := os.Stat("catalog.db"); err != nil {
		t.Error(err)
	}
}

// TestRefusals opens what is no catalogue of this release, and leaves it as
// it is.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 100), 0o644); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	closeStore(t, open(t, newer))
	execute(t, newer, "INSERT INTO catalog_migrations (version_id, is_applied) VALUES (99999, 1)")
	tests := []struct {
		name, path string
		is         error
	}{
		{"a file of text", text, nil},
		{"a folder", dir, nil},
		{"a path that is not there", filepath.Join(dir, "none", "catalog.db"), nil},
		{"a newer release's", newer, database.ErrNewerSchema},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := os.ReadFile(tt.path) // fails alike before and after for what is not a file
			store, err := sqlite.Open(t.Context(), tt.path)
			if err == nil {
				closeStore(t, store)
				t.Fatal("it was opened")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is %v, expected %v", err, tt.is)
			}
			if !strings.Contains(err.Error(), tt.path) {
				t.Errorf("the error %q does not name the file", err)
			}
			if after, _ := os.ReadFile(tt.path); !bytes.Equal(before, after) {
				t.Error("the file has changed")
			}
		})
	}
}

// execute runs a statement on the file of a closed store.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDeletedIsGone deletes a user and an item and looks for them in the
// bytes of the file.
func TestDeletedIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	store := open(t, path)
	var changes []event.Change
	for n := range 300 {
		changes = append(changes,
			event.Change{Kind: event.PutUser, User: &event.User{ID: fmt.Sprint("user-", n), Labels: []string{fmt.Sprintf("secret-of-%d!", n)}}},
			event.Change{Kind: event.PutItem, Item: &event.Item{ID: fmt.Sprint("item-", n), Metadata: fmt.Appendf(nil, `{"about":"secret-of-%d!"}`, n)}})
	}
	deletions := []event.Change{
		{Kind: event.DeleteUser, User: &event.User{ID: "user-77"}},
		{Kind: event.DeleteItem, Item: &event.Item{ID: "item-77"}},
	}
	for i, block := range [][]event.Change{changes, deletions} {
		if err := store.Apply(t.Context(), uint64(i+1), block); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, store)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, secrets := range map[bool][]string{true: {"secret-of-76!"}, false: {"secret-of-77!", "user-77", "item-77"}} {
		for _, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) != want {
				t.Errorf("the file holds %q: %v, expected %v", secret, !want, want)
			}
		}
	}
}

// TestReadableAsSQL reads the catalogue as other programs would.
func TestReadableAsSQL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	store := open(t, path)
	err := store.Apply(t.Context(), 1, []event.Change{
		{Kind: event.PutItem, Item: &event.Item{ID: "a", Categories: []string{"drama", "it's"}, Metadata: []byte(`{"price": 5}`)}},
		{Kind: event.PutItem, Item: &event.Item{ID: "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var categories, price string
	row := db.QueryRowContext(t.Context(), `SELECT group_concat(c.value), metadata ->> 'price' FROM items, json_each(categories) c`)
	if err := row.Scan(&categories, &price); err != nil || categories != "drama,it's" || price != "5" {
		t.Errorf("SQL reads %q and %q, %v", categories, price, err)
	}
}

// BenchmarkApply applies blocks of 10,000 changes to a catalogue of 200,000
// items and users, and single changes.
func BenchmarkApply(b *testing.B) {
	item := func(n int) *event.Item {
		return &event.Item{
			ID: fmt.Sprint("item-", n), Title: "A title of usual length", Categories: []string{"drama", "comedy"},
			Created: event.Time(n), Metadata: []byte(`{"price":12.5,"brand":"acme"}`),
		}
	}
	changes := map[string]func(n int) event.Change{
		"new items": func(n int) event.Change { return event.Change{Kind: event.PutItem, Item: item(1_000_000 + n)} },
		"items again": func(n int) event.Change {
			return event.Change{Kind: event.PutItem, Item: item(n * 7919 % 200_000)}
		},
		"known users": func(n int) event.Change {
			return event.Change{Kind: event.EnsureUser, User: &event.User{ID: fmt.Sprint("user-", n*7919%200_000)}}
		},
		"new users": func(n int) event.Change {
			return event.Change{Kind: event.EnsureUser, User: &event.User{ID: fmt.Sprint("new-", n)}}
		},
	}
	for _, size := range []int{1, 10_000} {
		for _, name := range []string{"new items", "items again", "known users", "new users"} {
			b.Run(fmt.Sprintf("%s by %d", name, size), func(b *testing.B) {
				benchmarkApply(b, item, changes[name], size)
			})
		}
	}
}

func benchmarkApply(b *testing.B, item func(int) *event.Item, change func(int) event.Change, size int) {
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "catalog.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	const known = 200_000
	items := func(yield func(*event.Item) bool) {
		for n := 0; n < known && yield(item(n)); n++ {
		}
	}
	users := func(yield func(*event.User) bool) {
		for n := 0; n < known && yield(&event.User{ID: fmt.Sprint("user-", n)}); n++ {
		}
	}
	if err := store.Rebuild(b.Context(), 1, items, users); err != nil {
		b.Fatal(err)
	}
	block := uint64(1)
	for b.Loop() {
		changes := make([]event.Change, size)
		for i := range changes {
			changes[i] = change(int(block)*size + i)
		}
		block++
		if err := store.Apply(b.Context(), block, changes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkSync is what a checkpoint waits for after 100 changes.
func BenchmarkSync(b *testing.B) {
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "catalog.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	for block := uint64(1); b.Loop(); block++ {
		changes := []event.Change{{Kind: event.PutUser, User: &event.User{ID: fmt.Sprint(block), Age: 1}}}
		if err := store.Apply(b.Context(), block, changes); err != nil {
			b.Fatal(err)
		}
		if err := store.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is what a start waits for: the file is there already.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "catalog.db")
	for b.Loop() {
		store, err := sqlite.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkItem reads single items of 100,000.
func BenchmarkItem(b *testing.B) {
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "catalog.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	changes := make([]event.Change, 100_000)
	for n := range changes {
		changes[n] = event.Change{Kind: event.PutItem, Item: &event.Item{ID: fmt.Sprint(n), Title: "A title"}}
	}
	if err := store.Apply(b.Context(), 1, changes); err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		if _, err := store.Item(b.Context(), fmt.Sprint(n*7919%100_000)); err != nil {
			b.Fatal(err)
		}
	}
}
