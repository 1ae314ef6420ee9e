package opener_test

import (
	"sync"
	"testing"

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
