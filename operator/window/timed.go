package window

import (
	"unsafe"

	"millrace/event"
	"millrace/operator"
)

// addTimed adds a stage of tumbling or sliding windows.
func addTimed[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	return operator.Add(in, operator.Stage[K, panes[A], I]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism, Key: spec.Key,
		New: func(p *operator.Ports) operator.Operator[K, panes[A], I] {
			return &timed[K, I, A, O]{windows: newWindows[K, I, A, O](p, spec), late: operator.Out[I](p, PortLate)}
		},
	})
}

// windows is what the stages of tumbling and sliding windows have in common.
type windows[K operator.Key, I, A, O any] struct {
	spec    Spec[K, I, A, O]
	results *operator.Output[O]
	free    spare[A]
	total   A          // of the panes of a window: scratch
	at      event.Time // of the firing under way
	emit    func(O)
}

func newWindows[K operator.Key, I, A, O any](p *operator.Ports, spec Spec[K, I, A, O]) windows[K, I, A, O] {
	size := 2 // a tumbling window, and the next one
	if spec.Windows.kind == sliding {
		size = int(spec.Windows.size/spec.Windows.pane) + 2
	}
	return windows[K, I, A, O]{
		spec: spec, results: operator.Out[O](p, PortResults),
		free: spare[A]{zero: spec.Reset, size: min(size, 64)},
	}
}

// prepare makes the function through which results are emitted.
func (o *windows[K, I, A, O]) prepare() {
	if o.emit == nil {
		o.emit = func(v O) { o.results.Emit(o.at, v) }
	}
}

// place finds where an input of a time belongs that comes when time has come
// to passed: the pane, and the first window that may still draw from it. It
// is false if there is none: the input is late, or lies between windows.
func (o *windows[K, I, A, O]) place(t, passed event.Time) (pane, from event.Time, ok bool) {
	w := &o.spec.Windows
	if w.kind == tumbling {
		pane = w.last(t)
		return pane, pane, pane+w.size-1+o.spec.Lateness > passed
	}
	from = w.first(t)
	if from+w.size-1+o.spec.Lateness <= passed {
		from = w.after(passed - o.spec.Lateness)
	}
	return event.WindowStart(t, w.pane), from, from <= w.last(t)
}

// isLate reports whether an input that has no place is late.
func (o *windows[K, I, A, O]) isLate(t, passed event.Time) bool {
	return t+o.spec.Lateness <= passed
}

// again emits the windows anew that are over and that an input for a pane came
// late for.
func (o *windows[K, I, A, O]) again(key K, s *panes[A], pane, from, passed event.Time) {
	if o.spec.Lateness == 0 {
		return
	}
	w := &o.spec.Windows
	for start := from; start <= w.last(pane) && start+w.size-1 <= passed; start += w.slide {
		o.fire(key, s, start, Late)
		o.purge(s, start)
	}
}

// await sets the timer for the end of the first window to come that draws from
// a pane. It reports whether there is one.
func (o *windows[K, I, A, O]) await(c *operator.Context, pane, from, passed event.Time) bool {
	w := &o.spec.Windows
	start, last := max(from, w.after(passed)), w.last(pane)
	if start > last { // they are all over, and only waited for late inputs
		c.SetTimer(last + w.size - 1 + o.spec.Lateness)
		return false
	}
	c.SetTimer(start + w.size - 1)
	return true
}

// fire emits the window that begins at start, if anything is in it.
func (o *windows[K, I, A, O]) fire(key K, s *panes[A], start event.Time, firing Firing) {
	w := &o.spec.Windows
	end := start + w.size
	list := s.all()
	first, n := 0, 0
	for i := range list {
		if p := &list[i]; p.start >= start && p.start < end && p.from <= start {
			if n == 0 {
				first = i
			}
			n++
		}
	}
	if n == 0 {
		return
	}
	o.prepare()
	o.at = end - 1
	result := Window[K]{key, start, end, firing}
	if n == 1 {
		list[first].n = 0
		o.spec.Result(result, &list[first].sum, o.emit)
		return
	}
	for i := first; i < len(list) && list[i].start < end; i++ {
		if p := &list[i]; p.from <= start {
			o.spec.Merge(&o.total, &p.sum)
		}
	}
	o.spec.Result(result, &o.total, o.emit)
	if o.spec.Reset != nil {
		o.spec.Reset(&o.total)
	} else {
		o.total = *new(A)
	}
}

