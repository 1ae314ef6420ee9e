// Package checkpoint decides when checkpoints are taken, takes them without
// holding up the blocks, and keeps their history.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/state"
)

// ErrTooManyFailures is the error of an engine whose checkpoints failed more
// often in a row than is tolerated.
var ErrTooManyFailures = errors.New("too many checkpoints failed")

// errExpired is why a checkpoint that took longer than the timeout failed.
var errExpired = errors.New("it took longer than the timeout")

const (
	// Tick is how often an idle engine should call Step.
	Tick = 20 * time.Millisecond
	// DefaultInterval is how often a checkpoint starts.
	DefaultInterval = 10 * time.Second
	// encodeSlice bounds the time that a checkpoint takes between two blocks.
	encodeSlice = 500 * time.Microsecond
	// encodePatience is how long a checkpoint lets waiting blocks go first.
	encodePatience = 2 * time.Second
	// keptRecords is how many checkpoints the history holds.
	keptRecords = 100
	// commitRetry is how long a checkpoint that could not be committed waits.
	commitRetry = time.Second
	// lastTries is how often a checkpoint is tried when the engine is to stop.
	lastTries = 3
	// loggedTries is of how many tries of a checkpoint one is logged: a log
	// that fills a full disk helps nobody.
	loggedTries = 60
)

// Policy says when checkpoints are taken, and what happens when they fail.
type Policy struct {
	// Interval is the least time between the starts of two checkpoints; 0
	// means DefaultInterval, negative none at all but the last and those that
	// are asked for.
	Interval time.Duration
	// MinPause is the least time between the end of a checkpoint and the start
	// of the next.
	MinPause time.Duration
	// Timeout is how long a checkpoint may take before it counts as failed; 0
	// means for ever. What it has encoded is committed all the same, as it is
	// nowhere else.
	Timeout time.Duration
	// Tolerated is how many tries in a row may fail before the engine stops; 0
	// means any number, as the log has everything that a checkpoint has;
	// negative means none.
	Tolerated int
}

// Subject is what checkpoints are taken of. All its methods but Prepare run on
// the engine's goroutine.
type Subject interface {
	// Position is the block that the state is of.
	Position() uint64
	// Begin fixes the state as it is now as the checkpoint's: what it returns,
	// and what Encode and Take will give. It takes constant time.
	Begin() state.Checkpoint
	// Encode encodes what the checkpoint still lacks until stop says so, and
	// reports whether all is done.
	Encode(stop func() bool) bool
	// Take hands over what was encoded.
	Take() []state.Table
	// Prepare is called beside the engine before each try to commit.
	Prepare(c *state.Checkpoint) error
}

// Options are the parts that a Coordinator is wired to.
type Options struct {
	Policy  Policy
	Backend state.Backend
	Now     func() time.Time // the wall clock
	Logger  *slog.Logger
	// Spawn starts a commit beside the engine.
	Spawn func(func())
	// Stop is closed when the engine is to stop.
	Stop <-chan struct{}
}

// Coordinator takes the checkpoints of one engine. Step, Finish and Patient are
// called on the engine's goroutine, everything else from any.
type Coordinator struct {
	options Options

	current *attempt  // nil if none is under way
	started time.Time // when the last one was begun
	ended   time.Time // when the last one was durable
	saved   uint64    // the block of the last one that was begun
	commits sync.WaitGroup
	lost    bool // one was given up, so that a later one would lack what it had

	wanted atomic.Uint64 // a checkpoint of this block or a later one is wanted at once

	mutex     sync.Mutex
	history   []Record
	totals    totals
	committed uint64        // the block of the last durable one
	changed   chan struct{} // closed and replaced when committed moves
	failing   error         // why the last try to commit one did not succeed
	failures  int           // tries in a row that did not succeed
}

// attempt is the checkpoint under way.
type attempt struct {
	checkpoint state.Checkpoint
	encoded    bool
	record     Record
	done       chan struct{}
	lost       bool // it was given up; set before done is closed
}

// New makes a coordinator for an engine whose state is that of a committed
// checkpoint, 0 if there was none.
func New(o Options, committed uint64) *Coordinator {
	if o.Policy.Interval == 0 {
		o.Policy.Interval = DefaultInterval
	}
	return &Coordinator{options: o, started: o.Now(), saved: committed, committed: committed, changed: make(chan struct{})}
}

// Err is nil while checkpoints can be committed, or says why the last try did
// not succeed. There will be others.
func (c *Coordinator) Err() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.failing
}

// Failed is nil, or wraps ErrTooManyFailures if the engine is to stop.
func (c *Coordinator) Failed() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if tolerated := c.options.Policy.Tolerated; tolerated != 0 && c.failures > max(0, tolerated) {
		return fmt.Errorf("%w: %d in a row, %d are tolerated: %w", ErrTooManyFailures, c.failures, max(0, tolerated), c.failing)
	}
	return nil
}

// Lost reports whether a checkpoint was given up when the engine was to stop.
func (c *Coordinator) Lost() bool { return c.lost }

