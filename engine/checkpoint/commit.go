package checkpoint

import (
	"fmt"
	"slices"
	"time"
)

// commit writes what was encoded, beside the engine. It tries again until it
// succeeds, as what was encoded is nowhere else, or until the engine is to
// stop: the next one replays the log then.
func (c *Coordinator) commit(s Subject, k *attempt) {
	c.commits.Add(1)
	c.options.Spawn(func() {
		defer c.commits.Done()
		defer close(k.done)
		late := 0
		for try := 0; ; try++ {
			bytes := int64(0)
			err := s.Prepare(&k.checkpoint)
			if err == nil {
				bytes, err = c.options.Backend.Commit(&k.checkpoint)
			}
			if err == nil {
				c.finished(k, bytes)
				return
			}
			c.failed(k, err, try)
			if c.Failed() != nil { // the engine stops, whatever becomes of this one
				c.giveUp(k)
				return
			}
			select {
			case <-c.options.Stop:
				if late++; late == lastTries {
					c.giveUp(k)
					return
				}
				time.Sleep(commitRetry)
			case <-time.After(commitRetry):
			}
		}
	})
}

// giveUp leaves a checkpoint to the next engine, which replays the log.
func (c *Coordinator) giveUp(k *attempt) {
	k.lost = true
	c.mutex.Lock()
	c.progress = nil
	c.mutex.Unlock()
}

// failed notes a try that did not succeed.
func (c *Coordinator) failed(k *attempt, err error, try int) {
	c.mutex.Lock()
	r := c.failure(k, c.options.Now(), err)
	c.mutex.Unlock()
	if try == 0 { // later ones change nothing but a count
		c.keep(r)
	}
	if try%loggedTries == 0 {
		c.options.Logger.Error("checkpoint not committed, trying again", "block", k.checkpoint.Block, "error", err)
	}
}

// expire notes a checkpoint that has taken longer than it may, once.
func (c *Coordinator) expire(k *attempt) {
	c.mutex.Lock()
	now := c.options.Now()
	if !c.overdue(k, now) {
		c.mutex.Unlock()
		return
	}
	c.expired(k, now) // the journal has it when it is done: the engine does not wait for a file
	c.mutex.Unlock()
	c.options.Logger.Error("checkpoint takes longer than the timeout", "block", k.checkpoint.Block, "timeout", c.options.Policy.Timeout)
}

// overdue reports whether a checkpoint has taken longer than it may, and has
// not been counted yet. The mutex is held.
func (c *Coordinator) overdue(k *attempt, now time.Time) bool {
	limit := c.options.Policy.Timeout
	return limit > 0 && !k.expired && now.Sub(k.record.Started) > limit
}

// expired counts a checkpoint that is overdue. The mutex is held.
func (c *Coordinator) expired(k *attempt, now time.Time) Record {
	k.expired, k.record.Expired = true, true
	return c.failure(k, now, fmt.Errorf("checkpoint of block %d: %w of %v", k.record.Block, ErrTimeout, c.options.Policy.Timeout))
}

// failure counts a try that did not succeed. The mutex is held.
func (c *Coordinator) failure(k *attempt, now time.Time, err error) Record {
	c.failing = err
	c.failures++
	c.totals.failed++
	k.record.Failures++
	k.record.Failure = err.Error()
	c.latest = Failure{Block: k.record.Block, Time: now, Err: err, Expired: k.record.Expired}
	if c.progress != nil {
		c.progress.Failures = k.record.Failures
	}
	return c.note(k, now)
}

// finished notes a checkpoint that is durable. One that took longer than it may
// has failed all the same.
func (c *Coordinator) finished(k *attempt, bytes int64) {
	keys := 0
	for _, t := range k.checkpoint.Tables {
		keys += len(t.Writes)
	}
	k.checkpoint.Tables = nil
	total, err := c.options.Backend.Size()
	if err != nil {
		total = 0 // it is not known, which is no reason to fail
	}
	c.mutex.Lock()
	now := c.options.Now()
	k.record.Bytes, k.record.Keys, k.record.TotalBytes = bytes, keys, total
	var r Record
	switch {
	case c.overdue(k, now):
		r = c.expired(k, now)
	case k.expired:
		r = c.note(k, now)
	default:
		c.failing, c.failures, k.record.Failure = nil, 0, ""
		c.totals.completed++
		r = c.note(k, now)
	}
	c.committed, c.progress = k.record.Block, nil
	close(c.changed)
	c.changed = make(chan struct{})
	c.mutex.Unlock()
	c.keep(r)
}

// note puts what is known of a checkpoint into the history, where it has one
// record. The mutex is held.
func (c *Coordinator) note(k *attempt, now time.Time) Record {
	r := k.record
	r.Duration = now.Sub(r.Started)
	if !k.blocked.IsZero() {
		r.Stall = max(r.Stall, now.Sub(k.blocked))
	}
	c.history = appendRecord(c.history, r)
	return r
}

// appendRecord appends a record to a history, or replaces the last one if it is
// of the same checkpoint.
func appendRecord(history []Record, r Record) []Record {
	if n := len(history); n > 0 && history[n-1].Block == r.Block && history[n-1].Started.Equal(r.Started) {
		history[n-1] = r
		return history
	}
	history = append(history, r)
	return slices.Delete(history, 0, max(0, len(history)-keptRecords))
}

// keep has the journal keep a record. It is not called with the mutex held, as
// it writes to a file.
func (c *Coordinator) keep(r Record) {
	if err := c.options.Journal.Append(r); err != nil {
		c.options.Logger.Debug("a checkpoint is not in the history of the next start", "block", r.Block, "error", err)
	}
}
