package sqlstore

import (
	"fmt"
	"testing"
)

// TestDialects writes the statements that differ between databases in the
// three forms that they are known to need.
func TestDialects(t *testing.T) {
	question := func(int) string { return "?" }
	excluded := func(column string) string { return "excluded." + column }
	tests := []struct {
		name    string
		dialect Dialect
		insert  string
		update  string
		remove  string
	}{
		{
			"SQLite",
			Dialect{Placeholder: question, Proposed: excluded},
			"INSERT INTO t (id, a, b) VALUES (?, ?, ?), (?, ?, ?)",
			"a = excluded.a, b = CASE WHEN excluded.b = 0 THEN t.b ELSE excluded.b END",
			"(?, ?, ?)",
		},
		{
			"PostgreSQL",
			Dialect{Placeholder: func(n int) string { return fmt.Sprint("$", n) }, Proposed: excluded},
			"INSERT INTO t (id, a, b) VALUES ($1, $2, $3), ($4, $5, $6)",
			"a = excluded.a, b = CASE WHEN excluded.b = 0 THEN t.b ELSE excluded.b END",
			"($1, $2, $3)",
		},
		{
			"MySQL",
			Dialect{Placeholder: question, Proposed: func(column string) string { return "VALUES(" + column + ")" }},
			"INSERT INTO t (id, a, b) VALUES (?, ?, ?), (?, ?, ?)",
			"a = VALUES(a), b = CASE WHEN VALUES(b) = 0 THEN t.b ELSE VALUES(b) END",
			"(?, ?, ?)",
		},
	}
	columns := []string{"id", "a", "b"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range []struct{ got, want string }{
				{tt.dialect.insert("t", columns, 2), tt.insert},
				{tt.dialect.update("t", columns, "b"), tt.update},
				{tt.dialect.parameters(0, 3), tt.remove},
			} {
				if c.got != c.want {
					t.Errorf("got\n%s\nexpected\n%s", c.got, c.want)
				}
			}
		})
	}
}
