package operator

import (
	"slices"
	"unsafe"

	"millrace/event"
	"millrace/operator/internal/calendar"
)

// TTL bounds how long a stage keeps a key that is not used: its state and
// timers are dropped, and its answers deleted, as by Context.Forget. It is
// exact: a key whose time is over is never seen again. A timer of the moment
// when it ends still fires, a later one does not.
//
// In event time it is exact for a stage that sees the records of a key in
// order. Behind an exchange, a key lives on until the watermark there has
// passed the end of its time, whatever the watermark of its records.
type TTL struct {
	// After is how long a key is kept.
	After event.Duration
	// OnRead has every call prolong the key, not only one that changes it.
	OnRead bool
	// EventTime measures from the time of the record to the watermark, instead
	// of in processing time.
	EventTime bool
}

// Over reports whether the time of a key that is stored has ended, when event
// time has come to watermark and processing time to now. What can not be read
// has not: who loads it says what is wrong. Without a TTL, nil, nothing has.
func (l *TTL) Over(stored []byte, watermark, now event.Time) bool {
	if l == nil {
		return false
	}
	h, _, err := SplitState(stored)
	if err != nil || h.Stamp == event.MinTime {
		return false
	}
	if l.EventTime {
		now = watermark
	}
	return h.Stamp+l.After <= now
}

// lease is until when a key is kept.
type lease struct {
	stamp  event.Time // when it was used last, MinTime if there is no key
	queued event.Time // the time of its valid calendar entry
}

// leases are those of a table's slots, if the stage has a TTL.
type leases struct {
	ttl  *TTL
	of   []lease // by slot
	ends calendar.Calendar
}

// use notes that a key was used. It reports whether that is a change.
func (l *leases) use(i uint32, at, now event.Time, unchanged bool) bool {
	if unchanged && (!l.ttl.OnRead || l.stamp(i) == event.MinTime) {
		return false // a look at a key that is not there does not make it one
	}
	if !l.ttl.EventTime {
		at = now
	}
	return l.start(i, at)
}

// start prolongs a lease to what it is when the key is used at a time.
func (l *leases) start(i uint32, at event.Time) bool {
	for int(i) >= len(l.of) {
		l.of = append(l.of, lease{event.MinTime, event.MaxTime})
	}
	e := &l.of[i]
	if at <= e.stamp {
		return false
	}
	e.stamp = at
	if end := at + l.ttl.After; end < e.queued {
		e.queued = end
		l.ends.Push(calendar.Entry{At: end, Whose: i})
	}
	return true
}

// due reports whether the end of a lease may have come.
func (l *leases) due(watermark, now event.Time) bool {
	switch {
	case l.ttl == nil:
		return false
	case l.ttl.EventTime:
		return l.ends.Due(watermark)
	}
	return l.ends.Due(now)
}

// end lets go of a lease.
func (l *leases) end(i uint32) {
	if int(i) < len(l.of) {
		l.of[i] = lease{event.MinTime, event.MaxTime}
	}
}

// ended reports whether the key's time is over in event time.
func (l *leases) ended(i uint32, watermark event.Time) bool {
	return l.ttl != nil && l.ttl.EventTime && l.until(i) <= watermark
}

// until is when the key's time is over; for one without an end, after MaxTime,
// which is the watermark of a stream that has ended.
func (l *leases) until(i uint32) event.Time {
	if stamp := l.stamp(i); l.ttl != nil && stamp != event.MinTime {
		return stamp + l.ttl.After
	}
	return event.MaxTime + 1
}

// place is where a lease is, nil if there is none.
func (l *leases) place(i uint32) unsafe.Pointer {
	if int(i) >= len(l.of) {
		return nil
	}
	return unsafe.Pointer(&l.of[i])
}

func (l *leases) stamp(i uint32) event.Time {
	if int(i) >= len(l.of) {
		return event.MinTime
	}
	return l.of[i].stamp
}

