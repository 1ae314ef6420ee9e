package event_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
)

// An event with what the catalogue knew arrives in another process as it was sent,
// and what repeats is not made anew there.
func TestEnrichedEventsCross(t *testing.T) {
	var reader event.EnrichedReader
	gen := rapid.Custom(func(t *rapid.T) event.Enriched {
		e := event.Enriched{
			Event:    rapid.Make[event.Event]().Draw(t, "event"),
			ItemInfo: rapid.Ptr(rapid.Make[event.Item](), true).Draw(t, "item"),
			UserInfo: rapid.Ptr(rapid.Make[event.User](), true).Draw(t, "user"),
		}
		if !e.HasValue {
			e.Value = 0
		}
		return e
	})
	rapid.Check(t, func(t *rapid.T) {
		e := gen.Draw(t, "enriched")
		b := e.AppendRecord(nil)
		var again, once event.Enriched
		r := wire.NewReader(b)
		if once.ReadRecord(r); r.End() != nil {
			t.Fatal(r.Err())
		}
		r = wire.NewReader(b)
		if reader.Read(r, &again); r.End() != nil {
			t.Fatal(r.Err())
		}
		for _, got := range []event.Enriched{once, again} {
			if diff := cmp.Diff(e, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
				t.Fatal(diff)
			}
		}
		first := again
		if reader.Read(wire.NewReader(b), &again); again.ItemInfo != first.ItemInfo || again.UserInfo != first.UserInfo {
			t.Fatal("the item and the user are made anew")
		}
		r = wire.NewReader(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		if reader.Read(r, &again); !errors.Is(r.End(), wire.ErrCorrupt) {
			t.Fatalf("a part of it: %v, want ErrCorrupt", r.Err())
		}
	})
}

func FuzzEnriched(f *testing.F) {
	e := event.Enriched{Event: event.Event{User: "u", Item: "i", Type: "view", Time: 1}, ItemInfo: &event.Item{ID: "i"}, UserInfo: &event.User{ID: "u"}}
	f.Add(e.AppendRecord(nil))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var e event.Enriched
		e.ReadRecord(wire.NewReader(b)) // it does not panic
	})
}
