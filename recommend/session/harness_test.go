package session

import (
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
)

func at(second int) event.Time { return 1_700_000_000_000 + event.Time(second)*event.Second }

func view(user, item string, t event.Time) event.Enriched {
	return event.Enriched{Event: event.Event{User: user, Item: item, Type: "view", Time: t}}
}

// A session that was stored in the middle goes on on other shards, and ends as
// it would have.
func TestRestoredSessionEnds(t *testing.T) {
	h := harness.New[event.Enriched](t, topology(Options{Gap: 10 * event.Second, Items: 5}), harness.Options{})
	h.Send(at(0), view("ann", "i1", at(0)))
	h.Send(at(4), view("ann", "i2", at(4)))
	h.Watermark(at(5))
	h.Restore(h.Snapshot(), 4)
	h.Send(at(7), view("ann", "i1", at(7)))
	h.Watermark(at(17) - 2)
	harness.Expect[Closed](h, "session", PortSessions)
	h.Watermark(at(17) - 1)
	closed := harness.Emitted[Closed](h, "session", PortSessions)
	if len(closed) != 1 || closed[0].Time != at(17)-1 {
		t.Fatalf("got %+v", closed)
	}
	if c := closed[0].Record; c.User != "ann" || c.Start != at(0) || c.Last != at(7) || c.Events != 3 || len(c.Items) != 2 {
		t.Errorf("got %+v", c)
	}
	h.Send(at(6), view("ann", "i3", at(6)))
	if late := harness.Emitted[Late](h, "session", PortLate); len(late) != 1 || late[0].Record.Item != "i3" {
		t.Errorf("late: %+v", late)
	}
}

// All engines agree on the sessions of any events, with restores in between.
func TestSessionsOnAllEngines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Gap: event.Duration(rapid.Int64Range(1, 8000).Draw(t, "gap")), Items: 5}
		h := harness.New[event.Enriched](t, topology(o), harness.Options{
			Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(5 * event.Second) },
		})
		for i, e := range drawEvents(t, 15_000) {
			h.Send(e.Time, e)
			switch rapid.IntRange(0, 9).Draw(t, "then") {
			case 0:
				h.Flush()
			case 1:
				if i%3 == 0 {
					h.Restore(h.Snapshot(), rapid.IntRange(1, 4).Draw(t, "shards"))
				}
			case 2:
				if i%5 == 0 {
					h.Forget(operator.SubjectUser, "bob")
				}
			}
		}
		h.Watermark(event.MaxTime)
	})
}
