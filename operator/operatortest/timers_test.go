package operatortest_test

import (
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
)

// hasty sets a timer a while after the event's own time, which may have passed,
// and another one when it fires.
type hasty struct{ first, again event.Duration }

func (h hasty) Fold(c *operator.Context, _ string, _ *struct{}, _ *event.Enriched) {
	c.SetTimer(c.Time + h.first)
}

func (h hasty) Timer(c *operator.Context, _ string, _ *struct{}, at event.Time) {
	if h.again != 0 {
		c.SetTimer(at + h.again - 1)
	}
}

func (hasty) Append(dst []byte, _ *struct{}) []byte     { return dst }
func (hasty) Load(_ uint8, _ []byte, _ *struct{}) error { return nil }

// A timer that the watermark has passed would fire at another moment on another
// engine, so an operator that sets one is stopped.
func TestTimersThatHavePassedAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		stage   hasty
		refused bool
	}{
		{"at the watermark", hasty{first: 1}, true},
		{"after the watermark", hasty{first: 2}, false},
		{"by a timer, for its own time", hasty{first: 2, again: 1}, true},
		{"by a timer, for later", hasty{first: 2, again: 1 + event.Day}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology, events := operator.NewTopology[event.Enriched]()
			operator.Add(events, operator.Stage[string, struct{}, event.Enriched]{
				Name: "hasty", Version: 1,
				Key: func(e *event.Enriched) string { return e.User },
				New: func(*operator.Ports) operator.Operator[string, struct{}, event.Enriched] { return c.stage },
			})
			defer func() {
				if r := recover(); (r != nil) != c.refused {
					t.Errorf("it panics with %v", r)
				}
			}()
			e := operatortest.New[event.Enriched](topology, 1, 0, 0)
			for _, at := range []event.Time{1002, 1000, 2000} { // the second one is late: the watermark is 1001
				e.Send(at, &event.Enriched{Event: event.Event{User: "ann", Time: at}})
			}
		})
	}
}