// next is a key whose time is over, false if there is none.
func (l *leases) next(now event.Time) (uint32, bool) {
	for l.ends.Due(now) {
		e := l.ends.Pop()
		k := &l.of[e.Whose]
		if k.queued != e.At {
			continue
		}
		k.queued = event.MaxTime
		end := k.stamp + l.ttl.After
		if end <= now {
			return e.Whose, true
		}
		k.queued = end
		l.ends.Push(calendar.Entry{At: end, Whose: e.Whose})
	}
	return 0, false
}

// expireUntil drops the keys whose time is over, at most so many.
func (t *table[K, S, I]) expireUntil(now event.Time, most int) (more bool) {
	for {
		i, ok := t.leases.next(now)
		if !ok {
			return false
		}
		t.expire(i, t.slots.at(i))
		if most--; most < 0 {
			return true
		}
	}
}

func (t *table[K, S, I]) expire(i uint32, s *slot[K, S]) {
	if !s.is(slotGone) {
		t.discard(i, s)
	}
}

// clockTimers are a table's timers in processing time. Few stages have them,
// so they take no room in slots.
type clockTimers struct {
	lists map[uint32][]event.Time // by slot, ascending
	queue calendar.Calendar
}

func (c *clockTimers) of(i uint32) []event.Time { return c.lists[i] }

func (c *clockTimers) has(i uint32, at event.Time) bool {
	_, found := slices.BinarySearch(c.lists[i], at)
	return found
}

func (c *clockTimers) add(i uint32, at event.Time) bool {
	if c.lists == nil {
		c.lists = map[uint32][]event.Time{}
	}
	n, found := slices.BinarySearch(c.lists[i], at)
	if found {
		return false
	}
	c.lists[i] = slices.Insert(c.lists[i], n, at)
	c.queue.Push(calendar.Entry{At: at, Whose: i})
	return true
}

func (c *clockTimers) remove(i uint32, at event.Time) bool {
	list := c.lists[i]
	n, found := slices.BinarySearch(list, at)
	if !found {
		return false
	}
	if list = slices.Delete(list, n, n+1); len(list) == 0 {
		delete(c.lists, i)
	} else {
		c.lists[i] = list
	}
	return true
}

func (c *clockTimers) clear(i uint32) {
	if len(c.lists) > 0 {
		delete(c.lists, i)
	}
}

func (t *table[K, S, I]) setClockTimers(i uint32) {
	c := &t.context
	for _, at := range c.clockUnset {
		if t.clock.remove(i, at) {
			c.unchanged = false
		}
	}
	for _, at := range c.clockSet {
		if t.clock.add(i, at) {
			c.unchanged = false
		}
	}
}

// AdvanceProcessing fires processing-time timers in the order of their times,
// then lets go of keys whose TTL has passed.
func (t *table[K, S, I]) AdvanceProcessing(now event.Time, most int) bool {
	t.now = max(t.now, now)
	t.context.now = t.now
	if t.cold.any && t.thawDue(&t.cold.clock, t.now, most) {
		return true
	}
	for t.clock.queue.Due(t.now) {
		if most--; most < 0 {
			return true
		}
		e := t.clock.queue.Pop()
		if !t.clock.has(e.Whose, e.At) {
			continue // it was deleted
		}
		s := t.slots.at(e.Whose)
		if ttl := t.leases.ttl; ttl != nil && !ttl.EventTime && t.leases.until(e.Whose) < e.At {
			t.expire(e.Whose, s)
			continue
		}
		t.save(e.Whose, s) // with the timer: a checkpoint under way began before it fired
		t.clock.remove(e.Whose, e.At)
		t.current = s
		t.context.Begin(Meta{Time: e.At, Watermark: t.watermark})
		t.firing = true
		t.clocked.ProcessingTimer(&t.context, s.key, &s.state, e.At)
		t.firing, t.current = false, nil
		t.context.unchanged = false
		t.after(e.Whose, s, max(e.At, t.watermark+1))
		t.settle(e.Whose, s)
	}
	if ttl := t.leases.ttl; ttl != nil && !ttl.EventTime {
		return t.expireUntil(t.now, most)
	}
	return false
}
