package recommendtest

import (
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend/clean"
)

// Door stands in for the stage that cleans events: keyed by user, it emits
// what it is given. Operators under test are wired behind it.
func Door(in operator.Stream[event.Enriched]) operator.Stream[event.Enriched] {
	h := operator.Add(in, operator.Stage[string, struct{}, event.Enriched]{
		Name:    "door",
		Version: 1,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, struct{}, event.Enriched] {
			return &door{operator.Out[event.Enriched](p, "events")}
		},
	})
	return operator.From[event.Enriched](h, "events")
}

type door struct {
	events *operator.Output[event.Enriched]
}

// Fold emits the event as it is.
func (o *door) Fold(c *operator.Context, _ string, _ *struct{}, e *event.Enriched) {
	o.events.Emit(c.Time, *e)
}

// Timer is never called.
func (o *door) Timer(*operator.Context, string, *struct{}, event.Time) {}

// Append writes nothing: there is no state.
func (o *door) Append(dst []byte, _ *struct{}) []byte { return dst }

// Load reads nothing.
func (o *door) Load(uint8, []byte, *struct{}) error { return nil }

// Topology wires operators behind a door.
func Topology(wire func(events operator.Stream[event.Enriched])) *operator.Topology {
	t, source := operator.NewTopology[event.Enriched]()
	wire(Door(source))
	return t
}

// Alone is a topology of one stage that reads the source: what it emits and
// answers is not among what another stage does.
func Alone[K operator.Key, S any](stage operator.Stage[K, S, event.Enriched]) *operator.Topology {
	t, events := operator.NewTopology[event.Enriched]()
	operator.Add(events, stage)
	return t
}

// BehindClean sends a view of "ann" and its repeat through clean to what is
// wired behind it, and gives the views.
func BehindClean(t *testing.T, wire func(events operator.Stream[event.Enriched])) map[string]map[string]operator.Value {
	t.Helper()
	topology, events := operator.NewTopology[event.Enriched]()
	wire(operator.From[event.Enriched](clean.Add(events, clean.Defaults()), clean.PortEvents))
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	engine := operatortest.New[event.Enriched](topology, 2, 0, 1)
	for range 2 {
		engine.Send(1, &event.Enriched{Event: event.Event{ID: "e1", User: "ann", Item: "i1", Type: event.TypeView, Time: 1}})
	}
	engine.Drain()
	return engine.Views()
}
