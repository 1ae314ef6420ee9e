package sink

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Options are what a Publisher is wired to.
type Options struct {
	Sink Sink
	// Log is the identity of the log, and Last its last block.
	Log  string
	Last uint64
	// Interval is the least time between the starts of two commits, unless a
	// checkpoint waits for one or there is no room left; 0 means
	// DefaultInterval. What is put after a pause is committed at once.
	Interval time.Duration
	// MaxRecords and MaxBytes bound what waits, with what is being committed:
	// beyond either the engine waits. 0 means the defaults. Blocks are whole:
	// the last one may go beyond.
	MaxRecords int
	MaxBytes   int64
	// Timeout is how long one try to open the sink, or to commit, may take; 0
	// means DefaultTimeout.
	Timeout time.Duration
	// Words says in words what an error means, for health and the log; nil
	// means its text.
	Words func(error) string
	// Now is the wall clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// The defaults of Options.
const (
	DefaultInterval   = 100 * time.Millisecond
	DefaultMaxRecords = 200_000
	DefaultMaxBytes   = 64 << 20
	DefaultTimeout    = 20 * time.Second
)

const (
	// retryFirst and retryMost are how long a failed try waits before the next:
	// twice as long each time.
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
	// loggedEvery is how often a failure that lasts is logged.
	loggedEvery = time.Minute
	// commitRecords bounds the records of one commit, unless a single block has
	// more: after an outage there are several, each within its time.
	commitRecords = 20_000
	// slowAfter is when a try that has not come back counts as a failure.
	slowAfter = 3 * time.Second
)

// ErrSlow is why a sink does not work that has neither succeeded nor failed for
// some seconds.
var ErrSlow = errors.New("it does not answer")

// Status is what a Publisher knows of itself at one moment.
type Status struct {
	// Committed is the last block of which records were committed, as far as is
	// known.
	Committed uint64
	// Records and Commits are how many were committed since the start, and
	// Dropped the records of blocks that an earlier run had committed.
	Records, Commits, Dropped uint64
	// WaitingBlocks, WaitingRecords and WaitingBytes are what is not committed yet.
	WaitingBlocks, WaitingRecords int
	WaitingBytes                  int64
	// Blocked says that the engine waits for room.
	Blocked bool
	// Failures are the tries that failed since the start.
	Failures uint64
	// Err is nil while the sink works, or why the last try failed, since Since.
	// It wraps ErrFenced once there will be no other.
	Err   error
	Since time.Time
	// Words is Err in words.
	Words string
}

// Publisher collects what blocks publish and has a Sink commit it, in the order
// of the blocks, each once. Put is called by one goroutine, Run by another;
// everything else by any.
type Publisher struct {
	options Options
	run     string // Progress.Run

	mutex   sync.Mutex
	changed chan struct{} // closed and replaced when anything below changes
	queue   []Block       // not committed, oldest first
	fed     uint64        // the last block that was put
	began   time.Time     // when the last commit did
	wanted  uint64        // somebody waits for this block
	opened  bool          // the sink is open
	known   bool          // it has been before: base is known
	base    uint64        // what earlier runs have committed of this log
	ending  bool          // the engine is not held up any more
	closed  bool          // Run is to end
	busy    time.Time     // since when a try is under way, zero if none is
	retry   time.Time     // the next try after a failed one
	pause   time.Duration // after the next failed try
	logged  time.Time     // when a failure was logged last
	status  Status        // its counts; the rest is made by Status
}

// NewPublisher makes a publisher, for somebody to Run.
func NewPublisher(o Options) *Publisher {
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.MaxRecords, o.MaxBytes = cmp.Or(o.MaxRecords, DefaultMaxRecords), cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Words == nil {
		o.Words = error.Error
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Publisher{options: o, run: rand.Text(), changed: make(chan struct{}), pause: retryFirst}
}

// notify tells those who wait that something has changed. The mutex is held.
func (p *Publisher) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Put takes what a block publishes, which is not to be changed any more, and
// waits while too much waits already. A block that was put before, as when an
// engine recovers a second time, is ignored: its records were the same.
func (p *Publisher) Put(b Block) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if b.Number <= p.fed {
		return
	}
	if p.known && b.Number <= p.base {
		p.status.Dropped += uint64(len(b.Records))
		b.Records = nil
	}
	for len(b.Records) > 0 && p.full() && !p.ending && !errors.Is(p.status.Err, ErrFenced) {
		p.status.Blocked = true
		changed := p.changed
		p.mutex.Unlock()
		<-changed
		p.mutex.Lock()
	}
	p.status.Blocked = false
	p.fed = b.Number
	if len(b.Records) == 0 || errors.Is(p.status.Err, ErrFenced) { // nothing is committed any more
		return
	}
	p.queue = append(p.queue, b)
	p.status.WaitingRecords += len(b.Records)
	p.status.WaitingBytes += b.Bytes()
	p.notify()
}

func (p *Publisher) full() bool {
	return len(p.queue) > 0 && (p.status.WaitingRecords >= p.options.MaxRecords || p.status.WaitingBytes >= p.options.MaxBytes)
}

// waits reports whether something of a block, or of one before it, is not
// committed. The mutex is held.
func (p *Publisher) waits(block uint64) bool {
	return len(p.queue) > 0 && p.queue[0].Number <= block
}

// Sync returns once all that was put up to a block is committed, or with the
// reason why the last try did not succeed, or with ctx's error.
func (p *Publisher) Sync(ctx context.Context, block uint64) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.wanted < block && p.waits(block) {
		p.wanted = block
		p.notify()
	}
	for p.waits(block) || errors.Is(p.status.Err, ErrFenced) {
		if p.status.Err != nil {
			return p.status.Err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		changed := p.changed
		p.mutex.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		p.mutex.Lock()
	}
	return nil
}

// Err is nil, or wraps ErrFenced once the sink was taken over.
func (p *Publisher) Err() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if errors.Is(p.status.Err, ErrFenced) {
		return p.status.Err
	}
	return nil
}

