package window

import (
	"fmt"
	"math"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// tally are the latest inputs of a key, added up in steps.
type tally[A any] struct {
	steps  []step[A] // the last one is being filled, or all are full
	filled int       // inputs in the last one
	n      int       // inputs since the last firing
}

// step are inputs that enter and leave windows together.
type step[A any] struct {
	first, last event.Time // the least and the largest of their times
	sum         A
}

// last is the step that is being filled, a new one at a time if there is none.
func (s *tally[A]) last(t event.Time) *step[A] {
	if len(s.steps) == 0 {
		s.steps = append(s.steps, step[A]{first: t, last: t})
	}
	at := &s.steps[len(s.steps)-1]
	at.first, at.last = min(at.first, t), max(at.last, t)
	return at
}

// addCount adds a stage of count windows, or of the global window.
func addCount[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	return operator.Add(in, operator.Stage[K, tally[A], I]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism, Key: spec.Key,
		New: func(p *operator.Ports) operator.Operator[K, tally[A], I] {
			// Nothing is ever late for these windows; the port is there because all have it.
			_ = operator.Out[I](p, PortLate)
			return &counts[K, I, A, O]{spec: spec, results: operator.Out[O](p, PortResults)}
		},
	})
}

// counts is the operator of count windows and of the global window.
type counts[K operator.Key, I, A, O any] struct {
	spec    Spec[K, I, A, O]
	results *operator.Output[O]
	total   A // scratch
	at      event.Time
	emit    func(O)
}

// Fold adds an input.
func (o *counts[K, I, A, O]) Fold(c *operator.Context, key K, s *tally[A], in *I) {
	t := c.Time
	if o.spec.ProcessingTime {
		t = c.ProcessingTime()
	}
	if o.spec.Windows.kind == count {
		o.count(key, s, in, t)
		return
	}
	o.spec.Add(&s.last(t).sum, in)
	g := &o.spec.Trigger
	if s.n++; g.Count > 0 && s.n >= g.Count {
		o.fireGlobal(c, key, s)
	}
	o.spec.tick(c, c.Time)
}

// count adds an input to the last step, and emits when a window's step is full.
func (o *counts[K, I, A, O]) count(key K, s *tally[A], in *I, t event.Time) {
	w := &o.spec.Windows
	if size := divisor(w.n, w.step); s.filled == size {
		s.filled = 0
		if len(s.steps) == w.n/size {
			s.steps = slices.Delete(s.steps, 0, 1)
		}
		s.steps = append(s.steps, step[A]{first: t, last: t})
	}
	o.spec.Add(&s.last(t).sum, in)
	s.filled++
	if s.n++; s.n < w.step {
		return
	}
	s.n = 0
	first, last := s.steps[0].first, s.steps[0].last
	for i := range s.steps {
		first, last = min(first, s.steps[i].first), max(last, s.steps[i].last)
	}
	o.prepare(last)
	result := Window[K]{Key: key, Start: first, End: last + 1}
	if len(s.steps) == 1 {
		o.spec.Result(result, &s.steps[0].sum, o.emit)
	} else {
		for i := range s.steps {
			o.spec.Merge(&o.total, &s.steps[i].sum)
		}
		o.spec.Result(result, &o.total, o.emit)
		o.total = *new(A)
	}
	if w.step >= w.n {
		*s = tally[A]{}
	}
}

// prepare makes the function through which results are emitted.
func (o *counts[K, I, A, O]) prepare(at event.Time) {
	o.at = at
	if o.emit == nil {
		o.emit = func(v O) { o.results.Emit(o.at, v) }
	}
}

func (o *counts[K, I, A, O]) fireGlobal(c *operator.Context, key K, s *tally[A]) {
	all := &s.steps[0]
	o.prepare(all.last)
	o.spec.Result(Window[K]{Key: key, Start: event.MinTime, End: event.MaxTime, Firing: Early}, &all.sum, o.emit)
	s.n = 0
	if o.spec.Trigger.Purge {
		c.Forget()
	}
}

// Timer fires the global window by its trigger, if something came since the
// last firing. The next input sets the next timer.
func (o *counts[K, I, A, O]) Timer(c *operator.Context, key K, s *tally[A], _ event.Time) {
	if s.n > 0 {
		o.fireGlobal(c, key, s)
	}
}

// ProcessingTimer does so in processing time.
func (o *counts[K, I, A, O]) ProcessingTimer(c *operator.Context, key K, s *tally[A], _ event.Time) {
	if s.n > 0 {
		o.fireGlobal(c, key, s)
	}
}

// Append writes the steps in the order in which they were filled.
func (o *counts[K, I, A, O]) Append(dst []byte, s *tally[A]) []byte {
	dst = wire.AppendUvarint(dst, uint64(s.filled))
	dst = wire.AppendUvarint(dst, uint64(s.n))
	dst = wire.AppendUvarint(dst, uint64(len(s.steps)))
	for i := range s.steps {
		at := &s.steps[i]
		dst = wire.AppendVarint(dst, int64(at.first))
		dst = wire.AppendUvarint(dst, uint64(at.last-at.first))
		dst = o.spec.Accumulator.Append(dst, &at.sum)
	}
	return dst
}

// Load reads what Append wrote.
func (o *counts[K, I, A, O]) Load(_ uint8, src []byte, s *tally[A]) error {
	r := wire.NewReader(src)
	filled, n, steps := r.Uvarint(), r.Uvarint(), r.Count()
	for range steps {
		var at step[A]
		at.first = event.Time(r.Varint())
		at.last = at.first + event.Time(r.Uvarint())
		o.spec.Accumulator.Load(r, &at.sum)
		if r.Err() != nil {
			return r.Err()
		}
		s.steps = append(s.steps, at)
	}
	if err := r.End(); err != nil {
		return err
	}
	most, size, since := uint64(1), uint64(0), uint64(math.MaxInt)
	if w := &o.spec.Windows; w.kind == count {
		size = uint64(divisor(w.n, w.step))
		most, since = uint64(w.n)/size, uint64(w.step)-1
	}
	if uint64(steps) > most || filled > size || n > since || steps == 0 && filled+n > 0 {
		return fmt.Errorf("%w: not of these windows: %d steps, the last of %d inputs, %d since the last result",
			wire.ErrCorrupt, steps, filled, n)
	}
	s.filled, s.n = int(filled), int(n)
	return nil
}
