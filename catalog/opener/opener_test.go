package opener_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/catalog/opener"
	"millrace/catalog/sqlstore"
)

func open(t testing.TB, c database.Config) *sqlstore.Store {
	t.Helper()
	store, err := opener.Open(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestConformance has real servers do what every catalogue must.
func TestConformance(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		catalogtest.Run(t, func(t *testing.T) catalog.Store { return open(t, s.New(t)) })
		catalogtest.RunReopen(t, func(t *testing.T) func() catalog.Store {
			c := s.New(t)
			return func() catalog.Store { return open(t, c) }
		})
	})
}

// TestOpenedTogether opens an empty database by several at once, as an engine and
// its fronts do that are started together: one makes the tables, the others
// wait for it. Two connections each are enough.
func TestOpenedTogether(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		c.MaxOpenConnections, c.MaxIdleConnections = 2, 2
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				store, err := opener.Open(t.Context(), c, "")
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
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		file := "../" + s.Driver + "/migrations/00001_catalogue.sql"
		databasetest.Interrupted(t, s, file, sqlstore.MigrationsTable, func(c database.Config) {
			store := open(t, c)
			if _, err := catalogtest.Read(t.Context(), store); err != nil {
				t.Error(err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestOpenedBesideOneThatHangs opens a database that is migrated while another
// process has the lock of those who migrate, and hangs.
func TestOpenedBesideOneThatHangs(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		if err := open(t, c).Close(); err != nil {
			t.Fatal(err)
		}
		db, dialect, err := opener.Connect(c)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = dialect.Exclusive(t.Context(), db, func() error {
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			store, err := opener.Open(ctx, c, "")
			if err != nil {
				return err
			}
			return store.Close()
		})
		if err != nil {
			t.Error(err)
		}
	})
}
