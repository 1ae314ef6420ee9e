package pairs

import (
	"millrace/event"
	"millrace/operator"
)

// AddRows adds a stage that counts contributions in a row an item, and keeps
// the partners of each item (Partners) in a view. The stage has the view's
// name. It panics if the options are not valid.
func AddRows(in operator.Stream[Contribution], name string, o Options) operator.Handle {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	return operator.Add(in, operator.Stage[string, Row, Contribution]{
		Name:    name,
		Subject: operator.SubjectItem,
		Version: rowVersion,
		Key:     func(in *Contribution) string { return in.Item },
		New: func(p *operator.Ports) operator.Operator[string, Row, Contribution] {
			return &rows{Book: NewBook(o), view: operator.View[*Partners](p, name)}
		},
	})
}

// rows is the operator of a row stage.
type rows struct {
	*Book
	view *operator.ViewPort[*Partners]
}

// Fold counts a contribution.
func (o *rows) Fold(c *operator.Context, _ string, r *Row, in *Contribution) { o.Count(c, r, in) }

// Timer closes a pane.
func (o *rows) Timer(c *operator.Context, _ string, r *Row, at event.Time) { o.Close(c, r, at) }

// Answer puts the item's partners, if they have changed.
func (o *rows) Answer(item string, r *Row) {
	switch {
	case r == nil:
		o.view.Delete(item)
	case r.pending:
		o.view.Put(item, o.Partners(r))
		r.pending = false
	}
}
