package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	statememory "millrace/state/memory"
)

// tablesWorld is a shop's database that somebody writes, and a millrace serve
// that imports it, which is killed.
type tablesWorld struct {
	*killing
	driver string
	shop   *sql.DB
}

// TestTablesKilled changes a shop's tables while millrace and the database are
// killed, with transactions that commit late: in the end the catalogue is what
// the tables say, deletions without a mark too.
func TestTablesKilled(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		w := &tablesWorld{
			killing: &killing{t: t, random: rand.New(rand.NewPCG(1, 2)), data: t.TempDir(), binary: buildBinary(t)},
			driver:  s.Driver, shop: databasetest.Open(t, c),
		}
		moment := map[string]string{database.MySQL: "TIMESTAMP(6)", database.PostgreSQL: "TIMESTAMPTZ"}[s.Driver]
		w.execute("CREATE TABLE goods (id INT PRIMARY KEY, name VARCHAR(200) NOT NULL, gone INT NOT NULL DEFAULT 0, changed " + moment + " NOT NULL)")
		path := filepath.Join(t.TempDir(), "millrace.yaml")
		settings := fmt.Sprintf(`import:
  driver: %s
  dsn: %s
  interval: 50ms
  overlap: 5s
  reconcile_interval: 300ms
  page_rows: 20
  items:
    query: SELECT id, name, gone, changed FROM goods
    columns: {title: name, deleted: gone, updated_at: changed}
`, c.Driver, string(c.DSN))
		if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		process := w.start("--config", path)
		if !w.ready() {
			t.FailNow()
		}
		for round := range 6 {
			var writing sync.WaitGroup
			writing.Go(func() {
				for range 60 {
					w.change()
				}
			})
			time.Sleep(time.Duration(50+w.random.IntN(200)) * time.Millisecond)
			if round%3 == 2 {
				s.Kill()
				time.Sleep(200 * time.Millisecond)
				s.Start()
				writing.Wait()
				continue
			}
			_ = process.Process.Kill()
			_ = process.Wait()
			writing.Wait()
			if process = w.start("--config", path); !w.ready() {
				t.FailNow()
			}
		}
		waitFor(t, "the catalogue to be what the tables say", w.equal)
		_ = process.Process.Kill()
		_ = process.Wait()
		if result, err := verify(t.Context(), w.data, 3, statememory.New()); err != nil || !result.Equal {
			t.Errorf("verify: %+v, %v", result, err)
		}
	})
}

func (w *tablesWorld) execute(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.shop.ExecContext(w.t.Context(), statement, args...); err != nil {
		w.t.Errorf("%s: %v", statement, err)
	}
}

// change changes a row, marks it deleted, or deletes it; some transactions have
// the time of their beginning and commit later. While the database is down it
// does nothing.
func (w *tablesWorld) change() {
	w.mutex.Lock()
	id, what, title := w.random.IntN(200), w.random.IntN(10), fmt.Sprint("title ", w.random.IntN(1000))
	w.mutex.Unlock()
	p := func(n int) string {
		if w.driver == database.PostgreSQL {
			return fmt.Sprint("$", n)
		}
		return "?"
	}
	tx, err := w.shop.BeginTx(context.Background(), nil)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	defer func() { _ = tx.Rollback() }()
	at := time.Now().UTC()
	_, err = tx.Exec("DELETE FROM goods WHERE id = "+p(1), id)
	if err == nil && what > 0 {
		gone := 0
		if what == 1 {
			gone = 1
		}
		_, err = tx.Exec("INSERT INTO goods (id, name, gone, changed) VALUES ("+p(1)+", "+p(2)+", "+p(3)+", "+p(4)+")", id, title, gone, at)
	}
	if what == 9 {
		time.Sleep(150 * time.Millisecond)
	}
	if err == nil {
		_ = tx.Commit() // whether it did is in the table
	}
}

// titles are those that the table has.
func (w *tablesWorld) titles() map[int]string {
	w.t.Helper()
	rows, err := w.shop.QueryContext(w.t.Context(), "SELECT id, name FROM goods WHERE gone = 0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	titles := map[int]string{}
	for rows.Next() {
		var id int
		var title string
		if err := rows.Scan(&id, &title); err != nil {
			w.t.Fatal(err)
		}
		titles[id] = title
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return titles
}

// equal says whether the server's catalogue is what the table has.
func (w *tablesWorld) equal() bool {
	titles := w.titles()
	for id := range 200 {
		status, body := ask(w.t, http.MethodGet, fmt.Sprint(w.url, "/v1/items/", id), "")
		var item struct{ Title string }
		if err := json.Unmarshal([]byte(body), &item); err != nil {
			return false
		}
		title, there := titles[id]
		if there != (status == http.StatusOK) || there && title != item.Title {
			return false
		}
	}
	return len(titles) > 20
}
