package checkpoint

import (
	"slices"
	"time"
)

// Record is one checkpoint of the history.
type Record struct {
	Block    uint64
	Started  time.Time
	Duration time.Duration // from the start to the durable commit, or to the failure
	Stall    time.Duration // the longest time that a block waited for it
	Bytes    int64         // of what had changed
	// TotalBytes is what the backend takes after it.
	TotalBytes int64
	Keys       int // that had changed
	// Failure is why it failed, "" if it did not. Failures is how often it was
	// tried in vain.
	Failure  string
	Failures int
}

// totals are kept of all checkpoints since the start.
type totals struct{ completed, failed int }

func (t *totals) add(r Record) {
	if r.Failure != "" {
		t.failed++
	} else {
		t.completed++
	}
}

// Range is the average, the least and the largest of some figure.
type Range[T any] struct{ Average, Min, Max T }

// Summary is what the history comes to.
type Summary struct {
	Completed, Failed int // since the start; of a failed one each try counts
	// Duration, Bytes and Stall are of the checkpoints of the history that
	// succeeded.
	Duration Range[time.Duration]
	Stall    Range[time.Duration]
	Bytes    Range[int64]
	// Pause is the time from the end of one to the start of the next.
	Pause Range[time.Duration]
}

// History are the latest checkpoints, oldest first.
func (c *Coordinator) History() []Record {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(c.history)
}

// Summary is what the history comes to.
func (c *Coordinator) Summary() Summary {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	s := Summarize(c.history)
	s.Completed, s.Failed = c.totals.completed, c.totals.failed
	return s
}

// Summarize is what records come to, oldest first.
func Summarize(records []Record) Summary {
	var s Summary
	var durations, stalls, pauses []time.Duration
	var sizes []int64
	var ended time.Time
	for _, r := range records {
		if r.Failure != "" {
			s.Failed++
			continue
		}
		s.Completed++
		durations, stalls, sizes = append(durations, r.Duration), append(stalls, r.Stall), append(sizes, r.Bytes)
		if !ended.IsZero() {
			pauses = append(pauses, r.Started.Sub(ended))
		}
		ended = r.Started.Add(r.Duration)
	}
	s.Duration, s.Stall, s.Bytes, s.Pause = rangeOf(durations), rangeOf(stalls), rangeOf(sizes), rangeOf(pauses)
	return s
}

func rangeOf[T ~int64](list []T) (r Range[T]) {
	if len(list) == 0 {
		return r
	}
	var sum T
	for _, v := range list {
		sum += v
	}
	return Range[T]{sum / T(len(list)), slices.Min(list), slices.Max(list)}
}
