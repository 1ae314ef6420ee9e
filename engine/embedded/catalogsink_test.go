package embedded

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/catalog/sqlite"
	"millrace/event"
	"millrace/eventlog"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// A database that was lost is built again from a checkpoint as it was: also with
// the users of whom nothing is known but their events.
func TestLostCatalogueIsBuiltAgain(t *testing.T) {
	var events, changes []byte
	for _, user := range []string{"only-events", "described", "deleted"} {
		events = event.AppendEvent(events, &event.Event{User: user, Item: "of-an-event", Type: event.TypeView, Time: 1_700_000_000_000})
	}
	for _, c := range []event.Change{
		{Kind: event.PutUser, User: &event.User{ID: "described", Age: 40}}, {Kind: event.PutUser, User: &event.User{ID: "no-events", Age: 20}},
		{Kind: event.DeleteUser, User: &event.User{ID: "deleted"}}, {Kind: event.PutItem, Item: &event.Item{ID: "described", Title: "t"}},
	} {
		changes = event.AppendChange(changes, &c)
	}
	log := &simulatedLog{blocks: []*eventlog.Block{
		{Number: 1, Kind: eventlog.Config, Time: 1, Count: 1, Payload: []byte("1")},
		{Number: 2, Kind: eventlog.Events, Time: 2, Count: 3, Payload: events},
		{Number: 3, Kind: eventlog.Catalogue, Time: 3, Count: 4, Payload: changes},
	}}
	backend := statememory.New()
	var contents []string
	for _, name := range []string{"first", "lost and made again"} {
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := Open(Options{Build: simulationProgram, Shards: 2, Log: log, State: backend, Views: viewmemory.New(), Catalog: store})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.Checkpoint(t.Context(), 3), e.WaitCatalog(t.Context(), 3)); err != nil {
			t.Fatal(err)
		}
		var rows []string
		err = errors.Join(
			store.EachUser(t.Context(), func(u *event.User) error { rows = append(rows, fmt.Sprintf("user %+v", *u)); return nil }),
			store.EachItem(t.Context(), func(i *event.Item) error { rows = append(rows, fmt.Sprintf("item %+v", *i)); return nil }),
			e.Close(), store.Close())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(rows)
		contents = append(contents, strings.Join(rows, "\n"))
		if len(rows) != 5 {
			t.Errorf("%s:\n%s", name, contents[len(contents)-1])
		}
	}
	if contents[0] != contents[1] {
		t.Errorf("it was\n%s\nand is\n%s", contents[0], contents[1])
	}
}
