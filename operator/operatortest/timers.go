package operatortest

import "millrace/event"

// timer is an entry of a task's timer queue.
type timer struct {
	at  event.Time
	key string
}

type timers []timer

// The methods of heap.Interface.

// Len is how many entries there are, those of deleted timers included.
func (q timers) Len() int { return len(q) }

// Less orders by time, then by key, so that every run fires in one order.
func (q timers) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].key < q[j].key
}

// Swap exchanges two entries.
func (q timers) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push appends an entry, for package heap.
func (q *timers) Push(x any) { *q = append(*q, x.(timer)) }

// Pop removes the last entry, for package heap.
func (q *timers) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
