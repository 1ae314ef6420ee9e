package table_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/event"
	"millrace/source"
	"millrace/source/table"
)

// world is a shop's database, and a log that an importer writes to. The log
// keeps what is appended over crashes.
type world struct {
	*catalog.Index
	t         *testing.T
	db        *sql.DB
	users     map[string]bool
	positions map[string]uint64
	changes   []event.Change
	rejected  []*source.Bad
	crash     int // fails the n-th append from now, after half of them it is stored
	random    *rand.Rand

	placeholder func(int) string
}

func newWorld(t *testing.T, statements ...string) *world {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db")+"?_pragma=synchronous(0)&_pragma=journal_mode(memory)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return worldOf(t, db, statements...)
}

func worldOf(t *testing.T, db *sql.DB, statements ...string) *world {
	t.Helper()
	w := &world{Index: catalog.NewIndex(), t: t, db: db, users: map[string]bool{}, positions: map[string]uint64{}, random: rand.New(rand.NewPCG(1, 1))}
	w.placeholder = func(int) string { return "?" }
	w.execute(statements...)
	return w
}

func (w *world) execute(statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := w.db.ExecContext(w.t.Context(), s); err != nil {
			w.t.Fatalf("%s: %v", s, err)
		}
	}
}

var errCrash = errors.New("crash")

// Append implements table.Log.
func (w *world) Append(_ context.Context, changes []event.Change, name string, next uint64) error {
	w.crash--
	if w.crash == 0 && w.random.IntN(2) == 0 {
		return errCrash
	}
	for _, c := range changes {
		if err := catalog.Check(c); err != nil {
			return err
		}
		w.Apply(c)
		switch c.Kind {
		case event.PutUser:
			w.users[c.User.ID] = true
		case event.DeleteUser:
			delete(w.users, c.User.ID)
		}
	}
	w.changes = append(w.changes, changes...)
	w.positions[name] = next
	if w.crash == 0 {
		return errCrash
	}
	return nil
}

// Position implements table.Log.
func (w *world) Position(name string) (uint64, bool) {
	next, known := w.positions[name]
	return next, known
}

// Reject implements table.Log.
func (w *world) Reject(_ context.Context, bad *source.Bad) error {
	w.rejected = append(w.rejected, bad)
	return nil
}

// Exists implements table.Catalogue.
func (w *world) Exists(_ context.Context, id string) (bool, error) { return w.users[id], nil }

func config() table.Config {
	c := table.Default()
	c.PageRows = 7
	c.Items.Query = "SELECT id, name, category AS categories, price, stock, changed, gone FROM products"
	c.Items.Columns = map[string]string{"title": "name", "updated_at": "changed", "deleted": "gone"}
	c.Items.Metadata = []string{"price", "stock"}
	return c
}

const products = "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER, changed INTEGER, gone INTEGER)"

func (w *world) importer(c table.Config) *table.Importer {
	return table.New(table.Options{
		Config: c, DB: w.db, Placeholder: w.placeholder, Log: w, Catalogue: w, Logger: slog.New(slog.DiscardHandler),
	})
}

