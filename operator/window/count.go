package window

import (
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// tally are the latest inputs of a key, added up in steps.
type tally[A any] struct {
	steps  []A        // the last one is being filled, or all are full
	filled int        // inputs in the last one
	since  event.Time // of the first input
	latest event.Time // of the latest input
	n      int        // inputs since the last firing of a trigger
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
	if len(s.steps) == 0 {
		s.since, s.latest = t, t
	}
	s.since, s.latest = min(s.since, t), max(s.latest, t)
	if o.spec.Windows.kind == count {
		o.count(key, s, in)
		return
	}
	if len(s.steps) == 0 {
		s.steps = make([]A, 1)
	}
	o.spec.Add(&s.steps[0], in)
	g := &o.spec.Trigger
	if s.n++; g.Count > 0 && s.n >= g.Count {
		o.fireGlobal(c, key, s)
	}
	if g.Every > 0 && !o.spec.ProcessingTime {
		c.SetTimer(event.WindowStart(max(c.Time, c.Watermark), g.Every) + g.Every)
	}
	if every := o.everyProcessing(); every > 0 {
		c.SetProcessingTimer(event.WindowStart(c.ProcessingTime(), every) + every)
	}
}

func (o *counts[K, I, A, O]) everyProcessing() event.Duration {
	if o.spec.ProcessingTime {
		return max(o.spec.Trigger.Every, o.spec.Trigger.EveryProcessing)
	}
	return o.spec.Trigger.EveryProcessing
}

// count adds an input to the last step, and emits when a window's step is full.
func (o *counts[K, I, A, O]) count(key K, s *tally[A], in *I) {
	w := &o.spec.Windows
	size := divisor(w.n, w.step)
	if len(s.steps) == 0 || s.filled == size {
		s.steps = append(s.steps, *new(A))
		s.filled = 0
		if len(s.steps) > w.n/size {
			s.steps = slices.Delete(s.steps, 0, 1)
		}
	}
	o.spec.Add(&s.steps[len(s.steps)-1], in)
	s.filled++
	if s.n++; s.n < w.step {
		return
	}
	s.n = 0
	if o.prepare(s); len(s.steps) == 1 {
		o.spec.Result(Window[K]{Key: key, Start: s.since, End: s.latest + 1}, &s.steps[0], o.emit)
	} else {
		for i := range s.steps {
			o.spec.Merge(&o.total, &s.steps[i])
		}
		o.spec.Result(Window[K]{Key: key, Start: s.since, End: s.latest + 1}, &o.total, o.emit)
		o.total = *new(A)
	}
	if w.step >= w.n {
		*s = tally[A]{}
	}
}

func (o *counts[K, I, A, O]) prepare(s *tally[A]) {
	o.at = s.latest
	if o.emit == nil {
		o.emit = func(v O) { o.results.Emit(o.at, v) }
	}
}

func (o *counts[K, I, A, O]) fireGlobal(c *operator.Context, key K, s *tally[A]) {
	if len(s.steps) == 0 {
		return
	}
	o.prepare(s)
	o.spec.Result(Window[K]{Key: key, Start: event.MinTime, End: event.MaxTime, Firing: Early}, &s.steps[0], o.emit)
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
	dst = wire.AppendVarint(dst, int64(s.since))
	dst = wire.AppendVarint(dst, int64(s.latest))
	dst = wire.AppendUvarint(dst, uint64(len(s.steps)))
	for i := range s.steps {
		dst = o.spec.Accumulator.Append(dst, &s.steps[i])
	}
	return dst
}

// Load reads what Append wrote.
func (o *counts[K, I, A, O]) Load(_ uint8, src []byte, s *tally[A]) error {
	r := wire.NewReader(src)
	s.filled, s.n = int(r.Uvarint()), int(r.Uvarint())
	s.since, s.latest = event.Time(r.Varint()), event.Time(r.Varint())
	for range r.Count() {
		var a A
		o.spec.Accumulator.Load(r, &a)
		s.steps = append(s.steps, a)
	}
	return r.Err()
}
