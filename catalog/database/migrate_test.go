package database_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"millrace/catalog/database"
)

// openTables opens an empty database.
func openTables(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "tables.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestMigrate runs each migration once, and leaves alone what a newer release
// has migrated.
func TestMigrate(t *testing.T) {
	db := openTables(t)
	older := fstest.MapFS{"00001_one.sql": {Data: []byte("-- +goose Up\nCREATE TABLE one (id INTEGER);\n")}}
	newer := fstest.MapFS{
		"00001_one.sql": older["00001_one.sql"],
		"00002_two.sql": {Data: []byte("-- +goose Up\nCREATE TABLE two (id INTEGER);\n")},
	}
	for _, migrations := range []fstest.MapFS{older, older, newer, newer} {
		if err := database.Migrate(t.Context(), db, goose.DialectSQLite3, "noted", migrations); err != nil {
			t.Fatal(err)
		}
	}
	var tables int
	if err := db.QueryRow("SELECT COUNT(*) FROM sqlite_master WHERE name IN ('one', 'two', 'noted')").Scan(&tables); err != nil || tables != 3 {
		t.Errorf("%d of the 3 tables are there, %v", tables, err)
	}
	err := database.Migrate(t.Context(), db, goose.DialectSQLite3, "noted", older)
	if !errors.Is(err, database.ErrNewerSchema) || !strings.Contains(err.Error(), "version 2, the latest known is 1") {
		t.Errorf("by an older release: %v", err)
	}
}

// TestPreparer prepares nothing after the first error, which it keeps.
func TestPreparer(t *testing.T) {
	db := openTables(t)
	p := database.NewPreparer(t.Context())
	good := p.Prepare(db, "SELECT 1")
	if p.Err() != nil {
		t.Fatal(p.Err())
	}
	defer good.Close()
	var n int
	if err := good.QueryRow().Scan(&n); err != nil || n != 1 {
		t.Errorf("a good statement: %d, error %v", n, err)
	}
	bad, after := p.Prepare(db, "SELECT * FROM nothing"), p.Prepare(db, "SELECT 2")
	if bad != nil || after != nil || p.Err() == nil || !strings.Contains(p.Err().Error(), `preparing "SELECT * FROM nothing"`) {
		t.Errorf("a bad statement: %v, error %v", []any{bad, after}, p.Err())
	}
}
