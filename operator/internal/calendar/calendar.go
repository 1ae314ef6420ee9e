// Package calendar has queues of timers.
package calendar

import (
	"slices"

	"millrace/event"
)

// bucketShift makes a bucket of a calendar 1,024 ms wide.
const bucketShift = 10

// Entry says that the earliest timer of something that has a number is due at
// a time. Entries that were overtaken are not taken out: whoever takes one
// knows what is due.
type Entry struct {
	At    event.Time
	Whose uint32
}

// Calendar is a queue of timers, the earliest first (a calendar queue after
// Brown, CACM 31(10), 1988, without its resizing). Timers of the future lie in
// buckets without any order; only the earliest bucket is a heap. The timers of
// a window's end, which all keys share, are then appended to a list and taken
// from it, whatever their number.
type Calendar struct {
	buckets map[int64][]Entry
	order   []int64 // of the buckets: a heap, the earliest first
	last    int64   // the bucket that was pushed to last
	lastOf  []Entry // what it holds
	lastIn  bool    // whether last and lastOf mean anything

	current []Entry // a heap: the bucket that was opened last, and earlier ones
	opened  int64   // its number
	begun   bool
	spare   [][]Entry
}

// sparedBuckets bounds the empty buckets that are kept, and sparedEntries
// their size.
const (
	sparedBuckets = 4
	sparedEntries = 1 << 16
)

// Push adds an entry.
func (q *Calendar) Push(e Entry) {
	b := int64(e.At) >> bucketShift
	if q.begun && b <= q.opened {
		q.pushCurrent(e)
		return
	}
	if q.lastIn && b == q.last {
		q.lastOf = append(q.lastOf, e)
		return
	}
	q.flush()
	list, ok := q.buckets[b]
	if !ok {
		if q.buckets == nil {
			q.buckets = map[int64][]Entry{}
		}
		if n := len(q.spare); n > 0 {
			list, q.spare = q.spare[n-1], q.spare[:n-1]
		}
		q.pushOrder(b)
	}
	q.last, q.lastOf, q.lastIn = b, append(list, e), true
	q.buckets[b] = nil // until flush; there is a bucket
}

// flush puts the bucket that was pushed to last back among the others.
func (q *Calendar) flush() {
	if q.lastIn {
		q.buckets[q.last] = q.lastOf
		q.lastOf, q.lastIn = nil, false
	}
}

// Due reports whether there is an Entry up to a time.
func (q *Calendar) Due(until event.Time) bool {
	for len(q.current) == 0 {
		if len(q.order) == 0 || q.order[0] > int64(until)>>bucketShift {
			return false
		}
		q.open()
	}
	return q.current[0].At <= until
}

// open makes the earliest bucket the current one.
func (q *Calendar) open() {
	q.flush()
	b := q.popOrder()
	if c := q.current; cap(c) > 0 && cap(c) <= sparedEntries && len(q.spare) < sparedBuckets {
		q.spare = append(q.spare, c[:0])
	}
	q.current, q.opened, q.begun = q.buckets[b], b, true
	delete(q.buckets, b)
	for i := len(q.current)/2 - 1; i >= 0; i-- {
		q.siftDown(i)
	}
}

// PopSame takes out entries of the earliest time, as many as fit into out;
// there must be one, see Due.
func (q *Calendar) PopSame(out []Entry) int {
	out[0] = q.Pop()
	n := 1
	for n < len(out) && len(q.current) > 0 && q.current[0].At == out[0].At {
		out[n] = q.Pop()
		n++
	}
	return n
}

// Pop takes out the earliest Entry; there must be one, see Due.
func (q *Calendar) Pop() Entry {
	top, last := q.current[0], len(q.current)-1
	q.current[0] = q.current[last]
	q.current = q.current[:last]
	if last > 0 {
		q.siftDown(0)
	}
	return top
}

func (q *Calendar) pushCurrent(e Entry) {
	q.current = append(q.current, e)
	h := q.current
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[i].At >= h[parent].At {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *Calendar) siftDown(i int) {
	h := q.current
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].At < h[child].At {
			child++
		}
		if h[child].At >= h[i].At {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func (q *Calendar) pushOrder(b int64) {
	q.order = append(q.order, b)
	h := q.order
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[i] >= h[parent] {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *Calendar) popOrder() int64 {
	h := q.order
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	q.order = h
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return top
		}
		if child+1 < last && h[child+1] < h[child] {
			child++
		}
		if h[child] >= h[i] {
			return top
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// Lists keeps the timers of slots that have more than one: the slot
// itself has the earliest, a list the others in ascending order. List 0 is
// never used.
type Lists struct {
	lists [][]event.Time
	free  []uint32
}

// Of is a list, empty for 0.
func (t *Lists) Of(list uint32) []event.Time {
	if list == 0 {
		return nil
	}
	return t.lists[list]
}

// Insert adds a timer to a list, a new one for 0, and says which it is in.
func (t *Lists) Insert(list uint32, at event.Time) uint32 {
	if list == 0 {
		list = t.take()
	}
	times := t.lists[list]
	if n, found := slices.BinarySearch(times, at); !found {
		t.lists[list] = slices.Insert(times, n, at)
	}
	return list
}

func (t *Lists) take() uint32 {
	if n := len(t.free); n > 0 {
		list := t.free[n-1]
		t.free = t.free[:n-1]
		return list
	}
	if len(t.lists) == 0 {
		t.lists = append(t.lists, nil)
	}
	t.lists = append(t.lists, nil)
	return uint32(len(t.lists) - 1)
}

// Remove takes a timer out of a list, and says which list is left, 0 if none.
func (t *Lists) Remove(list uint32, at event.Time) (uint32, bool) {
	times := t.Of(list)
	n, found := slices.BinarySearch(times, at)
	if !found {
		return list, false
	}
	if len(times) == 1 {
		return t.Clear(list), true
	}
	t.lists[list] = slices.Delete(times, n, n+1)
	return list, true
}

// Clear takes back a list, if it is one.
func (t *Lists) Clear(list uint32) uint32 {
	if list != 0 {
		t.lists[list] = t.lists[list][:0]
		t.free = append(t.free, list)
	}
	return 0
}