func (w *world) step(i *table.Importer) {
	w.t.Helper()
	if err := i.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// items is the catalogue as text.
func (w *world) items() string {
	var b strings.Builder
	for item := range w.Items() {
		b.WriteString(catalogtest.ItemText(item) + "\n")
	}
	return b.String()
}

// TestRows looks at what rows become.
func TestRows(t *testing.T) {
	w := newWorld(t, products,
		`INSERT INTO products VALUES (1, 'A film', 'drama, comedy', 9.5, 3, 10, 0), (2, 'B', '["x,y","z"]', NULL, 0, 10, 0), (3, 'C', NULL, 1, 1, 11, 1)`,
		`INSERT INTO products VALUES (4, 'bad' || char(0), '', 1, 1, 12, 0)`)
	i := w.importer(config())
	w.step(i)
	want := `item "1" title="A film" categories=["drama" "comedy"] metadata={"price":9.5,"stock":3}` + "\n" +
		`item "2" title="B" categories=["x,y" "z"] metadata={"stock":0}` + "\n"
	if w.items() != want {
		t.Errorf("the catalogue is\n%s\nexpected\n%s", w.items(), want)
	}
	if len(w.rejected) != 1 || w.rejected[0].Err.Field != "title" || !strings.Contains(string(w.rejected[0].Raw), `"id":"4"`) {
		t.Errorf("rejected: %+v", w.rejected)
	}
	n := len(w.changes)
	w.step(i)
	w.step(w.importer(config())) // as after a start
	if len(w.changes) != n {
		t.Errorf("read again the same rows made %+v", w.changes[n:])
	}
	w.execute("UPDATE products SET gone = 1, changed = 20 WHERE id = 1", "UPDATE products SET name = 'BB', changed = 21 WHERE id = 2")
	w.step(i)
	if want := `item "2" title="BB" categories=["x,y" "z"] metadata={"stock":0}` + "\n"; w.items() != want {
		t.Errorf("after changes the catalogue is\n%s", w.items())
	}
}

// TestUsers imports users, also those of whom only the id is known.
func TestUsers(t *testing.T) {
	w := newWorld(t, "CREATE TABLE people (uid TEXT PRIMARY KEY, age INTEGER, sex TEXT, changed INTEGER)",
		"INSERT INTO people VALUES ('a', 30, 'Female', 5), ('b', NULL, NULL, 5), ('c', 200, NULL, 5)")
	c := table.Default()
	c.Users.Query = "SELECT * FROM people"
	c.Users.Columns = map[string]string{"id": "uid", "gender": "sex", "updated_at": "changed"}
	w.step(w.importer(c))
	w.step(w.importer(c))
	if u := w.User("a"); u == nil || u.Age != 30 || u.Gender != "f" {
		t.Errorf("a is %+v", u)
	}
	if !w.users["b"] || len(w.changes) != 2 || len(w.rejected) < 1 {
		t.Errorf("users %v by %d changes, %d rejected", w.users, len(w.changes), len(w.rejected))
	}
}

// TestWithoutTimes reads everything each time: a bad row is a dead letter once,
// until it is another, and rows without an id are none.
func TestWithoutTimes(t *testing.T) {
	w := newWorld(t, "CREATE TABLE goods (id TEXT, title TEXT)")
	for n := range 30 {
		w.execute(fmt.Sprintf("INSERT INTO goods VALUES ('p%02d', 'title'), (NULL, 'none')", n))
	}
	w.execute("INSERT INTO goods VALUES ('bad', 'bad' || char(0))")
	c := config()
	c.Items = table.Query{Query: "SELECT * FROM goods;", Columns: map[string]string{"updated_at": ""}, Separator: ","}
	i := w.importer(c)
	for range 3 {
		w.step(i)
	}
	if n, _ := w.Len(); n != 30 || len(w.changes) != 30 || len(w.rejected) != 1 || len(w.positions) != 1 {
		t.Errorf("%d items by %d changes, %d rejected, positions %v", n, len(w.changes), len(w.rejected), w.positions)
	}
	w.execute("UPDATE goods SET title = 'good' WHERE id = 'bad'", "UPDATE goods SET title = 'x' || char(0) WHERE id = 'p00'")
	w.step(i)
	w.step(i)
	if item := w.Item("bad"); item == nil || item.Title != "good" || len(w.rejected) != 2 {
		t.Errorf("the bad one is %+v, %d rejected", item, len(w.rejected))
	}
}

// TestReconcileFindsLateChanges has a row change with a number that is behind
// those that were read.
func TestReconcileFindsLateChanges(t *testing.T) {
	w := newWorld(t, products, "INSERT INTO products VALUES (1, 'one', '', 1, 1, 5, 0), (2, 'two', '', 1, 1, 9, 0)")
	i := w.importer(config())
	w.step(i)
	w.execute("UPDATE products SET name = 'late', changed = 8 WHERE id = 1")
	w.step(i)
	if w.Item("1").Title != "one" {
		t.Fatal("the change is read without a reconciliation, and the test shows nothing")
	}
	c := config()
	c.ReconcileInterval = time.Nanosecond
	w.step(w.importer(c))
	if w.Item("1").Title != "late" || len(w.changes) != 3 {
		t.Errorf("after a reconciliation it is %+v by %d changes", w.Item("1"), len(w.changes))
	}
}

// TestReconcile has rows go without a mark, and then too many at once.
func TestReconcile(t *testing.T) {
	w := newWorld(t, products)
	for n := range 100 {
		w.execute(fmt.Sprintf("INSERT INTO products VALUES (%d, 'p%d', '', 1, 1, 5, 0)", n, n))
	}
	c := config()
	c.ReconcileInterval = time.Nanosecond
	i := w.importer(c)
	w.Apply(event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: "only-seen"}})
	w.step(i)
	w.execute("DELETE FROM products WHERE id < 15")
	w.step(i)
	if n, _ := w.Len(); n != 86 || w.Item("14") != nil || w.Item("15") == nil || w.Item("only-seen") == nil {
		t.Errorf("%d items are left", n)
	}
	w.execute("DELETE FROM products WHERE id < 60")
	if err := i.Step(t.Context()); !errors.Is(err, table.ErrTooManyDeleted) || !strings.Contains(err.Error(), "45 of 85 items") {
		t.Errorf("more than half is gone, and it says %v", err)
	}
	w.execute("INSERT INTO products VALUES (14, 'back', '', 1, 1, 6, 0)")
	w.step(w.importer(config()))
	if item := w.Item("14"); item == nil || item.Title != "back" {
		t.Errorf("one that came back is %+v", item)
	}
}

