package checkpoint

import (
	"slices"
	"time"
)

// Record is one checkpoint of the history.
type Record struct {
	Block    uint64        `json:"block"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_ns"` // from the start to the durable commit, or to the failure
	Stall    time.Duration `json:"stall_ns"`    // the longest time that a block waited for it
	Bytes    int64         `json:"bytes"`       // of what had changed
	Keys     int           `json:"keys"`        // that had changed
	// TotalBytes is what the backend takes after it, LiveBytes about what the
	// state took in memory; 0 if it is not known.
	TotalBytes int64 `json:"total_bytes"`
	LiveBytes  int64 `json:"live_bytes,omitempty"`
	// Failure is why it failed, "" if it did not. Failures is how often it was
	// tried in vain. Expired says that it took longer than the timeout; it is
	// durable then if it has Bytes.
	Failure  string `json:"failure,omitempty"`
	Failures int    `json:"failures,omitempty"`
	Expired  bool   `json:"expired,omitempty"`
	// First says that it was the first since its engine started, Full that
	// there was none before it, so that it has all of the state.
	First bool `json:"first,omitempty"`
	Full  bool `json:"full,omitempty"`
}

// Progress is how far the checkpoint under way has got.
type Progress struct {
	Block    uint64
	Started  time.Time
	Encoded  bool // and is being committed
	Failures int  // tries that did not succeed
}

// Failure is a try that did not succeed.
type Failure struct {
	Block   uint64
	Time    time.Time
	Err     error // nil if there was none
	Expired bool  // it took longer than the timeout
}

// totals are kept of all checkpoints since the start.
type totals struct{ completed, failed int }

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

// Status is what is known of an engine's checkpoints at one moment.
type Status struct {
	Policy Policy
	Now    time.Time
	// Opened is when the engine was; zero if none runs, so that nothing is known
	// but the History that one has left.
	Opened time.Time
	// Behind says that the state is of a later block than the newest checkpoint.
	Behind     bool
	InProgress *Progress // nil if none is
	Failing    error     // why the last try did not succeed; nil if it did
	Latest     Failure   // the last try that did not succeed, since the start
	History    []Record  // oldest first; perhaps of earlier processes too
	Summary    Summary
}

// Status is what is known at present.
func (c *Coordinator) Status() Status {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	s := Status{
		Policy: c.options.Policy, Now: c.options.Now(), Opened: c.opened, Behind: c.position.Load() > c.committed,
		Failing: c.failing, Latest: c.latest, History: slices.Clone(c.history), Summary: c.summary(),
	}
	if c.progress != nil {
		p := *c.progress
		s.InProgress = &p
	}
	return s
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
	return c.summary()
}

func (c *Coordinator) summary() Summary {
	s := Summarize(c.history)
	s.Completed, s.Failed = c.totals.completed, c.totals.failed
	return s
}

// Summarize is what records come to, oldest first. What an engine that was
// stopped did not do is no pause.
func Summarize(records []Record) Summary {
	var s Summary
	var durations, stalls, pauses []time.Duration
	var sizes []int64
	var ended time.Time
	for _, r := range records {
		s.Failed += r.Failures
		if !ended.IsZero() && !r.First {
			pauses = append(pauses, r.Started.Sub(ended))
		}
		ended = r.Started.Add(r.Duration)
		if r.Failure != "" {
			continue
		}
		s.Completed++
		durations, stalls, sizes = append(durations, r.Duration), append(stalls, r.Stall), append(sizes, r.Bytes)
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
