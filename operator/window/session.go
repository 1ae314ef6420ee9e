package window

import (
	"fmt"
	"slices"
	"unsafe"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// run is a session: inputs of a key without a gap between them.
type run[A any] struct {
	first, last event.Time
	n           int // inputs since the last firing, if there is a trigger
	sum         A
}

// runs are the open sessions of a key, in the order of time.
type runs[A any] struct {
	list []run[A]
	next event.Time // the timer for the first session to end, not after its end; 0 if there is none
}

// addSession adds a stage of session windows.
func addSession[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	return operator.Add(in, operator.Stage[K, runs[A], I]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism, Key: spec.Key,
		New: func(p *operator.Ports) operator.Operator[K, runs[A], I] {
			return &sessions[K, I, A, O]{
				spec: spec, results: operator.Out[O](p, PortResults), late: operator.Out[I](p, PortLate),
			}
		},
	})
}

// sessions is the operator of session windows.
type sessions[K operator.Key, I, A, O any] struct {
	spec    Spec[K, I, A, O]
	results *operator.Output[O]
	late    *operator.Output[I]
	at      event.Time // of the firing under way
	emit    func(O)
}

// Fold adds an input to the session that it belongs to, or joins the two that
// it lies between: a distance of exactly the gap does not part them.
func (o *sessions[K, I, A, O]) Fold(c *operator.Context, key K, s *runs[A], in *I) {
	t, passed := c.Time, c.Watermark
	if o.spec.ProcessingTime {
		t, passed = c.ProcessingTime(), event.MinTime
	}
	if outside(t) {
		o.late.Emit(c.Time, *in)
		c.Unchanged()
		return
	}
	gap := o.spec.Windows.gap
	i := len(s.list) // the first session that the input is not before
	for i > 0 && s.list[i-1].first-gap > t {
		i--
	}
	if i == 0 || s.list[i-1].last+gap < t {
		if t+gap-1+o.spec.Lateness <= passed {
			o.late.Emit(c.Time, *in)
			c.Unchanged()
			return
		}
		s.list = slices.Insert(s.list, i, run[A]{first: t, last: t})
		i++
	}
	r := &s.list[i-1]
	r.first, r.last = min(r.first, t), max(r.last, t)
	if i > 1 && s.list[i-2].last+gap >= r.first {
		before := &s.list[i-2]
		before.last = max(before.last, r.last)
		before.n += r.n
		o.spec.Merge(&before.sum, &r.sum)
		s.list = slices.Delete(s.list, i-1, i)
		r = &s.list[i-2]
	}
	o.spec.Add(&r.sum, in)
	o.await(c, key, s, r)
}

// await sets the timers of a session that has got an input.
//
// The timer for the end of a session does not follow it: it is put right when
// it comes up. A session that is prolonged by every input costs no timers.
func (o *sessions[K, I, A, O]) await(c *operator.Context, key K, s *runs[A], r *run[A]) {
	if o.spec.Trigger != (Trigger{}) {
		r.n++
	}
	end := r.last + o.spec.Windows.gap
	switch {
	case o.spec.ProcessingTime:
		o.wait(c, s, end)
	case end-1 > c.Watermark:
		o.wait(c, s, end-1)
	default:
		o.fire(key, r, Late)
		o.wait(c, s, end-1+o.spec.Lateness)
		return
	}
	if g := &o.spec.Trigger; g.Count > 0 && r.n >= g.Count {
		o.fire(key, r, Early)
	}
	o.spec.tick(c, r.first)
}

// wait sets the timer, unless there is one that comes up before.
func (o *sessions[K, I, A, O]) wait(c *operator.Context, s *runs[A], at event.Time) {
	if s.next != 0 && s.next <= at {
		return
	}
	s.next = at
	if o.spec.ProcessingTime {
		c.SetProcessingTimer(at)
	} else {
		c.SetTimer(at)
	}
}

// fire emits a session, unless it was purged and nothing has come since.
func (o *sessions[K, I, A, O]) fire(key K, r *run[A], firing Firing) {
	purge := o.spec.Trigger.Purge
	if purge && r.n == 0 {
		return
	}
	r.n = 0
	if o.emit == nil {
		o.emit = func(v O) { o.results.Emit(o.at, v) }
	}
	end := r.last + o.spec.Windows.gap
	o.at = end - 1
	o.spec.Result(Window[K]{key, r.first, end, firing, 0}, &r.sum, o.emit)
	if purge {
		r.sum = *new(A)
	}
}

