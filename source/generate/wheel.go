package generate

import (
	"math/bits"

	"millrace/event"
)

// span is how many milliseconds ahead a wheel holds: more than maxPause plus
// MaxDisorder.
const span = 1 << 16

// wheel is a timing wheel (Varghese and Lauck 1987) with one slot for each
// millisecond: a queue by time, first in first out within a millisecond, at
// constant cost. Values lie in one slab that is reused.
type wheel[T any] struct {
	nodes []node[T]
	free  int32    // first free node
	slots []slot   // span of them, by time modulo span
	busy  []uint64 // a bit for each slot that is not empty
	size  int      // values in the wheel
}

type slot struct{ head, tail int32 }

type node[T any] struct {
	value T
	next  int32
}

const none int32 = -1

func newWheel[T any]() wheel[T] {
	w := wheel[T]{free: none, slots: make([]slot, span), busy: make([]uint64, span/64)}
	for i := range w.slots {
		w.slots[i] = slot{none, none}
	}
	return w
}

// push adds a value for a moment that is less than span after every moment
// still in the wheel, and not before the last one popped.
func (w *wheel[T]) push(at event.Time, value T) {
	n := w.free
	if n == none {
		n = int32(len(w.nodes))
		w.nodes = append(w.nodes, node[T]{})
	} else {
		w.free = w.nodes[n].next
	}
	w.nodes[n] = node[T]{value, none}
	i := uint64(at) % span
	if s := &w.slots[i]; s.head == none {
		*s = slot{n, n}
		w.busy[i/64] |= 1 << (i % 64)
	} else {
		w.nodes[s.tail].next = n
		s.tail = n
	}
	w.size++
}

// first is the value to pop next at that moment, nil when there is none. It is
// valid until the next push or pop.
func (w *wheel[T]) first(at event.Time) *T {
	s := w.slots[uint64(at)%span]
	if s.head == none {
		return nil
	}
	return &w.nodes[s.head].value
}

// pop removes the first value of that moment, which must exist.
func (w *wheel[T]) pop(at event.Time) {
	i := uint64(at) % span
	s := &w.slots[i]
	n := s.head
	s.head = w.nodes[n].next
	if s.head == none {
		s.tail = none
		w.busy[i/64] &^= 1 << (i % 64)
	}
	w.nodes[n] = node[T]{next: w.free}
	w.free = n
	w.size--
}

// next is the earliest moment, now or later, that has a value; event.MaxTime
// when the wheel is empty.
func (w *wheel[T]) next(now event.Time) event.Time {
	if w.size == 0 {
		return event.MaxTime
	}
	at := uint64(now)
	if ahead := w.busy[at%span/64] >> (at % 64); ahead != 0 {
		return now + event.Time(bits.TrailingZeros64(ahead))
	}
	at = at&^63 + 64
	for w.busy[at%span/64] == 0 {
		at += 64
	}
	return event.Time(at) + event.Time(bits.TrailingZeros64(w.busy[at%span/64]))
}
