package session

import (
	"cmp"
	"slices"

	"millrace/event"
	"millrace/event/wire"
)

// state is what is known of one user: the open sessions by start, of which
// there is more than one only where events came out of order, and how many
// have closed and their lengths.
type state struct {
	opened       []opened
	closed       int64
	closedLength event.Duration
}

// opened is an open session.
type opened struct {
	start, last event.Time
	events      int64
	items       []met    // oldest first, each item once; a few more than are kept
	published   []string // those that are kept, newest first, once asked for; nil when they have changed
}

// met is an item and when it was last met.
type met struct {
	item string
	at   event.Time
	hash uint64 // of item, so that looking for one compares few strings
}

func newMet(item string, at event.Time) met { return met{item, at, event.HashID(item)} }

// touched is the range of open sessions whose windows overlap or touch that
// of an event; an empty range is the place for a new session.
func (s *state) touched(ts event.Time, gap event.Duration) (from, to int) {
	to = len(s.opened)
	for to > 0 && s.opened[to-1].start > ts+gap {
		to--
	}
	from = to
	for from > 0 && s.opened[from-1].last+gap >= ts {
		from--
	}
	return from, to
}

// open puts a new session at its place.
func (s *state) open(at int, ts event.Time) {
	s.opened = slices.Insert(s.opened, at, opened{start: ts, last: ts})
}

// join makes one session of a range of them.
func (s *state) join(from, to, limit int) {
	into := &s.opened[from]
	into.items = slices.Clone(into.kept(limit))
	for i := from + 1; i < to; i++ {
		x := &s.opened[i]
		into.last = max(into.last, x.last)
		into.events += x.events
		into.items = append(into.items, x.kept(limit)...)
	}
	into.items = newestOfEach(into.items, limit)
	into.published = nil
	s.opened = slices.Delete(s.opened, from+1, to)
}

// newestOfEach orders items by time, those of one time as they were, and
// keeps the newest of each, at most limit.
func newestOfEach(items []met, limit int) []met {
	slices.SortStableFunc(items, func(a, b met) int { return cmp.Compare(a.at, b.at) })
	var kept []met
	for i, x := range slices.Backward(items) {
		again := slices.ContainsFunc(items[i+1:], func(y met) bool { return y.item == x.item })
		if !again && len(kept) < limit {
			kept = append(kept, x)
		}
	}
	slices.Reverse(kept)
	return kept
}

// meet puts an item into its place by time, behind those of the same time.
func (x *opened) meet(item string, at event.Time, limit int) {
	m := newMet(item, at)
	n := len(x.items)
	if known := x.find(&m); known >= 0 {
		if at < x.items[known].at {
			return
		}
		if known == n-1 {
			x.items[known].at = at
			return
		}
		x.items = slices.Delete(x.items, known, known+1)
		n--
	}
	place := n
	for place > 0 && x.items[place-1].at > at {
		place--
	}
	x.items = slices.Insert(x.items, place, m)
	x.published = nil
	if len(x.items) > limit+limit/4 { // not one by one, which would move all of them each time
		x.items = slices.Delete(x.items, 0, len(x.items)-limit)
	}
}

// find is the position of an item, -1 if it is not there.
func (x *opened) find(m *met) int {
	for i := len(x.items) - 1; i >= 0; i-- {
		if x.items[i].hash == m.hash && x.items[i].item == m.item {
			return i
		}
	}
	return -1
}

// kept are the newest items, oldest first, at most limit. Older ones have no
// effect on anything: they are not shown, and one that is met again becomes
// the newest like one that was forgotten.
func (x *opened) kept(limit int) []met { return x.items[max(0, len(x.items)-limit):] }

// newest are the items that are kept, newest first. The slice does not change
// any more: it is made anew when the items have changed.
func (x *opened) newest(limit int) []string {
	if x.published == nil {
		kept := x.kept(limit)
		x.published = make([]string, 0, len(kept))
		for _, m := range slices.Backward(kept) {
			x.published = append(x.published, m.item)
		}
	}
	return x.published
}

func (x *opened) append(dst []byte, limit int) []byte {
	dst = wire.AppendVarint(dst, int64(x.start))
	dst = wire.AppendVarint(dst, int64(x.last-x.start))
	dst = wire.AppendVarint(dst, x.events)
	kept := x.kept(limit)
	dst = wire.AppendUvarint(dst, uint64(len(kept)))
	before := x.start
	for _, m := range kept {
		dst = wire.AppendString(dst, m.item)
		dst = wire.AppendVarint(dst, int64(m.at-before))
		before = m.at
	}
	return dst
}

// readOpened reads what append wrote; a failure is left in r.
func readOpened(r *wire.Reader) opened {
	x := opened{start: event.Time(r.Varint())}
	x.last = x.start + event.Time(r.Varint())
	x.events = r.Varint()
	at := x.start
	for range r.Count() {
		item := r.String()
		at += event.Time(r.Varint())
		if r.Err() != nil {
			break
		}
		x.items = append(x.items, newMet(item, at))
	}
	return x
}
