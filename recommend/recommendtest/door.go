package recommendtest

import (
	"millrace/event"
	"millrace/operator"
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

func (o *door) Fold(c *operator.Context, _ string, _ *struct{}, e *event.Enriched) {
	o.events.Emit(c.Time, *e)
}
func (o *door) Timer(*operator.Context, string, *struct{}, event.Time) {}
func (o *door) Append(dst []byte, _ *struct{}) []byte                  { return dst }
func (o *door) Load(uint8, []byte, *struct{}) error                    { return nil }

// Topology wires operators behind a door.
func Topology(wire func(events operator.Stream[event.Enriched])) *operator.Topology {
	t, source := operator.NewTopology[event.Enriched]()
	wire(Door(source))
	return t
}
