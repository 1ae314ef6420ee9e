package activity

import (
	"fmt"
	"sync"
	"testing"

	"millrace/event"
	"millrace/recommend/names"
	"millrace/recommend/recommendtest"
)

// Readers of a published list are not disturbed by its growth. Run with -race.
func TestSeenIsReadWhileItGrows(t *testing.T) {
	var s Seen
	table := names.New()
	var readers sync.WaitGroup
	for i := range 3000 {
		s.add(item(i), table, 1000)
		if i%100 != 0 {
			continue
		}
		published, newest := s, i
		readers.Go(func() {
			for n := range 3100 {
				want := n <= newest && n > newest-1000
				if published.Has(item(n)) != want {
					t.Errorf("of items up to %d: has %d is %v", newest, n, !want)
				}
			}
		})
	}
	readers.Wait()
}

// A full list costs memory for a few times its items, however long it runs,
// and few tables are looked into.
func TestSeenIsBounded(t *testing.T) {
	var s Seen
	table := names.New()
	const limit = 1000
	for i := range 20 * limit {
		s.add(item(i), table, limit)
		if s.Len() != min(i+1, limit) {
			t.Fatalf("%d items after %d", s.Len(), i+1)
		}
		entries := 0
		for _, t := range s.tables {
			entries += len(t.entries)
		}
		if cap(s.ids) > 4*limit || cap(s.hashes) > 4*limit || entries > 12*limit || len(s.tables) > 8 {
			t.Fatalf("after %d items memory for %d items and %d entries in %d tables, for a limit of %d",
				i+1, cap(s.ids), entries, len(s.tables), limit)
		}
	}
}

func item(i int) string { return fmt.Sprint("item-", i) }

// Ratings and views of 6,000 users with 170 items each, answered every 1000
// events.
func BenchmarkFold(b *testing.B) {
	for _, kind := range []string{"view", "rating", "impression"} {
		b.Run(kind, func(b *testing.B) {
			var users, items [6000]string
			for i := range users {
				users[i], items[i] = fmt.Sprint("user-", i), item(i)
			}
			first := event.Enriched{Event: event.Event{Type: kind, HasValue: kind == "rating", Value: 4}}
			recommendtest.MeasureFold(b, topology(Defaults()), first, func(i int, e *event.Enriched) {
				user := i / 170 * 7919 % len(users)
				e.User, e.Item = users[user], items[(user+i%170*31)%len(items)]
			})
		})
	}
}
