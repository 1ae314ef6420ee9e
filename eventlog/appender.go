package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"millrace/event"
)

// AppenderOptions bound an Appender. Zero fields take the defaults.
type AppenderOptions struct {
	// MaxBlockEvents and MaxBlockBytes end the block that is being formed: 0 =
	// 4096 records and 4 MiB of payload. A batch is never split, so one that
	// is larger by itself becomes one block of its own that exceeds them.
	MaxBlockEvents int
	MaxBlockBytes  int
	// MaxQueuedEvents and MaxQueuedBytes bound what is submitted and not yet
	// durable: 0 = 65,536 records and 64 MiB. A batch that is larger by itself
	// is taken when nothing else is queued.
	MaxQueuedEvents int
	MaxQueuedBytes  int
	// Now is the wall clock that blocks are stamped with; nil = the real one.
	Now func() event.Time
	// Deliver is given every block once it is durable, in the order of their
	// numbers, by one goroutine. The Block is the receiver's own. While Deliver
	// blocks nothing more is committed: that is the backpressure. Nil = nobody.
	Deliver func(*Block)
	// Recovered is called when the log works again after a failure, with the
	// number of its last block, which has been delivered. Batches are taken
	// once it returns. Nil = nobody.
	Recovered func(last uint64)
	// RecoverEvery is how long a log that has failed is left alone before it is
	// tried again, 0 = 1 s. Where that helps only for a short while the time
	// grows.
	RecoverEvery time.Duration
}

func (o AppenderOptions) withDefaults() AppenderOptions {
	setDefault(&o.MaxBlockEvents, 4096)
	setDefault(&o.MaxBlockBytes, 4<<20)
	setDefault(&o.MaxQueuedEvents, 1<<16)
	setDefault(&o.MaxQueuedBytes, 64<<20)
	o.MaxBlockBytes = min(o.MaxBlockBytes, MaxPayloadBytes)
	if o.Now == nil {
		o.Now = func() event.Time { return event.FromGo(time.Now()) }
	}
	if o.Deliver == nil {
		o.Deliver = func(*Block) {}
	}
	if o.Recovered == nil {
		o.Recovered = func(uint64) {}
	}
	o.RecoverEvery = cmp.Or(o.RecoverEvery, time.Second)
	return o
}

func setDefault(v *int, to int) {
	if *v == 0 {
		*v = to
	}
}

// Batch is what one caller wants in the log: records that are stored
// together, in order, in one block.
type Batch struct {
	Kind      Kind
	Payload   []byte // Count records, one after the other; copied by Submit
	Count     int
	Positions []Position
	// Partition is that of the source that the records came from, see Run. It
	// is for events.
	Partition string
}

// Ticket tells what became of a batch.
type Ticket struct {
	block *forming
	first int
}

// Done is closed when the batch is durable, or when that failed.
func (t *Ticket) Done() <-chan struct{} { return t.block.done }

// Err waits for Done; it is nil when the batch is durable. With any error the
// batch must not be acknowledged, though it may be stored.
func (t *Ticket) Err() error {
	<-t.block.done
	return t.block.err
}

// Wait is Err, or the error of ctx if that is done first: what becomes of the
// batch is not known then.
func (t *Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.block.done:
		return t.block.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Block waits for Done; it is the number of the batch's block, 0 after an
// error.
func (t *Ticket) Block() uint64 {
	<-t.block.done
	return t.block.number
}

// First is the index of the batch's first record within its block.
func (t *Ticket) First() int { return t.first }

// forming is a block that waits for its commit, and the state that the
// tickets of its batches share.
type forming struct {
	Block
	done   chan struct{}
	err    error  // set before done is closed
	number uint64 // set before done is closed; the Block is by then the receiver's
}

// Appender joins batches into blocks and commits them. While one commit is
// being synced what arrives waits, and is committed together after it; there
// is no other delay, so that a lone event costs one sync. Its methods may be
// called concurrently.
//
// When the log fails everything that waits fails, and nothing is taken until
// the log works again, which the Appender sees to. Blocks that turn out to be
// stored although they were not acknowledged are delivered then: the receiver
// sees what the log has.
type Appender struct {
	log *Log
	o   AppenderOptions

	wake      chan struct{} // holds a token while there may be something to do
	stopped   chan struct{} // closed when the goroutine has ended
	delivered uint64        // the last block that was; of the goroutine, like the next two
	recovered time.Time     // when the log last worked again
	pause     time.Duration // before it is tried again

	mu           sync.Mutex
	queue        []*forming // in the order of their future numbers
	queuedEvents int        // also those that are being committed
	queuedBytes  int
	closed       bool
	err          error // why nothing is taken
}

// NewAppender starts an Appender on log, which nobody else should append to
// while it runs. It must be closed before the log.
func NewAppender(log *Log, o AppenderOptions) *Appender {
	a := &Appender{
		log:     log,
		o:       o.withDefaults(),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),

		delivered: log.Last(),
	}
	go a.run()
	return a
}

