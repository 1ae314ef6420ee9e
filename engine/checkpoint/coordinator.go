// Package checkpoint decides when checkpoints are taken, takes them without
// holding up the blocks, and keeps their history.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"millrace/state"
)

// ErrTooManyFailures is the error of an engine whose checkpoints failed more
// often in a row than is tolerated.
var ErrTooManyFailures = errors.New("too many checkpoints failed")

// ErrTimeout is why a checkpoint that took longer than the timeout failed.
var ErrTimeout = errors.New("it took longer than the timeout")

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
	// Timeout is how long a checkpoint may take before it counts as failed,
	// once, whether it ends later or not; 0 means for ever. What it has encoded
	// is committed all the same, as it is nowhere else.
	Timeout time.Duration
	// Tolerated is how many tries in a row may fail before the engine stops; 0
	// means any number, as the log has everything that a checkpoint has;
	// negative means none. One that is not committed is tried again every
	// second.
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

// Live is a Subject that knows how much memory its state takes.
type Live interface {
	// LiveBytes is that, about. It is called on the engine's goroutine.
	LiveBytes() int64
}

// Options are the parts that a Coordinator is wired to.
type Options struct {
	Policy  Policy
	Backend state.Backend
	// Journal keeps the history for the next process; nil keeps none.
	Journal *Journal
	Now     func() time.Time // the wall clock
	Logger  *slog.Logger
	// Spawn starts a commit beside the engine.
	Spawn func(func())
	// Stop is closed when the engine is to stop.
	Stop <-chan struct{}
}

// Coordinator takes the checkpoints of one engine. Step, Now, Finish, Idle,
// Lost and Patient are called on the engine's goroutine, everything else from
// any.
type Coordinator struct {
	options Options
	opened  time.Time // when the engine was

	current *attempt  // nil if none is under way
	started time.Time // when the last one was begun
	ended   time.Time // when the last one was durable
	saved   uint64    // the block of the last one that was begun
	commits sync.WaitGroup
	lost    bool // one was given up, so that a later one would lack what it had

	wanted   atomic.Uint64 // a checkpoint of this block or a later one is wanted at once
	position atomic.Uint64 // of the subject, as of the last Step

	mutex     sync.Mutex
	history   []Record
	totals    totals
	committed uint64        // the block of the last durable one
	changed   chan struct{} // closed and replaced when committed moves
	failing   error         // why the last try to commit one did not succeed
	failures  int           // tries in a row that did not succeed
	latest    Failure       // the last try that did not succeed
	progress  *Progress     // of the one under way
}

// attempt is the checkpoint under way. The record, expired and blocked are
// guarded by the coordinator's mutex.
type attempt struct {
	checkpoint state.Checkpoint
	encoded    bool
	record     Record
	expired    bool      // it has counted as one that took too long
	blocked    time.Time // since when the engine waits for it, zero if it does not
	done       chan struct{}
	lost       bool // it was given up; set before done is closed
}

// New makes a coordinator for an engine whose state is that of a committed
// checkpoint, 0 if there was none.
func New(o Options, committed uint64) *Coordinator {
	if o.Policy.Interval == 0 {
		o.Policy.Interval = DefaultInterval
	}
	now := o.Now()
	c := &Coordinator{
		options: o, opened: now, started: now, saved: committed, committed: committed, changed: make(chan struct{}),
		history: o.Journal.Records(),
	}
	c.position.Store(committed)
	return c
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
		for w := c.wanted.Load(); w < block && !c.wanted.CompareAndSwap(w, block); w = c.wanted.Load() {
		}
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
	if final {
		c.last(s, false)
	} else {
		c.step(s)
	}
}

// Now takes a checkpoint of all that has changed and returns when it is
// durable, for an engine that has to let go of memory. Its errors are
// ErrTooManyFailures and ErrStopped.
func (c *Coordinator) Now(s Subject) error {
	c.last(s, true)
	if c.lost || c.saved != s.Position() {
		if err := c.Failed(); err != nil {
			return err
		}
		return errors.Join(ErrStopped, c.Err())
	}
	return nil
}

// last takes a checkpoint of all that has changed, after the one that is under
// way. blocks says that blocks wait for it, which is a stall.
func (c *Coordinator) last(s Subject, blocks bool) {
	c.position.Store(s.Position())
	for !c.lost {
		if c.current == nil {
			if s.Position() == c.saved {
				return
			}
			c.begin(s)
		}
		var began time.Time
		if blocks {
			began = c.options.Now()
		}
		c.encode(s, began, func() bool { return false })
		if blocks {
			c.mutex.Lock()
			c.current.blocked = c.options.Now()
			c.mutex.Unlock()
		}
		<-c.current.done
		c.settle()
	}
}

// Idle reports whether no checkpoint is under way.
func (c *Coordinator) Idle() bool { return c.current == nil }

func (c *Coordinator) step(s Subject) {
	c.position.Store(s.Position())
	if c.lost {
		return
	}
	began := c.options.Now()
	if c.current == nil {
		if s.Position() == c.saved || !c.due() {
			return
		}
		c.begin(s)
	}
	from := c.options.Now()
	c.encode(s, began, func() bool { return c.options.Now().Sub(from) > encodeSlice })
	select {
	case <-c.current.done:
		c.settle()
	default:
		c.expire(c.current)
	}
}

// encode encodes until stop says so, and starts the commit when nothing is
// left. Blocks have waited since began; zero means that there are none.
func (c *Coordinator) encode(s Subject, began time.Time, stop func() bool) {
	k := c.current
	if k.encoded {
		return
	}
	if k.encoded = s.Encode(stop); k.encoded {
		k.checkpoint.Tables = append(k.checkpoint.Tables, s.Take()...)
	}
	c.mutex.Lock()
	if !began.IsZero() {
		k.record.Stall = max(k.record.Stall, c.options.Now().Sub(began))
	}
	c.progress.Encoded = k.encoded
	c.mutex.Unlock()
	if k.encoded {
		c.commit(s, k)
	}
}

// settle notes that the checkpoint under way is done.
func (c *Coordinator) settle() {
	c.lost, c.current, c.ended = c.current.lost, nil, c.options.Now()
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
	k := &attempt{checkpoint: s.Begin(), done: make(chan struct{})}
	k.record = Record{Block: s.Position(), Started: c.started}
	if live, ok := s.(Live); ok {
		k.record.LiveBytes = live.LiveBytes()
	}
	c.current = k
	c.mutex.Lock()
	defer c.mutex.Unlock()
	k.record.First, k.record.Full = c.totals == totals{}, c.committed == 0
	c.progress = &Progress{Block: k.record.Block, Started: c.started}
}

// Finish encodes all that the checkpoint under way still lacks, before the
// subject is replaced.
func (c *Coordinator) Finish(s Subject) {
	if c.current != nil {
		c.encode(s, c.options.Now(), func() bool { return false })
	}
}

// Close waits for the commit under way.
func (c *Coordinator) Close() { c.commits.Wait() }
