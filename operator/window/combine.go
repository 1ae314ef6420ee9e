package window

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// arrival is what inputs for one key and pane come to on the way to their
// shard, or one that is late on the way to where it is emitted.
type arrival[K operator.Key, I, A any] struct {
	key        K
	start, cut event.Time // the pane
	passed     event.Time // the least watermark of the inputs
	over       bool       // a window is that draws from the pane: it emits anew
	late       *I
	sum        A
}

// addCombined adds a stage whose inputs are added up before the exchange.
// Where an input belongs, and whether it is late, is decided before, as what
// travels with it does not survive being added up.
func addCombined[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	g := newGrid(spec.Windows, spec.More)
	arrivals := operator.Process(in, func(m operator.Meta, in *I, emit func(*arrival[K, I, A])) {
		start, cut, ok := g.place(m.Time, m.Watermark, spec.Lateness)
		a := arrival[K, I, A]{key: spec.Key(in), start: start, cut: cut, passed: m.Watermark}
		switch {
		case ok:
			a.over = spec.Lateness > 0 && g.nextEnd(start, cut)-1 <= m.Watermark
			spec.Add(&a.sum, in)
		case spec.isLate(m.Time, m.Watermark):
			late := *in
			a.late = &late
		default:
			return
		}
		emit(&a)
	})
	return operator.Add(arrivals, operator.Stage[K, panes[A], arrival[K, I, A]]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism,
		Key:   func(a *arrival[K, I, A]) K { return a.key },
		Codec: arrivalCodec[K, I](spec.Accumulator),
		New: func(p *operator.Ports) operator.Operator[K, panes[A], arrival[K, I, A]] {
			return &combined[K, I, A, O]{windows: newWindows[K, I, A, O](p, spec), late: operator.Out[I](p, PortLate)}
		},
		Combine: &operator.Combiner[arrival[K, I, A]]{
			Hash: func(a *arrival[K, I, A]) uint64 { return uint64(a.start) },
			Merge: func(into, in *arrival[K, I, A]) bool {
				if into.start != in.start || into.cut != in.cut || into.alone() || in.alone() {
					return false
				}
				spec.Merge(&into.sum, &in.sum)
				into.passed = min(into.passed, in.passed)
				return true
			},
		},
	})
}

// arrivalCodec is how arrivals cross to another process; nil if those that are
// late can not, as inputs have no form in bytes.
func arrivalCodec[K operator.Key, I, A any](sum codec.Codec[A]) *codec.Codec[arrival[K, I, A]] {
	if _, ok := any(new(I)).(operator.Record); !ok {
		return nil
	}
	return &codec.Codec[arrival[K, I, A]]{
		Append: func(dst []byte, a *arrival[K, I, A]) []byte {
			dst = wire.AppendBytes(dst, operator.KeyBytes(nil, a.key))
			for _, t := range []event.Time{a.start, a.cut, a.passed} {
				dst = wire.AppendVarint(dst, int64(t))
			}
			dst = wire.AppendBool(wire.AppendBool(dst, a.over), a.late != nil)
			if a.late != nil {
				return any(a.late).(operator.Record).AppendRecord(dst)
			}
			return sum.Append(dst, &a.sum)
		},
		Load: func(r *wire.Reader, a *arrival[K, I, A]) {
			key, ok := operator.KeyFrom[K](r.Bytes())
			if !ok {
				r.Fail(wire.ErrCorrupt)
			}
			a.key = key
			for _, t := range []*event.Time{&a.start, &a.cut, &a.passed} {
				*t = event.Time(r.Varint())
			}
			a.over = r.Bool()
			if r.Bool() {
				a.late = new(I)
				any(a.late).(operator.Record).ReadRecord(r)
				return
			}
			sum.Load(r, &a.sum)
		},
	}
}

// alone reports whether an input is not added to others: one that is late, and
// one for a window that is over, which has the window emit anew by itself.
func (a *arrival[K, I, A]) alone() bool { return a.over || a.late != nil }

// combined is the operator of windows whose inputs were added up.
type combined[K operator.Key, I, A, O any] struct {
	windows[K, I, A, O]
	late *operator.Output[I]
}

// Fold adds what has arrived to its pane.
func (o *combined[K, I, A, O]) Fold(c *operator.Context, key K, s *panes[A], in *arrival[K, I, A]) {
	if in.late != nil {
		o.late.Emit(c.Time, *in.late)
		c.Unchanged()
		return
	}
	p, fresh := s.at(in.start, in.cut, &o.free)
	o.spec.Merge(&p.sum, &in.sum)
	if fresh || o.spec.Lateness > 0 { // else the timer of the pane's next window is set
		o.await(c, in.start, in.cut, in.passed)
		o.again(key, s, in.start, in.cut, in.passed)
	}
}

// Timer fires the window that ends.
func (o *combined[K, I, A, O]) Timer(c *operator.Context, key K, s *panes[A], at event.Time) {
	o.end(c, key, s, at)
}