// Status is how things stand.
func (p *Publisher) Status() Status {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	s := p.status
	s.WaitingBlocks = len(p.queue)
	if s.Err == nil && !p.busy.IsZero() && p.options.Now().Sub(p.busy) > slowAfter {
		s.Err, s.Since = ErrSlow, p.busy
	}
	if s.Err != nil {
		s.Words = p.options.Words(s.Err)
	}
	return s
}

// End lets the engine go that waits for room, so that it can stop.
func (p *Publisher) End() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ending = true
	p.notify()
}

// Close has Run end. What is not committed is not: the log has it.
func (p *Publisher) Close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ending, p.closed = true, true
	p.notify()
}

// Run commits what is put until ctx ends, Close is called, or the sink is taken
// over by somebody else; then it closes the sink. The sink is opened at once, so
// that the engine that had it before stops, and that it is known what is wrong.
func (p *Publisher) Run(ctx context.Context) error {
	for p.wait(ctx) {
		p.Step(ctx)
	}
	return p.options.Sink.Close()
}

// wait returns when there is something to do, true, or when Run is to end.
func (p *Publisher) wait(ctx context.Context) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for !p.closed && ctx.Err() == nil && !errors.Is(p.status.Err, ErrFenced) {
		left, some := p.due()
		if some && left <= 0 {
			return true
		}
		var alarm <-chan time.Time
		if some {
			alarm = time.After(left)
		}
		changed := p.changed
		p.mutex.Unlock()
		select {
		case <-changed:
		case <-alarm:
		case <-ctx.Done():
		}
		p.mutex.Lock()
	}
	return false
}

// due is how long it takes until a step is due, false if there is none. The
// mutex is held.
func (p *Publisher) due() (left time.Duration, some bool) {
	now := p.options.Now()
	switch {
	case !p.opened:
		return p.retry.Sub(now), true
	case len(p.queue) == 0:
		return 0, false
	case p.wanted >= p.queue[0].Number, p.status.WaitingRecords >= commitRecords, p.full():
		return 0, true
	}
	return p.options.Interval - now.Sub(p.began), true
}

