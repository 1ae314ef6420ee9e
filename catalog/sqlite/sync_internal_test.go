package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
)

// TestSyncLog checks that a sync writes, without which SQLite would sync
// nothing, and that the commits after it are unsynced again, also when its
// context is done.
func TestSyncLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	store, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := connect(path, 1, writing)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for n, ctx := range []context.Context{t.Context(), t.Context(), cancelled} {
		err := syncLog(ctx, db)
		if (err == nil) != (ctx.Err() == nil) {
			t.Errorf("syncLog gives %v", err)
		}
		if level, normal := query(t, db, "PRAGMA synchronous"), 1; level != normal {
			t.Errorf("synchronous is %d after a sync, expected %d", level, normal)
		}
		if count, want := query(t, db, "SELECT count FROM syncs"), min(n+1, 2); count != want {
			t.Errorf("%d syncs were written, expected %d", count, want)
		}
	}
}

func query(t *testing.T, db *sql.DB, statement string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), statement).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
