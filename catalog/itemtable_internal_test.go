package catalog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"millrace/event"
)

// The table is a map, also where items come and go, and readers beside the
// writer find every item that stays.
func TestItemTableIsAMap(t *testing.T) {
	const seed = 5
	random := rand.New(rand.NewPCG(seed, 1))
	var table itemTable
	stays := make([]*event.Item, 500)
	for i := range stays {
		stays[i] = &event.Item{ID: fmt.Sprint("stays", i)}
		table.store(stays[i])
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			want := stays[i%len(stays)]
			if got := table.load(want.ID, event.HashID(want.ID)); got != want {
				stopped <- fmt.Errorf("%s is %v", want.ID, got)
				return
			}
		}
	}()
	want := map[string]*event.Item{}
	for range 60_000 {
		id := fmt.Sprint(random.IntN(3000))
		if random.IntN(3) == 0 {
			table.remove(id)
			delete(want, id)
		} else {
			want[id] = &event.Item{ID: id}
			table.store(want[id])
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for i := range 3000 {
		id := fmt.Sprint(i)
		if got := table.load(id, event.HashID(id)); got != want[id] {
			t.Fatalf("seed %d: %s is %v, want %v", seed, id, got, want[id])
		}
	}
	found := 0
	for range table.all {
		found++
	}
	if n := int(table.size.Load()); n != len(want)+len(stays) || found != n {
		t.Errorf("seed %d: %d items, %d found, want %d", seed, n, found, len(want)+len(stays))
	}
	entries := 0
	for i := range table.segments {
		if s := table.segments[i].Load(); s != nil {
			entries += len(s.entries)
		}
	}
	if entries > 8*found+itemSegments*leastItemEntries {
		t.Errorf("seed %d: %d entries for %d items", seed, entries, found)
	}
}

// A reader sees an item as it was or none, while the writer puts and removes
// it.
func TestItemTableGivesWholeItems(t *testing.T) {
	var table itemTable
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		hash := event.HashID("a")
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if got := table.load("a", hash); got != nil && !got.Hidden {
				stopped <- fmt.Errorf("an item that never was: %+v", got)
				return
			}
		}
	}()
	for range 500_000 {
		table.store(&event.Item{ID: "a", Hidden: true})
		table.remove("a")
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