// Step makes one try to open the sink or, if it is open, to commit what waits.
// Run calls it whenever that is due.
func (p *Publisher) Step(ctx context.Context) {
	p.mutex.Lock()
	opened, blocks := p.opened, p.next()
	p.busy = p.options.Now()
	p.mutex.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.options.Timeout)
	defer cancel()
	if !opened {
		progress, err := p.options.Sink.Open(ctx)
		p.done(err, false, func() { p.resume(progress) })
		return
	}
	if len(blocks) == 0 {
		p.done(nil, true, func() {})
		return
	}
	p.began = p.options.Now() // only steps read it
	err := p.options.Sink.Commit(ctx, blocks, Progress{Log: p.options.Log, Run: p.run, Block: blocks[len(blocks)-1].Number})
	p.done(err, true, func() {
		p.status.Commits++
		p.status.Committed = blocks[len(blocks)-1].Number
		p.status.Records += p.drop(len(blocks))
	})
}

// next is what the next commit takes: whole blocks, as many as commitRecords
// allows, at least one. The mutex is held.
func (p *Publisher) next() []Block {
	n, records := 0, 0
	for n < len(p.queue) && (n == 0 || records+len(p.queue[n].Records) <= commitRecords) {
		records += len(p.queue[n].Records)
		n++
	}
	return p.queue[:n:n]
}

// done notes how a try has ended; then is called if well, with the mutex held. A
// sink that has been opened again may still take nothing: what was wrong is so
// until what waits is committed.
func (p *Publisher) done(err error, committed bool, then func()) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	defer p.notify()
	p.busy = time.Time{}
	now := p.options.Now()
	if err == nil {
		then()
		if !committed && len(p.queue) > 0 {
			return
		}
		if p.status.Err != nil {
			p.options.Logger.Info("publishing again", "after", now.Sub(p.status.Since).Round(time.Millisecond), "waiting_records", p.status.WaitingRecords)
		}
		p.status.Err, p.status.Since, p.pause, p.logged = nil, time.Time{}, retryFirst, time.Time{}
		return
	}
	if p.status.Err == nil {
		p.status.Since = now
	}
	p.opened, p.status.Err = false, err
	p.status.Failures++
	p.retry = now.Add(p.pause)
	p.pause = min(2*p.pause, retryMost)
	if errors.Is(err, ErrFenced) || now.Sub(p.logged) >= loggedEvery {
		p.logged = now
		p.options.Logger.Error("results are not published", "because", p.options.Words(err), "error", err, "waiting_records", p.status.WaitingRecords)
	}
}

// resume drops what the sink has of what waits. The mutex is held.
//
// What another run has committed of this log counts up to the end that the log
// had at the start: beyond it a log that was put back from a copy has other
// blocks under the same numbers.
func (p *Publisher) resume(progress Progress) {
	p.opened = true
	if progress.Log != p.options.Log {
		progress.Block = 0
	}
	if !p.known {
		p.known, p.base = true, min(progress.Block, p.options.Last)
		if progress.Block > p.base {
			p.options.Logger.Warn("more was published than the log has: it is an older copy of itself", "published_block", progress.Block, "last_block", p.options.Last)
		}
		p.options.Logger.Info("publishing", "from_block", p.base+1)
	}
	have := p.base
	if progress.Run == p.run {
		have = progress.Block
	}
	p.status.Committed = have
	n := 0
	for n < len(p.queue) && p.queue[n].Number <= have {
		n++
	}
	p.status.Dropped += p.drop(n)
}

// drop takes the first blocks out of the queue and tells how many records they
// had. The mutex is held.
func (p *Publisher) drop(blocks int) (records uint64) {
	for i := range p.queue[:blocks] {
		records += uint64(len(p.queue[i].Records))
		p.status.WaitingBytes -= p.queue[i].Bytes()
	}
	p.status.WaitingRecords -= int(records)
	p.queue = append([]Block(nil), p.queue[blocks:]...)
	return records
}