// Wait returns once a checkpoint of the given block, or of a later one, is
// durable; it has one started if need be. stopped is closed when the engine
// has stopped, which is ErrStopped.
func (c *Coordinator) Wait(ctx context.Context, block uint64, stopped <-chan struct{}) error {
	for {
		c.mutex.Lock()
		committed, changed := c.committed, c.changed
		c.mutex.Unlock()
		if committed >= block {
			return nil
		}
		c.wanted.Store(max(block, c.wanted.Load()))
		select {
		case <-changed:
		case <-stopped:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ErrStopped is the error of waiting for a checkpoint of an engine that stops.
var ErrStopped = errors.New("the engine stopped before the checkpoint")

// Patient reports whether blocks that wait go before the checkpoint.
func (c *Coordinator) Patient() bool {
	return c.current != nil && !c.current.encoded && c.options.Now().Sub(c.started) < encodePatience
}

// Step begins a checkpoint when one is due, encodes for at most encodeSlice,
// and starts the commit when everything is encoded. final takes one now and
// waits until it is durable.
func (c *Coordinator) Step(s Subject, final bool) {
	c.step(s, final)
	if final && c.saved != s.Position() && !c.lost { // the one that was under way is not the last
		c.begin(s)
		c.step(s, true)
	}
}

// Now takes a checkpoint of all that has changed and returns when it is
// durable, for an engine that has to let go of memory.
func (c *Coordinator) Now(s Subject) error {
	c.Step(s, true)
	if c.lost || c.saved != s.Position() {
		return errors.Join(ErrStopped, c.Err())
	}
	return nil
}

// Idle reports whether no checkpoint is under way.
func (c *Coordinator) Idle() bool { return c.current == nil }

func (c *Coordinator) step(s Subject, final bool) {
	if c.lost {
		return
	}
	if c.current == nil {
		if s.Position() == c.saved || !final && !c.due() {
			return
		}
		c.begin(s)
	}
	k := c.current
	if !k.encoded {
		began := c.options.Now()
		k.encoded = s.Encode(func() bool { return !final && c.options.Now().Sub(began) > encodeSlice })
		k.record.Stall = max(k.record.Stall, c.options.Now().Sub(began))
		if !k.encoded {
			return
		}
		c.commit(s)
	}
	if final {
		<-k.done
	}
	select {
	case <-k.done:
		c.current, c.lost, c.ended = nil, k.lost, c.options.Now()
	default:
	}
}

func (c *Coordinator) due() bool {
	if c.saved < c.wanted.Load() {
		return true
	}
	p, now := c.options.Policy, c.options.Now()
	return p.Interval > 0 && now.Sub(c.started) >= p.Interval && now.Sub(c.ended) >= p.MinPause
}

// begin fixes the state as it is as the next checkpoint's.
func (c *Coordinator) begin(s Subject) {
	c.started, c.saved = c.options.Now(), s.Position()
	c.current = &attempt{
		checkpoint: s.Begin(),
		record:     Record{Block: s.Position(), Started: c.started},
		done:       make(chan struct{}),
	}
}

// Finish encodes all that the checkpoint under way still lacks, before the
// subject is replaced.
func (c *Coordinator) Finish(s Subject) {
	if k := c.current; k != nil && !k.encoded {
		s.Encode(func() bool { return false })
		k.encoded = true
		c.commit(s)
	}
}

// commit writes what was encoded, beside the engine. It tries again until it
// succeeds, as what was encoded is nowhere else, or until the engine is to
// stop: the next one replays the log then.
func (c *Coordinator) commit(s Subject) {
	k := c.current
	k.checkpoint.Tables = append(k.checkpoint.Tables, s.Take()...)
	c.commits.Add(1)
	c.options.Spawn(func() {
		defer c.commits.Done()
		defer close(k.done)
		late := 0
		for try := 0; ; try++ {
			err := s.Prepare(&k.checkpoint)
			if err == nil {
				k.record.Bytes, err = c.options.Backend.Commit(&k.checkpoint)
			}
			if err == nil {
				break
			}
			c.failed(k, err, try)
			select {
			case <-c.options.Stop:
				if late++; late == lastTries {
					k.lost = true
					return
				}
				time.Sleep(commitRetry)
			case <-time.After(commitRetry):
			}
		}
		c.finished(k)
	})
}

// failed notes a try that did not succeed.
func (c *Coordinator) failed(k *attempt, err error, try int) {
	c.mutex.Lock()
	c.failing = err
	c.failures++
	c.note(k.record, c.options.Now(), err)
	c.mutex.Unlock()
	if try%loggedTries == 0 {
		c.options.Logger.Error("checkpoint not committed, trying again", "block", k.checkpoint.Block, "error", err)
	}
}

func (c *Coordinator) finished(k *attempt) {
	for _, t := range k.checkpoint.Tables {
		k.record.Keys += len(t.Writes)
	}
	k.checkpoint.Tables = nil
	k.record.TotalBytes, _ = c.options.Backend.Size()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	now := c.options.Now()
	if limit := c.options.Policy.Timeout; limit > 0 && now.Sub(k.record.Started) > limit {
		c.failures++
		c.failing = fmt.Errorf("checkpoint of block %d: %w of %v: %v", k.record.Block, errExpired, limit, now.Sub(k.record.Started))
		c.note(k.record, now, c.failing)
	} else {
		c.failing, c.failures = nil, 0
		c.note(k.record, now, nil)
	}
	c.committed = k.record.Block
	close(c.changed)
	c.changed = make(chan struct{})
}

// note puts a record into the history. One that fails again and again has one
// record.
func (c *Coordinator) note(r Record, now time.Time, err error) {
	r.Duration = now.Sub(r.Started)
	if err != nil {
		r.Failure = err.Error()
	}
	c.totals.add(r)
	if n := len(c.history); n > 0 && c.history[n-1].Block == r.Block && c.history[n-1].Failure != "" {
		r.Failures = c.history[n-1].Failures
		c.history = c.history[:n-1]
	}
	if err != nil {
		r.Failures++
	}
	c.history = append(c.history, r)
	if len(c.history) > keptRecords {
		c.history = slices.Delete(c.history, 0, 1)
	}
}

// Close waits for the commit under way.
func (c *Coordinator) Close() { c.commits.Wait() }
