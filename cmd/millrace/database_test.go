package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/catalog/databasetest"
	"millrace/cmd/millrace/sqldata"
	statememory "millrace/state/memory"
)

// TestDatabaseKilled has a catalogue move from SQLite to a real server, which
// is killed again and again under load: events are applied all the time, health
// says what is wrong, and in the end the tables are what the log says.
func TestDatabaseKilled(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		cfg := testConfig(t.TempDir())
		cfg.CheckpointInterval = 200 * time.Millisecond
		ctx, stop := context.WithCancel(t.Context())
		url, done := served(ctx, t, cfg)
		if status, body := ask(t, http.MethodPut, url+"/v1/items/of-sqlite", `{"title":"from before","created":1700000000}`); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}

		cfg.Catalog = s.New(t)
		cfg.Catalog.Timeout, cfg.Catalog.ConnectTimeout = time.Second, time.Second
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
		url, done = served(ctx, t, cfg)
		var posted atomic.Int64
		var load sync.WaitGroup
		loading, end := context.WithCancel(ctx)
		load.Go(func() {
			for n := 0; loading.Err() == nil; n++ {
				body := fmt.Sprintf(`{"user_id":"u%d","item_id":"i%d","timestamp":%d}`, n%700, n%900, 1700000000+n)
				if status, answer := ask(t, http.MethodPost, url+"/v1/events?wait=applied", body); status != http.StatusOK {
					t.Errorf("event %d: %d %s", n, status, answer)
					return
				}
				if n%50 == 0 { // its answer depends on the database, the change does not
					ask(t, http.MethodPut, fmt.Sprint(url, "/v1/items/i", n%900), fmt.Sprintf(`{"title":"title %d"}`, n))
				}
				posted.Add(1)
			}
		})
		for range 3 {
			time.Sleep(300 * time.Millisecond)
			killDatabase(t, s, url, &posted)
		}
		end()
		load.Wait()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		t.Logf("%d events", posted.Load())
		result, err := verifyCatalogue(t.Context(), cfg.Catalog, cfg.Data, 3, statememory.New())
		if err != nil || !result.Equal || result.Events != uint64(posted.Load()) {
			t.Errorf("verify: %+v, %v", result, err)
		}
		store, err := sqldata.Open(t.Context(), cfg.Catalog, cfg.Data)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if item, err := store.Item(t.Context(), "of-sqlite"); err != nil || item.Title != "from before" {
			t.Errorf("the item that was in SQLite: %+v, %v", item, err)
		}
	})
}

// killDatabase kills the database of a node that takes events, looks that they are
// applied and that health tells of it, and starts it again.
func killDatabase(t *testing.T, s *databasetest.Server, url string, posted *atomic.Int64) {
	t.Helper()
	s.Kill()
	before := posted.Load()
	waitFor(t, "events being applied while the database is away", func() bool { return posted.Load() > before+100 })
	waitFor(t, "health telling that the database is away", func() bool {
		_, body := ask(t, http.MethodGet, url+"/v1/health", "")
		return strings.Contains(body, "the catalogue's database") && strings.Contains(body, "degraded") && !strings.Contains(body, "127.0.0.1")
	})
	s.Start()
	waitFor(t, "health being good again", func() bool {
		status, body := ask(t, http.MethodGet, url+"/v1/health", "")
		return status == http.StatusOK && !strings.Contains(body, "degraded")
	})
}

// TestDatabaseAway starts without the database: it says in words what is wrong,
// and tells no secret.
func TestDatabaseAway(t *testing.T) {
	for scheme, driver := range map[string]string{"mysql": "mysql", "postgres": "postgres"} {
		cfg := testConfig(t.TempDir())
		cfg.Catalog.Driver = driver
		if err := cfg.Catalog.DSN.UnmarshalText([]byte(scheme + "://shop:hunter2-hunter2@127.0.0.1:1/shop")); err != nil {
			t.Fatal(err)
		}
		_, err := start(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1 refuses connections: no database runs there") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: it says %v", driver, err)
		}
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
