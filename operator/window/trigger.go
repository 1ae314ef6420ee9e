package window

import (
	"millrace/event"
	"millrace/operator"
)

// trigger does what the trigger asks for when an input has been added.
func (o *timed[K, I, A, O]) trigger(c *operator.Context, key K, s *panes[A], p *pane[A]) {
	begun := event.MinTime // of the first window that has the input
	if o.spec.Trigger.Every > 0 {
		begun = o.grid.begun(p.start, p.cut)
	}
	if most := o.spec.Trigger.Count; most > 0 {
		if p.n++; p.n >= most {
			start := p.start
			o.fire(key, s, 0, start, Early)
			o.purge(s, start)
		}
	}
	o.spec.tick(c, begun)
}

// early fires the windows that have begun and are not over, at a moment of
// event time.
func (o *timed[K, I, A, O]) early(c *operator.Context, key K, s *panes[A], at event.Time) {
	if open := o.open(key, s, at, max(at, c.Watermark)); open {
		c.SetTimer(at + o.spec.Trigger.Every)
	}
}

// earlyProcessing does so at a moment of processing time.
func (o *timed[K, I, A, O]) earlyProcessing(c *operator.Context, key K, s *panes[A], at event.Time) {
	passed := c.Watermark
	if o.spec.ProcessingTime {
		passed = at - 1
	}
	if open := o.open(key, s, event.MaxTime, passed); open {
		c.SetProcessingTimer(at + o.spec.everyProcessing())
	}
}

// open fires every window that begins before a moment and ends after passed, and
// reports whether there are any.
func (o *timed[K, I, A, O]) open(key K, s *panes[A], by, passed event.Time) (any bool) {
	for set := range o.grid.sets {
		w := &o.grid.sets[set]
		done := event.MinTime
		for i := 0; i < len(s.all()); i++ {
			p := s.all()[i]
			for start := w.first(max(p.cut, passed+1)); start <= w.last(p.start); start += w.slide {
				any = true
				if start <= done || start >= by {
					continue
				}
				done = start
				o.fire(key, s, set, start, Early)
				if o.purge(s, start) {
					i--
					break
				}
			}
		}
	}
	return any
}

// purge empties a window that has emitted, if the trigger says so.
func (o *windows[K, I, A, O]) purge(s *panes[A], start event.Time) bool {
	if !o.spec.Trigger.Purge {
		return false
	}
	list := s.all()
	for i := range list {
		if list[i].start == start {
			emitted := list[i]
			copy(list[1:i+1], list[:i])
			list[0] = emitted
			s.drop(1, &o.free)
			return true
		}
	}
	return false
}
