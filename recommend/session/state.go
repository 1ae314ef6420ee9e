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
	items       []met    // oldest first, each item once
	published   []string // the items, newest first, once asked for; nil when they have changed
}

// met is an item and when it was last met.
type met struct {
	item string
	at   event.Time
}

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
	for i := from + 1; i < to; i++ {
		x := &s.opened[i]
		into.last = max(into.last, x.last)
		into.events += x.events
		into.items = append(into.items, x.items...)
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

// meet puts an item into its place by time, behind those of the same time,
// and drops the oldest beyond limit.
func (x *opened) meet(item string, at event.Time, limit int) {
	n := len(x.items)
	if known := x.find(item); known >= 0 {
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
	x.published = nil
	place := n
	for place > 0 && x.items[place-1].at > at {
		place--
	}
	if excess := n + 1 - limit; excess > 0 {
		if place < excess {
			return
		}
		x.items = slices.Delete(x.items, 0, excess)
		place -= excess
	}
	x.items = slices.Insert(x.items, place, met{item, at})
}

func (x *opened) find(item string) int {
	for i := len(x.items) - 1; i >= 0; i-- {
		if x.items[i].item == item {
			return i
		}
	}
	return -1
}

// newest are the items, newest first. The slice does not change any more: it
// is made anew when the items have changed.
func (x *opened) newest() []string {
	if x.published == nil {
		x.published = make([]string, 0, len(x.items))
		for _, m := range slices.Backward(x.items) {
			x.published = append(x.published, m.item)
		}
	}
	return x.published
}

func (x *opened) append(dst []byte) []byte {
	dst = wire.AppendVarint(dst, int64(x.start))
	dst = wire.AppendVarint(dst, int64(x.last-x.start))
	dst = wire.AppendVarint(dst, x.events)
	dst = wire.AppendUvarint(dst, uint64(len(x.items)))
	before := x.start
	for _, m := range x.items {
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
		x.items = append(x.items, met{item, at})
	}
	return x
}
