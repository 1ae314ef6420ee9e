package databasetest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"

	"millrace/catalog/database"
)

// Interrupted leaves an empty database as a process does that is killed while it
// runs the statements of a migration, whose file is given: for every number of
// them it calls again with another database. table is where it is noted which
// migrations have run. MariaDB commits at once what makes a table, also that one;
// PostgreSQL leaves nothing.
func Interrupted(t *testing.T, s *Server, file, table string, again func(c database.Config)) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	up, _, _ := strings.Cut(strings.TrimPrefix(string(text), "-- +goose Up\n"), "-- +goose Down")
	statements := strings.SplitAfter(strings.TrimSpace(up)+"\n", ";\n")
	dialect, first := goose.DialectMySQL, -1
	if s.Driver == database.PostgreSQL {
		dialect, first = goose.DialectPostgres, 0
	}
	for n := first; n < len(statements); n++ {
		c := s.New(t)
		db := Open(t, c)
		cut := "-- +goose Up\n" + strings.Join(statements[:max(n, 0)], "") + "SELECT is_not_there FROM nowhere;\n"
		if err := database.Migrate(t.Context(), db, dialect, table, fstest.MapFS{"00001_cut.sql": {Data: []byte(cut)}}); err == nil {
			t.Fatal("the migration was not interrupted")
		}
		if n < 0 { // the table for notes was made, and nothing noted
			if _, err := db.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
				t.Fatal(err)
			}
		}
		again(c)
	}
}
