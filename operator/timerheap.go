package operator

import "millrace/event"

// timerEntry says that a slot's earliest timer is due at a time.
type timerEntry[K Key, S any] struct {
	at   event.Time
	slot *slot[K, S]
}

// timerHeap is a binary min-heap by time, then by key, so that a run is the
// same each time.
type timerHeap[K Key, S any] []timerEntry[K, S]

func (h timerHeap[K, S]) less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].slot.key < h[j].slot.key
}

func (h *timerHeap[K, S]) push(e timerEntry[K, S]) {
	*h = append(*h, e)
	q := *h
	for i := len(q) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.less(i, parent) {
			return
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

func (h *timerHeap[K, S]) pop() timerEntry[K, S] {
	q := *h
	top, last := q[0], len(q)-1
	q[0] = q[last]
	q[last] = timerEntry[K, S]{}
	q = q[:last]
	*h = q
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return top
		}
		if child+1 < last && q.less(child+1, child) {
			child++
		}
		if !q.less(child, i) {
			return top
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}
