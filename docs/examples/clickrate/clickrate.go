// Package clickrate is the example of docs/your-own-job.md: a topology of its
// own, without a shop, run as a job. It joins what was shown with what was
// clicked, and keeps ready how often each item was clicked in the last minute.
package clickrate

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/join"
	"millrace/operator/keyed"
	"millrace/operator/window"
)

// ViewName is the view that the topology writes: item to Rate.
const ViewName = "rates"

// Shown is a record of the source: a user has been shown an item, or has
// clicked on it.
type Shown struct {
	User, Item string
	Click      bool
}

// outcome is what became of one impression.
type outcome struct {
	item    string
	clicked bool
}

// Rate is the answer for one item: its latest window.
type Rate struct {
	Until         event.Time
	Shown, Clicks int64
}

// AppendBinary appends the answer's bytes.
func (r *Rate) AppendBinary(dst []byte) ([]byte, error) {
	return wire.AppendVarint(wire.AppendVarint(wire.AppendVarint(dst, int64(r.Until)), r.Shown), r.Clicks), nil
}

var shownCodec = codec.Struct(
	codec.Field(func(s *Shown) *string { return &s.User }, codec.String[string]()),
	codec.Field(func(s *Shown) *string { return &s.Item }, codec.String[string]()),
	codec.Field(func(s *Shown) *bool { return &s.Click }, codec.Bool[bool]()),
)

var rateCodec = codec.Struct(
	codec.Field(func(r *Rate) *event.Time { return &r.Until }, codec.Time()),
	codec.Field(func(r *Rate) *int64 { return &r.Shown }, codec.Int64[int64]()),
	codec.Field(func(r *Rate) *int64 { return &r.Clicks }, codec.Int64[int64]()),
)

// Topology wires the stages.
func Topology() *operator.Topology {
	t, source := operator.NewTopology[Shown]()
	pair := func(s *Shown) string { return s.User + "\x00" + s.Item }
	outcomes := join.Interval(
		operator.Filter(source, func(s *Shown) bool { return !s.Click }),
		operator.Filter(source, func(s *Shown) bool { return s.Click }),
		join.Spec[string, Shown, Shown, outcome]{
			Name: "outcomes", LeftKey: pair, RightKey: pair, Lower: 0, Upper: 10 * event.Second,
			Join:     func(l, _ *Shown, emit func(outcome)) { emit(outcome{l.Item, true}) },
			LeftOnly: func(l *Shown, emit func(outcome)) { emit(outcome{l.Item, false}) },
			Left:     shownCodec, Right: shownCodec,
		})
	rates := window.Add(outcomes.Results, window.Spec[string, outcome, Rate, latest]{
		Name: "windows", Key: func(o *outcome) string { return o.item },
		Windows: window.Sliding(event.Minute, 30*event.Second), Combine: true,
		Add: func(r *Rate, o *outcome) {
			r.Shown++
			if o.clicked {
				r.Clicks++
			}
		},
		Merge: func(into, from *Rate) {
			into.Shown += from.Shown
			into.Clicks += from.Clicks
		},
		Accumulator: rateCodec,
		Result: func(w window.Window[string], r *Rate, emit func(latest)) {
			emit(latest{w.Key, Rate{w.End, r.Shown, r.Clicks}})
		},
	})
	operator.Add(window.Results[latest](rates), operator.Stage[string, state, latest]{
		Name: "rates", Version: layout.Version(), Key: func(l *latest) string { return l.item },
		TTL: &operator.TTL{After: event.Day},
		New: func(p *operator.Ports) operator.Operator[string, state, latest] {
			return &keeper{layout, operator.View[*Rate](p, ViewName)}
		},
	})
	return t
}

// latest is the result of an item's window.
type latest struct {
	item string
	rate Rate
}

// state is what is kept for an item.
type state struct{ rate keyed.Value[Rate] }

var layout = keyed.Declare(1, func(d *keyed.Descriptor, s *state) { s.rate.Declare(d, "rate", rateCodec) })

// keeper keeps the view. Its layout has its Append and Load.
type keeper struct {
	*keyed.Layout[state]
	view *operator.ViewPort[*Rate]
}

// Fold keeps the latest window, in whichever order they come.
func (k *keeper) Fold(c *operator.Context, _ string, s *state, in *latest) {
	if rate, ok := s.rate.Get(); ok && rate.Until > in.rate.Until {
		c.Unchanged()
		return
	}
	s.rate.Set(in.rate)
}

// Timer is never called: nothing sets one.
func (*keeper) Timer(*operator.Context, string, *state, event.Time) {}

// Answer keeps the view.
func (k *keeper) Answer(item string, s *state) {
	if s == nil {
		k.view.Delete(item)
		return
	}
	rate, _ := s.rate.Get()
	k.view.Put(item, &rate)
}