// Timer fires the sessions that are over, and lets go of those that nothing
// can be late for.
func (o *sessions[K, I, A, O]) Timer(c *operator.Context, key K, s *runs[A], at event.Time) {
	begun, every := event.MinTime, o.spec.Trigger.Every
	if every > 0 && at%every == 0 {
		begun = at
	}
	if o.sweep(key, s, at, begun) && begun == at {
		c.SetTimer(at + every)
	}
	if at >= s.next {
		s.next = 0
	}
	o.rearm(c, s, at)
}

// rearm sets the timer for what happens next: the end of a session, or the
// moment when one that is over is let go.
func (o *sessions[K, I, A, O]) rearm(c *operator.Context, s *runs[A], at event.Time) {
	if len(s.list) == 0 {
		c.Forget()
		return
	}
	next := event.MaxTime
	for i := range s.list {
		end := s.list[i].last + o.spec.Windows.gap - 1
		if end <= at {
			end += o.spec.Lateness
		}
		next = min(next, end)
	}
	if o.spec.ProcessingTime {
		next++
	}
	o.wait(c, s, next)
}

// sweep fires and drops sessions when time has come to at, fires those early
// that have begun before a moment, and reports whether any is open.
func (o *sessions[K, I, A, O]) sweep(key K, s *runs[A], at, begun event.Time) (open bool) {
	kept := s.list[:0]
	for i := range s.list {
		r := &s.list[i]
		end := r.last + o.spec.Windows.gap - 1
		if end == at {
			o.fire(key, r, OnTime)
		}
		if end > at {
			open = true
			if r.first < begun {
				o.fire(key, r, Early)
			}
		}
		if end+o.spec.Lateness > at {
			kept = append(kept, *r)
		}
	}
	clear(s.list[len(kept):])
	s.list = kept
	return open
}

// ProcessingTimer does so for processing time.
func (o *sessions[K, I, A, O]) ProcessingTimer(c *operator.Context, key K, s *runs[A], at event.Time) {
	begun, every := event.MinTime, o.spec.everyProcessing()
	if !o.spec.ProcessingTime {
		open := false
		for i := range s.list {
			if r := &s.list[i]; r.last+o.spec.Windows.gap-1 > c.Watermark {
				open = true
				o.fire(key, r, Early)
			}
		}
		if open {
			c.SetProcessingTimer(at + every)
		}
		return
	}
	if every > 0 && at%every == 0 {
		begun = at
	}
	if o.sweep(key, s, at-1, begun) && begun == at {
		c.SetProcessingTimer(at + every)
	}
	if at >= s.next {
		s.next = 0
	}
	o.rearm(c, s, at-1)
}

// Warm is the list of sessions.
func (o *sessions[K, I, A, O]) Warm(s *runs[A]) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(s.list))
}

// Append writes the sessions in the order of time.
func (o *sessions[K, I, A, O]) Append(dst []byte, s *runs[A]) []byte {
	dst = wire.AppendVarint(dst, int64(s.next))
	dst = wire.AppendUvarint(dst, uint64(len(s.list)))
	for i := range s.list {
		r := &s.list[i]
		dst = wire.AppendVarint(dst, int64(r.first))
		dst = wire.AppendUvarint(dst, uint64(r.last-r.first))
		dst = wire.AppendUvarint(dst, uint64(r.n))
		dst = o.spec.Accumulator.Append(dst, &r.sum)
	}
	return dst
}

// Load reads what Append wrote.
func (o *sessions[K, I, A, O]) Load(_ uint8, src []byte, s *runs[A]) error {
	r := wire.NewReader(src)
	s.next = event.Time(r.Varint())
	least := event.MinTime / 2 // bounds, so that nothing overflows later
	for range r.Count() {
		var v run[A]
		v.first = event.Time(r.Varint())
		v.last = v.first + event.Time(r.Uvarint())
		v.n = int(r.Uvarint())
		o.spec.Accumulator.Load(r, &v.sum)
		if r.Err() != nil {
			return r.Err()
		}
		if v.first < least || v.last < v.first || v.last > event.MaxTime/2 {
			return fmt.Errorf("%w: a session from %v to %v after one to %v", wire.ErrCorrupt, v.first, v.last, least)
		}
		least = v.last + 1
		s.list = append(s.list, v)
	}
	return r.End()
}