// close lets go of the panes that no window needs any more when time has come
// to at, and reports when it has to look again: at the end of the next window,
// or when the next one is let go; MaxTime if nothing is left.
func (o *windows[K, I, A, O]) close(s *panes[A], at event.Time) (next event.Time) {
	w, n := &o.spec.Windows, 0
	list := s.all()
	for n < len(list) && w.last(list[n].start)+w.size-1+o.spec.Lateness <= at {
		n++
	}
	s.drop(n, &o.free)
	next = event.MaxTime
	list = s.all()
	for i := range list {
		p := &list[i]
		if start := max(p.from, w.after(at)); start <= w.last(p.start) {
			next = min(next, start+w.size-1)
			break
		}
	}
	if len(list) > 0 && o.spec.Lateness > 0 {
		next = min(next, w.last(list[0].start)+w.size-1+o.spec.Lateness)
	}
	return next
}

// onTime emits the window that ends right after a moment, if there is one.
func (o *windows[K, I, A, O]) onTime(key K, s *panes[A], at event.Time) {
	start := at + 1 - o.spec.Windows.size
	if o.spec.Windows.last(start) == start {
		o.fire(key, s, start, OnTime)
		o.purge(s, start)
	}
}

// Warm is the list of panes, if there is one.
func (o *windows[K, I, A, O]) Warm(s *panes[A]) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(s.list))
}

// Append and Load are those of operator.Operator.
func (o *windows[K, I, A, O]) Append(dst []byte, s *panes[A]) []byte {
	return s.append(dst, &o.spec.Accumulator)
}

// Load reads what Append wrote.
func (o *windows[K, I, A, O]) Load(_ uint8, src []byte, s *panes[A]) error {
	return s.load(src, &o.spec.Windows, &o.spec.Accumulator)
}

// timed is the operator of tumbling and sliding windows.
type timed[K operator.Key, I, A, O any] struct {
	windows[K, I, A, O]
	late *operator.Output[I]
}

// Fold adds an input to its pane.
func (o *timed[K, I, A, O]) Fold(c *operator.Context, key K, s *panes[A], in *I) {
	t, passed := c.Time, c.Watermark
	if o.spec.ProcessingTime {
		t, passed = c.ProcessingTime(), event.MinTime
	}
	start, from, ok := o.place(t, passed)
	if !ok {
		if o.isLate(t, passed) {
			o.late.Emit(c.Time, *in)
		}
		c.Unchanged()
		return
	}
	p := s.at(start, from, &o.free)
	o.spec.Add(&p.sum, in)
	open := true
	if o.spec.ProcessingTime {
		c.SetProcessingTimer(from + o.spec.Windows.size)
	} else if open = o.await(c, start, from, passed); from+o.spec.Windows.size-1 <= passed {
		o.again(key, s, start, from, passed)
	}
	if open && o.spec.Trigger != (Trigger{}) {
		o.trigger(c, key, s, p)
	}
}

// Timer fires a window whose end it is.
func (o *timed[K, I, A, O]) Timer(c *operator.Context, key K, s *panes[A], at event.Time) {
	if every := o.spec.Trigger.Every; every > 0 && at%every == 0 {
		o.early(c, key, s, at)
	}
	o.onTime(key, s, at)
	next := o.close(s, at)
	if next != event.MaxTime {
		c.SetTimer(next)
	} else if !s.any {
		c.Forget()
	}
}

// ProcessingTimer fires the window that ended at a moment of processing time,
// and early ones.
func (o *timed[K, I, A, O]) ProcessingTimer(c *operator.Context, key K, s *panes[A], at event.Time) {
	if every := max(o.spec.Trigger.EveryProcessing, o.everyProcessing()); every > 0 && at%every == 0 {
		o.earlyProcessing(c, key, s, at)
	}
	if !o.spec.ProcessingTime {
		return
	}
	o.onTime(key, s, at-1)
	next := o.close(s, at-1)
	if next != event.MaxTime {
		c.SetProcessingTimer(next + 1)
	} else if !s.any {
		c.Forget()
	}
}
