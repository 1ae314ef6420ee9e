package pairs

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/decay"
)

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("pairs: invalid options")

// The bounds of options.
const (
	MaxTrail    = 64   // items of a trail
	MaxCapacity = 4096 // partners of a row
)

// slicesPerPane is how many slices a pane has.
const slicesPerPane = 24

// Options shape the rows of a stage.
type Options struct {
	// Pane is the length of time in which pairs count as equally old, in
	// milliseconds: a multiple of 24.
	Pane event.Duration `json:"pane_ms"`
	// HalfLife is the time in which a pair's weight halves, in milliseconds.
	HalfLife event.Duration `json:"half_life_ms"`
	// Capacity is how many partners an item keeps when there are more than
	// twice as many.
	Capacity int `json:"capacity"`
	// Top is how many partners the view holds, at most Capacity.
	Top int `json:"top"`
}

// Defaults are panes of three days, a half-life of 30 days, 256 partners and the
// top 100 of them.
func Defaults() Options {
	return Options{Pane: 3 * event.Day, HalfLife: 30 * event.Day, Capacity: 256, Top: 100}
}

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	switch {
	case o.Pane < event.Minute || o.Pane > 366*event.Day || o.Pane%slicesPerPane != 0:
		return fmt.Errorf("%w: pane_ms is %d, expected a multiple of %d from %d to %d",
			ErrOptions, o.Pane, slicesPerPane, event.Minute, 366*event.Day)
	case o.HalfLife < o.Pane || o.HalfLife > 100*366*event.Day:
		return fmt.Errorf("%w: half_life_ms is %d, expected %d (a pane) to %d",
			ErrOptions, o.HalfLife, o.Pane, 100*366*event.Day)
	case o.Capacity < 1 || o.Capacity > MaxCapacity:
		return fmt.Errorf("%w: capacity is %d, expected 1 to %d", ErrOptions, o.Capacity, MaxCapacity)
	case o.Top < 1 || o.Top > o.Capacity:
		return fmt.Errorf("%w: top is %d, expected 1 to %d (the capacity)", ErrOptions, o.Top, o.Capacity)
	}
	return nil
}

func (o Options) slice() event.Duration { return o.Pane / slicesPerPane }

func (o Options) halfLife() decay.HalfLife { return decay.HalfLife(o.HalfLife) }

// fresh is how many new partners an open pane keeps.
func (o Options) fresh() int { return 2 * o.Capacity }

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
		Codec:   contributionCodec(),
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
