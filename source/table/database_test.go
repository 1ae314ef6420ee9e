package table_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/catalog/opener"
	"millrace/source/table"
)

// shop is a table of everything that databases have a type for.
var shop = map[string]string{
	database.MySQL: `CREATE TABLE products (id VARCHAR(40) COLLATE latin1_swedish_ci PRIMARY KEY, title TEXT, categories JSON, tags VARCHAR(100),
		hidden BIT(1), created DATETIME, price DECIMAL(8,2), details JSON, updated_at TIMESTAMP(3) NOT NULL, deleted_at DATETIME NULL)`,
	database.PostgreSQL: `CREATE TABLE products (id VARCHAR(40) PRIMARY KEY, title TEXT, categories TEXT[], tags VARCHAR(100),
		hidden BOOLEAN, created TIMESTAMP, price NUMERIC(8,2), details JSONB, updated_at TIMESTAMPTZ(3) NOT NULL, deleted_at TIMESTAMP)`,
}

// TestDatabases imports from real ones: their types, their order of texts in
// pages, rows of one time, and times in the future.
func TestDatabases(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		_, dialect, err := opener.Connect(c)
		if err != nil {
			t.Fatal(err)
		}
		w := worldOf(t, databasetest.Open(t, c), shop[s.Driver])
		w.placeholder = dialect.Placeholder
		categories, yes, no, now := `'["drama", "comedy, dark"]'`, "b'1'", "b'0'", "CURRENT_TIMESTAMP(3)"
		if s.Driver == database.PostgreSQL {
			categories, yes, no = `'{drama,"comedy, dark",NULL}'`, "TRUE", "FALSE"
		}
		insert := func(id, title, updated, deleted string) {
			w.execute(fmt.Sprintf(`INSERT INTO products VALUES ('%s', '%s', %s, 'a, b', %s, '2020-01-02 03:04:05', 9.50, '{"a": [1, null]}', %s, %s)`,
				id, title, categories, no, updated, deleted))
		}
		insert("one", "One", now, "NULL")
		insert("gone", "Gone", now, now)
		config := table.Default()
		config.PageRows, config.Overlap = 3, 500*time.Millisecond
		config.Items.Query = "SELECT * FROM products"
		config.Items.Columns = map[string]string{"deleted": "deleted_at"}
		config.Items.Metadata = []string{"price", "details", "title"}
		i := w.importer(config)
		w.step(i)
		want := `item "one" title="One" categories=["drama" "comedy, dark"] tags=["a" "b"] created=1577934245000 metadata={"price":9.50,"details":{"a":[1,null]},"title":"One"}` + "\n"
		if w.items() != want {
			t.Errorf("the catalogue is\n%s\nexpected\n%s", w.items(), want)
		}
		// Texts in the order of a language, which is not that of bytes, at one time.
		w.execute("BEGIN")
		for _, id := range []string{"B", "a", "C", "d", "E", "f", "_g", "H", "1", "ä"} {
			insert(id, "many", now, "NULL")
		}
		insert("future", "far away", "'2037-01-01 00:00:00'", "NULL")
		w.execute("COMMIT")
		w.step(i)
		if n, _ := w.Len(); n != 12 {
			t.Errorf("%d items: %s", n, w.items())
		}
		before := len(w.changes)
		w.execute("UPDATE products SET hidden = " + yes + ", updated_at = " + now + " WHERE id = 'a'")
		for _, importer := range []*table.Importer{i, w.importer(config)} { // the second as after a start
			w.step(importer)
			if item := w.Item("a"); item == nil || !item.Hidden || len(w.changes) != before+1 {
				t.Errorf("beside a time in the future a change is not read once: %+v, %d changes", item, len(w.changes)-before)
			}
		}
		config.Items.Query, config.Items.Columns, config.Items.Metadata = "SELECT id, title FROM products", nil, nil
		found := table.Inspect(t.Context(), table.Options{Config: config, DB: w.db, Placeholder: w.placeholder})
		if err := found[0].Err; err == nil || !strings.Contains(err.Error(), "columns: {updated_at: NAME}") {
			t.Errorf("without updated_at it says %v", err)
		}
	})
}