// TestCrashes changes rows at random, with many at one time and in pages, while
// the importer crashes: it ends with what the table says, and no change is in
// the log that changes nothing.
func TestCrashes(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(t, products)
		w.random = rand.New(rand.NewPCG(seed, 7))
		i := w.importer(config())
		for now := 1; now < 15; now++ {
			for range w.random.IntN(30) {
				id := w.random.IntN(40)
				w.execute(fmt.Sprintf("INSERT OR REPLACE INTO products VALUES (%d, 'v%d', '', 1, 1, %d, %d)", id, w.random.IntN(5), now, w.random.IntN(5)/4))
			}
			w.crash = w.random.IntN(6)
			if err := i.Step(t.Context()); err != nil || w.random.IntN(4) == 0 {
				w.crash = 0
				i = w.importer(config())
			}
		}
		w.crash = 0
		w.step(i)
		want := w.names()
		got := map[string]string{}
		for item := range w.Items() {
			got[item.ID] = item.Title
		}
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d: the catalogue is %v, expected %v", seed, got, want)
		}
		checkNoRepeats(t, seed, w.changes)
	}
}

// names are those in the table, by id.
func (w *world) names() map[string]string {
	w.t.Helper()
	rows, err := w.db.QueryContext(w.t.Context(), "SELECT id, name FROM products WHERE gone = 0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	names := map[string]string{}
	for rows.Next() {
		var id, name string
		if err := rows.Scan(&id, &name); err != nil {
			w.t.Fatal(err)
		}
		names[id] = name
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return names
}

// checkNoRepeats replays the log: each change changes something.
func checkNoRepeats(t *testing.T, seed uint64, changes []event.Change) {
	t.Helper()
	index := catalog.NewIndex()
	for n, c := range changes {
		old := index.Item(c.Item.ID)
		switch {
		case c.Kind == event.DeleteItem && old == nil:
			t.Fatalf("seed %d: change %d deletes what is not there", seed, n)
		case c.Kind == event.PutItem && old != nil && catalogtest.ItemText(old) == catalogtest.ItemText(c.Item):
			t.Fatalf("seed %d: change %d puts what is there", seed, n)
		}
		index.Apply(c)
	}
}

func TestValidate(t *testing.T) {
	good := config()
	good.Driver, good.DSN = "mysql", "mysql://shop@db/shop"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*table.Config){
		"import.driver: want mysql or postgres":              func(c *table.Config) { c.Driver = "sqlite" },
		"import.take_over: want false":                       func(c *table.Config) { c.TakeOver = true },
		"import.interval: want 10ms":                         func(c *table.Config) { c.Interval = 0 },
		"import.max_deleted: want more than 0":               func(c *table.Config) { c.MaxDeleted = 0 },
		"import.items.columns.title: want the name of a col": func(c *table.Config) { c.Items.Columns = map[string]string{"title": "a; DROP TABLE x"} },
		"import.items.columns: want names of":                func(c *table.Config) { c.Items.Columns = map[string]string{"titel": "a"} },
		"import.dsn: want mysql://":                          func(c *table.Config) { c.DSN = "" },
		"import.page_rows: want 2":                           func(c *table.Config) { c.PageRows = 1 },
	} {
		c := good
		c.Items.Columns = maps.Clone(good.Items.Columns)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, expected %q", err, want)
		}
	}
	if none := table.Default(); none.Enabled() || none.Validate() != nil {
		t.Error("the default reads something")
	}
}

// A query without the columns that rows are found by is refused with the setting
// that names them, in the words of no database.
func TestColumnsThatAreMissing(t *testing.T) {
	w := newWorld(t, "CREATE TABLE products (id TEXT, sku TEXT, changed INTEGER)", "INSERT INTO products VALUES ('a', 's', 1)")
	for _, c := range []struct {
		query   string
		columns map[string]string
		want    string // empty: it works
	}{
		{"SELECT id, changed FROM products", nil, "want a column updated_at among [id changed]: name the one that says when a row was changed with columns: {updated_at: NAME}"},
		{"SELECT sku, changed FROM products", map[string]string{"updated_at": "changed"}, "want a column id among [sku changed]: name the one that is with columns: {id: NAME}"},
		{"SELECT id FROM products", map[string]string{"updated_at": "changes"}, `import.items.columns.updated_at: want one of the query's columns [id], got "changes"`},
		{"SELECT id, updated FROM products", nil, "no such column: updated"},
		{"SELECT id, changed FROM products", map[string]string{"updated_at": "changed"}, ""},
		{"SELECT id FROM products", map[string]string{"updated_at": ""}, ""},
	} {
		config := table.Default()
		config.Items.Query, config.Items.Columns = c.query, c.columns
		found := table.Inspect(t.Context(), table.Options{Config: config, DB: w.db, Placeholder: w.placeholder})
		if err := found[0].Err; c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %v: %v, want %s", c.query, c.columns, err, c.want)
		}
	}
}