// Submit queues a batch. Batches of kind Events that wait together share a
// block; a batch of any other kind is a block of its own. The error is
// ErrOverloaded when the queue is full, ErrInvalid for a batch that cannot be
// stored, ErrClosed after Close, and that of Err while the log has failed.
func (a *Appender) Submit(records Batch) (*Ticket, error) {
	b := Block{Kind: records.Kind, Count: records.Count, Payload: records.Payload}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("submitting: %w", err)
	}
	if records.Kind == Catalogue {
		// Append would refuse it together with everything in the same commit.
		if _, err := deletesUser(&b); err != nil {
			return nil, fmt.Errorf("submitting: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.admit(&records); err != nil {
		return nil, err
	}
	f := a.blockFor(&records)
	t := &Ticket{block: f, first: f.Count}
	f.Runs = extend(f.Runs, f.Count, records.Partition, records.Count)
	f.Count += records.Count
	f.Payload = append(f.Payload, records.Payload...)
	f.Positions = mergePositions(f.Positions, records.Positions)
	a.queuedEvents += records.Count
	a.queuedBytes += len(records.Payload)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return t, nil
}

// Submitter queues batches as an Appender does.
type Submitter interface {
	Submit(Batch) (*Ticket, error)
}

// roomPause is how long SubmitWhenRoom leaves a full queue alone.
const roomPause = time.Millisecond

// SubmitWhenRoom queues a batch, and waits while the queue is full. The error is
// any of Submit but ErrOverloaded, or that of ctx.
func SubmitWhenRoom(ctx context.Context, to Submitter, records Batch) (*Ticket, error) {
	for {
		t, err := to.Submit(records)
		if !errors.Is(err, ErrOverloaded) {
			return t, err
		}
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Err is nil while batches are taken, if there is room, and else why they are
// not: ErrUnavailable while the log has failed, or ErrClosed.
func (a *Appender) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && a.closed {
		return ErrClosed
	}
	return cmp.Or(a.err, a.log.Err())
}

// admit says why a batch is not taken now. The caller holds mu.
func (a *Appender) admit(records *Batch) error {
	switch {
	case a.err != nil:
		return fmt.Errorf("submitting: %w", a.err)
	case a.closed:
		return fmt.Errorf("submitting: %w", ErrClosed)
	case a.queuedEvents == 0 && a.queuedBytes == 0:
		return nil
	case a.queuedEvents+records.Count > a.o.MaxQueuedEvents || a.queuedBytes+len(records.Payload) > a.o.MaxQueuedBytes:
		return fmt.Errorf("submitting: %w: %d records wait already", ErrOverloaded, a.queuedEvents)
	}
	return nil
}

// blockFor is the block at the end of the queue that the batch goes into. The
// caller holds mu.
func (a *Appender) blockFor(records *Batch) *forming {
	if n := len(a.queue); n > 0 && records.Kind == Events {
		f := a.queue[n-1]
		if f.Kind == Events &&
			f.Count+records.Count <= a.o.MaxBlockEvents &&
			len(f.Payload)+len(records.Payload) <= a.o.MaxBlockBytes {
			return f
		}
	}
	f := &forming{Block: Block{Kind: records.Kind}, done: make(chan struct{})}
	a.queue = append(a.queue, f)
	return f
}

// mergePositions adds later positions; of one source the last one counts.
func mergePositions(list, later []Position) []Position {
next:
	for _, p := range later {
		for i := range list {
			if list[i].Source == p.Source {
				list[i].Next = p.Next
				continue next
			}
		}
		list = append(list, p)
	}
	return list
}

// Queued is how much is submitted and not yet durable, in records and in bytes
// of payload.
func (a *Appender) Queued() (events, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queuedEvents, a.queuedBytes
}

// run commits what is queued until the Appender is closed and drained.
func (a *Appender) run() {
	defer close(a.stopped)
	for {
		blocks, more := a.take()
		if len(blocks) > 0 {
			a.commit(blocks)
			continue
		}
		if !more {
			return
		}
		select {
		case <-a.wake:
		case <-a.log.Failed():
			if !a.recover() {
				return
			}
		}
	}
}

// maxCommitBytes bounds the payload of the blocks that share one sync.
const maxCommitBytes = 16 << 20

// take removes blocks from the front of the queue for one commit; more is
// false when nothing is left and nothing will come.
func (a *Appender) take() (blocks []*forming, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, bytes := 0, 0
	for n < len(a.queue) && (n == 0 || bytes+len(a.queue[n].Payload) <= maxCommitBytes) {
		bytes += len(a.queue[n].Payload)
		n++
	}
	blocks = append(blocks, a.queue[:n]...)
	a.queue = slices.Delete(a.queue, 0, n)
	return blocks, !a.closed
}

// commit stamps and appends the blocks, completes their tickets and delivers
// them. After a failure of the log everything that is queued fails as well.
func (a *Appender) commit(blocks []*forming) {
	// A clock that was set back must not run processing-time windows backwards.
	now := max(a.o.Now(), a.log.LastTime())
	list := make([]*Block, len(blocks))
	for i, f := range blocks {
		f.Time = now
		list[i] = &f.Block
	}
	err := a.log.Append(list...)

	a.mu.Lock()
	for _, b := range list {
		a.queuedEvents -= b.Count
		a.queuedBytes -= len(b.Payload)
	}
	if err != nil && a.log.Err() != nil {
		blocks = append(blocks, a.refuse(err)...)
	}
	a.mu.Unlock()

	for _, f := range blocks {
		f.number, f.err = f.Number, err
		close(f.done)
	}
	if err != nil {
		return
	}
	for _, b := range list {
		a.deliver(b)
	}
}

// refuse takes no more batches because of err, and returns those that waited.
// The caller holds mu.
func (a *Appender) refuse(err error) []*forming {
	waited := a.queue
	a.err, a.queue, a.queuedEvents, a.queuedBytes = err, nil, 0, 0
	return waited
}

func (a *Appender) deliver(b *Block) {
	a.o.Deliver(b)
	a.delivered = b.Number
}

// The time before a log is tried again doubles, up to maxRecoverPause times
// RecoverEvery, each time that it fails within recoverProof of having recovered.
const (
	maxRecoverPause = 32
	recoverProof    = time.Minute
)

// recover tries until the log works again, and then goes on. It is false if
// the Appender was closed meanwhile.
func (a *Appender) recover() bool {
	a.pause = min(2*a.pause, maxRecoverPause*a.o.RecoverEvery)
	if time.Since(a.recovered) > recoverProof {
		a.pause = a.o.RecoverEvery
	}
	for err := a.log.Err(); err != nil; err = a.reopen() {
		a.mu.Lock()
		waited := a.refuse(err)
		a.mu.Unlock()
		for _, f := range waited {
			f.err = err
			close(f.done)
		}
		if !a.sleep(a.pause) {
			return false
		}
	}
	a.recovered = time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = nil
	return true
}

// reopen makes the log work again and delivers the blocks that are in it
// although their commit has failed.
func (a *Appender) reopen() error {
	if err := a.log.Recover(); err != nil {
		return err
	}
	err := a.log.Scan(a.delivered+1, func(b *Block) error {
		own := *b
		own.Payload = slices.Clone(b.Payload)
		own.Positions = slices.Clone(b.Positions)
		own.Runs = slices.Clone(b.Runs)
		a.deliver(&own)
		return nil
	})
	if err != nil {
		return err
	}
	a.o.Recovered(a.delivered)
	return nil
}

// sleep is false if the Appender is closed before the time has passed.
func (a *Appender) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case _, open := <-a.wake:
			if !open {
				return false
			}
		case <-timer.C:
			return true
		}
	}
}

// Close takes no more batches, commits and delivers those that wait, and
// returns when that is done; a second Close waits too. The error is the one of
// a commit that failed.
func (a *Appender) Close() error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.wake)
	}
	a.mu.Unlock()
	<-a.stopped
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
