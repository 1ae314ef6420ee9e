package pairs

import (
	"millrace/event"
	"millrace/operator"
)

// Handles are the stages that Add adds.
type Handles struct {
	Trail operator.Handle // emits Contributions on PortPairs
	Rows  operator.Handle
}

// Add adds two stages: one chained to the stage that emits in, which is keyed
// by user, and one keyed by item, which keeps the partners of each item in a
// view of its own name (Partners). Events of no or negative weight make no
// pairs. It panics if the options are not valid.
func Add(in operator.Stream[event.Enriched], trail, rows string, types *event.Types, t TrailOptions, o Options) Handles {
	for _, err := range []error{t.Validate(), o.Validate()} {
		if err != nil {
			panic(err)
		}
	}
	var h Handles
	h.Trail = addTrail(in, trail, types, t, o)
	h.Rows = addRows(operator.From[Contribution](h.Trail, PortPairs), rows, o)
	return h
}

// addRows adds the stage that is keyed by item.
func addRows(in operator.Stream[Contribution], name string, o Options) operator.Handle {
	return operator.Add(in, operator.Stage[string, Row, Contribution]{
		Name:    name,
		Subject: operator.SubjectItem,
		Version: rowVersion,
		Key:     func(in *Contribution) string { return in.Item },
		Combine: &combiner,
		New: func(p *operator.Ports) operator.Operator[string, Row, Contribution] {
			return &rowStage{Book: NewBook(o), view: operator.View[*Partners](p, name)}
		},
	})
}

// rowStage is the operator of a row stage.
type rowStage struct {
	*Book
	view *operator.ViewPort[*Partners]
}

// Fold counts a contribution.
func (o *rowStage) Fold(c *operator.Context, _ string, r *Row, in *Contribution) { o.Count(c, r, in) }

// Timer closes a pane.
func (o *rowStage) Timer(c *operator.Context, _ string, r *Row, at event.Time) { o.Close(c, r, at) }

// Answer puts the item's partners, if they have changed.
func (o *rowStage) Answer(item string, r *Row) {
	switch {
	case r == nil:
		o.view.Delete(item)
	case r.pending:
		o.view.Put(item, o.Partners(r))
		r.pending = false
	}
}
