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

// mostPanes bounds how many panes a new list has room for.
const mostPanes = 64

// windows is what the stages of tumbling and sliding windows have in common.
type windows[K operator.Key, I, A, O any] struct {
	spec    Spec[K, I, A, O]
	grid    grid
	results *operator.Output[O]
	free    spare[A]
	total   A          // of the panes of a window: scratch
	at      event.Time // of the firing under way
	emit    func(O)
}

func newWindows[K operator.Key, I, A, O any](p *operator.Ports, spec Spec[K, I, A, O]) windows[K, I, A, O] {
	g := newGrid(spec.Windows, spec.More)
	size := 0 // of the longest window, and of two panes: the next, and one that comes after a window is over
	for _, w := range g.sets {
		size = max(size, int(min(w.size/g.pane, mostPanes)))
	}
	if size++; spec.Windows.kind == sliding {
		size++
	}
	return windows[K, I, A, O]{
		spec: spec, grid: g, results: operator.Out[O](p, PortResults),
		free: spare[A]{zero: spec.Reset, size: min(size, mostPanes)},
	}
}

// prepare makes the function through which results are emitted.
func (o *windows[K, I, A, O]) prepare() {
	if o.emit == nil {
		o.emit = func(v O) { o.results.Emit(o.at, v) }
	}
}

// again emits the windows anew that are over and that an input for a pane came
// late for.
func (o *windows[K, I, A, O]) again(key K, s *panes[A], pane, cut, passed event.Time) {
	if o.spec.Lateness == 0 {
		return
	}
	for i := range o.grid.sets {
		w := &o.grid.sets[i]
		for start := w.first(cut); start <= w.last(pane) && start+w.size-1 <= passed; start += w.slide {
			o.fire(key, s, i, start, Late)
			o.purge(s, start)
		}
	}
}

// await sets the timer for the end of the first window to come that draws from
// a pane. It reports whether there is one.
func (o *windows[K, I, A, O]) await(c *operator.Context, pane, cut, passed event.Time) bool {
	end := o.grid.nextEnd(pane, max(cut, passed+1))
	if end == event.MaxTime { // they are all over, and only waited for late inputs
		c.SetTimer(o.grid.lastEnd(pane) - 1 + o.spec.Lateness)
		return false
	}
	c.SetTimer(end - 1)
	return true
}

// fire emits the window of a kind that begins at start, if anything is in it.
func (o *windows[K, I, A, O]) fire(key K, s *panes[A], set int, start event.Time, firing Firing) {
	end := start + o.grid.sets[set].size
	list := s.all()
	for len(list) > 0 && list[len(list)-1].start >= end {
		list = list[:len(list)-1]
	}
	first, n := len(list), 0
	for i := len(list) - 1; i >= 0 && list[i].start >= start; i-- {
		if list[i].drawn(end) {
			first = i
			n++
		}
	}
	if n == 0 {
		return
	}
	o.prepare()
	o.at = end - 1
	result := Window[K]{key, start, end, firing, set}
	if n == 1 {
		list[first].n = 0
		o.spec.Result(result, &list[first].sum, o.emit)
		return
	}
	for i := range list[first:] {
		if p := &list[first+i]; p.drawn(end) {
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
// to at, and reports when it has to look again: at the last moment of the next
// window, or when the next pane is let go; MaxTime if nothing is left.
func (o *windows[K, I, A, O]) close(s *panes[A], at event.Time) (next event.Time) {
	n := 0
	list := s.all()
	for n < len(list) && o.grid.lastEnd(list[n].start)-1+o.spec.Lateness <= at {
		n++
	}
	s.drop(n, &o.free)
	list = s.all()
	next = event.MaxTime
	for i := range o.grid.sets {
		next = min(next, nextOf(&o.grid.sets[i], list, at+1))
	}
	if next != event.MaxTime {
		next--
	}
	if len(list) > 0 && o.spec.Lateness > 0 {
		next = min(next, o.grid.lastEnd(list[0].start)-1+o.spec.Lateness)
	}
	return next
}

// nextOf is the first end after a moment of the windows of a kind that draw
// from panes; MaxTime if there is none.
func nextOf[A any](w *Assigner, list []pane[A], after event.Time) event.Time {
	next, onTime := event.MaxTime, false
	for i := range list {
		p := &list[i]
		if p.start+w.size <= after || onTime && p.cut == p.start {
			continue // the windows are over, or are those of a pane before it
		}
		if start := w.first(max(p.cut, after)); start <= w.last(p.start) {
			next = min(next, start+w.size)
			onTime = onTime || p.cut == p.start
		}
	}
	return next
}

// onTime emits the windows that end right after a moment.
func (o *windows[K, I, A, O]) onTime(key K, s *panes[A], at event.Time) {
	for i := range o.grid.sets {
		w := &o.grid.sets[i]
		if start := at + 1 - w.size; w.last(start) == start {
			o.fire(key, s, i, start, OnTime)
			o.purge(s, start)
		}
	}
}

// end does what is due at a moment of event time, and sets the next timer.
func (o *windows[K, I, A, O]) end(c *operator.Context, key K, s *panes[A], at event.Time) {
	o.onTime(key, s, at)
	next := o.close(s, at)
	if next != event.MaxTime {
		c.SetTimer(next)
	} else if !s.any {
		c.Forget()
	}
}

// Warm is where the last pane is, if there is a list.
func (o *windows[K, I, A, O]) Warm(s *panes[A]) unsafe.Pointer {
	if n := len(s.list); n > 0 {
		return unsafe.Pointer(&s.list[n-1])
	}
	return nil
}

// Append and Load are those of operator.Operator.
func (o *windows[K, I, A, O]) Append(dst []byte, s *panes[A]) []byte {
	return s.append(dst, &o.grid, &o.spec.Accumulator)
}

// Load reads what Append wrote.
func (o *windows[K, I, A, O]) Load(_ uint8, src []byte, s *panes[A]) error {
	return s.load(src, &o.grid, &o.spec.Accumulator)
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
	start, cut, ok := o.grid.place(t, passed, o.spec.Lateness)
	if !ok {
		if o.spec.isLate(t, passed) {
			o.late.Emit(c.Time, *in)
		}
		c.Unchanged()
		return
	}
	p, fresh := s.at(start, cut, &o.free)
	o.spec.Add(&p.sum, in)
	open := true
	switch {
	case !fresh && o.spec.Lateness == 0: // the timer of the pane's next window is set
	case o.spec.ProcessingTime:
		c.SetProcessingTimer(o.grid.nextEnd(start, cut))
	default:
		open = o.await(c, start, cut, passed)
		o.again(key, s, start, cut, passed)
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
	o.end(c, key, s, at)
}

// ProcessingTimer fires the window that ended at a moment of processing time,
// and early ones.
func (o *timed[K, I, A, O]) ProcessingTimer(c *operator.Context, key K, s *panes[A], at event.Time) {
	if every := o.spec.everyProcessing(); every > 0 && at%every == 0 {
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
