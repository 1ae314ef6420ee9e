package plain

import (
	"math"
	"slices"

	"millrace/event"
	"millrace/reference"
)

// statistics are those of a window.
type statistics struct {
	count, sum uint64
	min, max   uint16
}

func (s *statistics) add(v uint16) {
	if s.count == 0 {
		s.min, s.max = v, v
	}
	s.count++
	s.sum += uint64(v)
	s.min, s.max = min(s.min, v), max(s.max, v)
}

func (s *statistics) merge(from *statistics) {
	if s.count == 0 {
		*s = *from
		return
	}
	if from.count == 0 {
		return
	}
	s.count += from.count
	s.sum += from.sum
	s.min, s.max = min(s.min, from.min), max(s.max, from.max)
}

// clock calls close for each pane of a length whose end the watermark passes.
type clock struct {
	length event.Duration
	latest event.Time
	next   event.Time // the start of the first pane that is open
	close  func(start event.Time)
}

// tick moves the clock on to an event's time.
func (c *clock) tick(t event.Time) {
	if t <= c.latest {
		return
	}
	if c.latest == 0 {
		c.next = event.WindowStart(t-2*bound, c.length)
	}
	c.latest = t
	c.until(t - bound - 1)
}

func (c *clock) until(watermark event.Time) {
	for c.next+c.length-1 <= watermark {
		c.close(c.next)
		c.next += c.length
	}
}

// pairs is J2: the items of each user in the two windows that may be open.
type pairs struct {
	clock
	d    *digest
	sets [2][][]uint32
	n    map[uint64]uint64
}

func newPairs(users int) *pairs {
	l := &pairs{n: map[uint64]uint64{}}
	l.sets[0], l.sets[1] = make([][]uint32, users), make([][]uint32, users)
	l.clock = clock{length: 5 * event.Minute, close: l.count}
	return l
}

func (l *pairs) event(d *digest, t event.Time, e *reference.Event) {
	l.d = d
	l.tick(t)
	if e.Type != reference.View {
		return
	}
	set := &l.sets[t/l.length%2][e.User]
	if i, found := slices.BinarySearch(*set, e.Item); !found {
		*set = slices.Insert(*set, i, e.Item)
	}
}

func (l *pairs) count(start event.Time) {
	sets := l.sets[start/l.length%2]
	for user, set := range sets {
		for i, a := range set {
			for _, b := range set[i+1:] {
				l.n[uint64(a)<<32|uint64(b)]++
			}
		}
		sets[user] = set[:0]
	}
	for pair, n := range l.n {
		l.d.row(2, uint64(start), pair>>32, pair&math.MaxUint32, n)
	}
	clear(l.n)
}

func (l *pairs) end(*digest) { l.until(l.latest + l.length) }

// rates is J3: views and clicks of each item in panes of a minute, and their
// sums over ten.
type rates struct {
	clock
	d     *digest
	panes [16][items]exposure
	sums  [items]exposure
}

type exposure struct{ views, clicks uint64 }

func newRates() *rates {
	l := &rates{}
	l.clock = clock{length: event.Minute, close: l.slide}
	return l
}

func (l *rates) event(d *digest, t event.Time, e *reference.Event) {
	l.d = d
	l.tick(t)
	x := &l.panes[t/l.length%16][e.Item]
	switch e.Type {
	case reference.View:
		x.views++
	case reference.Click:
		x.clicks++
	}
}

func (l *rates) slide(start event.Time) {
	first := start - 9*event.Minute
	added, dropped := &l.panes[start/l.length%16], &l.panes[(first-event.Minute)/l.length%16]
	for item := range l.sums {
		s := &l.sums[item]
		s.views += added[item].views - dropped[item].views
		s.clicks += added[item].clicks - dropped[item].clicks
		if s.views+s.clicks == 0 {
			continue
		}
		rate := 0.0
		if s.views > 0 {
			rate = float64(s.clicks) / float64(s.views)
		}
		l.d.row(3, uint64(first), uint64(item), s.views, s.clicks, math.Float64bits(rate))
	}
	*dropped = [items]exposure{}
}

func (l *rates) end(*digest) { l.until(l.latest + 10*l.length) }

// windows is J5: each user's values in panes of half a minute, and the users
// of each pane.
type windows struct {
	clock
	d     *digest
	panes [16][]statistics
	users [16][]uint32
	seen  []statistics // scratch
}

func newWindows(users int) *windows {
	l := &windows{seen: make([]statistics, users)}
	for i := range l.panes {
		l.panes[i] = make([]statistics, users)
	}
	l.clock = clock{length: 30 * event.Second, close: l.fire}
	return l
}

func (l *windows) event(d *digest, t event.Time, e *reference.Event) {
	l.d = d
	l.tick(t)
	i := t / l.length % 16
	s := &l.panes[i][e.User]
	if s.count == 0 {
		l.users[i] = append(l.users[i], uint32(e.User))
	}
	s.add(e.Value)
}

// fire emits the windows that end with a pane.
func (l *windows) fire(start event.Time) {
	end := start + l.length
	l.window(2, end-event.Minute, 2)
	if end%event.Minute == 0 {
		l.window(0, end-event.Minute, 2)
	}
	if end%(5*event.Minute) == 0 {
		l.window(1, end-5*event.Minute, 10)
	}
	old := (end - 5*event.Minute) / l.length % 16
	for _, user := range l.users[old] {
		l.panes[old][user] = statistics{}
	}
	l.users[old] = l.users[old][:0]
}

func (l *windows) window(kind uint64, start event.Time, panes int) {
	from := int(start / l.length)
	for i := from; i < from+panes; i++ {
		for _, user := range l.users[i%16] {
			l.seen[user].merge(&l.panes[i%16][user])
		}
	}
	for i := from; i < from+panes; i++ {
		for _, user := range l.users[i%16] {
			if s := &l.seen[user]; s.count > 0 {
				l.d.row(5, kind, uint64(user), uint64(start), s.count, s.sum, uint64(s.min), uint64(s.max))
				*s = statistics{}
			}
		}
	}
}

func (l *windows) end(*digest) { l.until(l.latest + 5*event.Minute) }

// sessions is J6. Events are late by much less than the gap, so each user has
// one session at a time.
type sessions struct {
	of          []statistics
	first, last []event.Time
}

func (l *sessions) event(d *digest, t event.Time, e *reference.Event) {
	s := &l.of[e.User]
	if s.count > 0 && t > l.last[e.User]+gap {
		l.close(d, e.User)
	}
	if s.count == 0 {
		l.first[e.User], l.last[e.User] = t, t
	}
	l.first[e.User], l.last[e.User] = min(l.first[e.User], t), max(l.last[e.User], t)
	s.add(e.Value)
}

func (l *sessions) close(d *digest, user uint64) {
	s := &l.of[user]
	d.row(6, user, uint64(l.first[user]), uint64(l.last[user]+gap), s.count, s.sum)
	*s = statistics{}
}

func (l *sessions) end(d *digest) {
	for user := range l.of {
		if l.of[user].count > 0 {
			l.close(d, uint64(user))
		}
	}
}
