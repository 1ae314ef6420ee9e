// Package checkpoints is what the command line and the server tell of
// checkpoints: history, figures and advice.
package checkpoints

import (
	"fmt"
	"time"

	"millrace/engine/checkpoint"
	"millrace/serve/api"
)

// JournalFile is the file of a data directory with the history of checkpoints.
const JournalFile = "checkpoints.jsonl"

// earlier is why a checkpoint failed, of a process that has ended.
const earlier = "it was before the last start; the log of that server says why"

// Words is the status of an engine's checkpoints in the API's words. reason is
// an error in words that clients may read.
func Words(s *checkpoint.Status, reason func(error) string) api.Checkpoints {
	c := api.Checkpoints{
		Policy: Policy(s.Policy), Completed: s.Summary.Completed, Failed: s.Summary.Failed,
		Duration: api.Extent[time.Duration](s.Summary.Duration), Stall: api.Extent[time.Duration](s.Summary.Stall),
		Bytes: api.Extent[int64](s.Summary.Bytes), Pause: api.Extent[time.Duration](s.Summary.Pause),
		History: make([]api.Checkpoint, len(s.History)),
	}
	for i, r := range s.History {
		c.History[i] = api.Checkpoint{
			Block: r.Block, Started: r.Started, Duration: r.Duration, Stall: r.Stall, Bytes: r.Bytes, Keys: r.Keys,
			TotalBytes: r.TotalBytes, Failures: r.Failures,
		}
		if r.Failure != "" {
			c.History[i].Failure = failure(r.Expired)
		}
		if r.Failures > 0 {
			c.LastFailure = &api.CheckpointFailure{Block: r.Block, Time: r.Started, Failure: failure(r.Expired), Reason: earlier}
		}
	}
	if f := s.Latest; f.Err != nil {
		c.LastFailure = &api.CheckpointFailure{Block: f.Block, Time: f.Time, Failure: failure(f.Expired)}
		if f.Expired {
			c.LastFailure.Reason = fmt.Sprintf("it took longer than checkpoint_timeout, which is %v", s.Policy.Timeout)
		} else {
			c.LastFailure.Reason = reason(f.Err)
		}
	}
	if p := s.InProgress; p != nil {
		c.InProgress = &api.CheckpointProgress{
			Block: p.Block, Started: p.Started, Running: s.Now.Sub(p.Started), Storing: p.Encoded, Failures: p.Failures,
		}
	}
	for _, a := range checkpoint.Advise(s) {
		c.Advice = append(c.Advice, api.CheckpointAdvice{
			Level: string(a.Level), Code: a.Code, Value: a.Value, Threshold: a.Threshold, Unit: a.Unit, Text: a.Text,
		})
	}
	return c
}

// Policy is a policy in the API's words, where any number of tolerated
// failures is negative.
func Policy(p checkpoint.Policy) api.CheckpointPolicy {
	words := api.CheckpointPolicy{Interval: p.Interval, MinPause: p.MinPause, Timeout: p.Timeout, Tolerated: p.Tolerated}
	switch {
	case p.Tolerated == 0:
		words.Tolerated = -1
	case p.Tolerated < 0:
		words.Tolerated = 0
	}
	return words
}

func failure(expired bool) string {
	if expired {
		return api.FailureTimeout
	}
	return api.FailureStorage
}
