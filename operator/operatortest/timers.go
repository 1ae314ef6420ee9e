package operatortest

import (
	"container/heap"

	"millrace/event"
)

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

func (q *timers) push(at event.Time, key string) { heap.Push(q, timer{at, key}) }

// pop takes out the first entry up to a time that is valid. Entries of what has
// been deleted since are not.
func (q *timers) pop(until event.Time, valid func(timer) bool) (string, bool) {
	for len(*q) > 0 && (*q)[0].at <= until {
		if first := heap.Pop(q).(timer); valid(first) {
			return first.key, true
		}
	}
	return "", false
}
