package window

import (
	"millrace/event"
	"millrace/operator"
)

// part is what inputs for one key and pane come to on the way to their shard.
type part[K operator.Key, A any] struct {
	key         K
	start, from event.Time
	sum         A
}

// late is an input that came too late, on its way to be emitted.
type lateInput[I any] struct{ in I }

// addCombined adds a stage whose inputs are added up before the exchange.
// Where an input belongs, and whether it is late, is decided before, as what
// travels with it does not survive being added up.
func addCombined[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	w := windows[K, I, A, O]{spec: spec}
	parts := operator.Process(in, func(m operator.Meta, in *I, emit func(*arrival[K, I, A])) {
		start, from, ok := w.place(m.Time, m.Watermark)
		a := arrival[K, I, A]{part: part[K, A]{key: spec.Key(in), start: start, from: from}, passed: m.Watermark}
		switch {
		case ok:
			spec.Add(&a.part.sum, in)
		case w.isLate(m.Time, m.Watermark):
			a.late = &lateInput[I]{*in}
		default:
			return
		}
		emit(&a)
	})
	return operator.Add(parts, operator.Stage[K, panes[A], arrival[K, I, A]]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism,
		Key: func(a *arrival[K, I, A]) K { return a.part.key },
		New: func(p *operator.Ports) operator.Operator[K, panes[A], arrival[K, I, A]] {
			return &combined[K, I, A, O]{windows: newWindows[K, I, A, O](p, spec), late: operator.Out[I](p, PortLate)}
		},
		Combine: &operator.Combiner[arrival[K, I, A]]{
			Hash: func(a *arrival[K, I, A]) uint64 { return uint64(a.part.start) },
			Merge: func(into, in *arrival[K, I, A]) bool {
				if into.part.start != in.part.start || into.part.from != in.part.from ||
					into.alone(spec.Windows.size) || in.alone(spec.Windows.size) {
					return false
				}
				spec.Merge(&into.part.sum, &in.part.sum)
				into.passed = min(into.passed, in.passed)
				return true
			},
		},
	})
}

// arrival is an input of a combined stage.
type arrival[K operator.Key, I, A any] struct {
	part   part[K, A]
	passed event.Time    // the least watermark of the inputs
	late   *lateInput[I] // nil but for an input that is late
}

// alone reports whether an input is not added to others: one that is late, and
// one for a window that is over, which has the window emit anew by itself.
func (a *arrival[K, I, A]) alone(size event.Duration) bool {
	return a.late != nil || a.part.from+size-1 <= a.passed
}

// combined is the operator of windows whose inputs were added up.
type combined[K operator.Key, I, A, O any] struct {
	windows[K, I, A, O]
	late *operator.Output[I]
}

// Fold adds a part to its pane.
func (o *combined[K, I, A, O]) Fold(c *operator.Context, key K, s *panes[A], in *arrival[K, I, A]) {
	if in.late != nil {
		o.late.Emit(c.Time, in.late.in)
		c.Unchanged()
		return
	}
	p := s.at(in.part.start, in.part.from, &o.free)
	o.spec.Merge(&p.sum, &in.part.sum)
	o.await(c, in.part.start, in.part.from, in.passed)
	o.again(key, s, in.part.start, in.part.from, in.passed)
}

// Timer fires the window that ends.
func (o *combined[K, I, A, O]) Timer(c *operator.Context, key K, s *panes[A], at event.Time) {
	o.onTime(key, s, at)
	next := o.close(s, at)
	if next != event.MaxTime {
		c.SetTimer(next)
	} else if !s.any {
		c.Forget()
	}
}
