package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"millrace/catalog"
	"millrace/engine/checkpoint"
	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/state"
	"millrace/view"
)

// Errors of the engine.
var (
	// ErrClosed is the error of waiting on an engine that has been closed.
	ErrClosed = errors.New("the engine is closed")
	// ErrFailed is the error of waiting on an engine that has stopped because
	// of an earlier error, which is wrapped with it.
	ErrFailed = errors.New("the engine has stopped")
)

// Program is what the engine runs: built from a configuration, so that a
// replay runs what ran when the blocks were live.
type Program struct {
	Topology *operator.Topology
	Types    *event.Types
	// Watermarks makes the strategy of the source: how far event time has come.
	Watermarks func() watermark.Strategy
	// Partitions has event time be followed in each partition of the source
	// that the log tells apart; nil takes them for one.
	Partitions *eventclock.Partitions
	// Punctuation says which events are punctuation marks, for a strategy that
	// goes by them; nil means that none is. It must be a pure function.
	Punctuation func(*event.Event) bool
}

// time is how event time is followed.
func (p *Program) time() eventclock.Options {
	return eventclock.Options{Source: p.Watermarks, Partitions: p.Partitions}
}

// Options are the parts that an engine is wired to.
type Options struct {
	// Build makes the program of a configuration record.
	Build func(config []byte) (*Program, error)
	// Shards is how many keys are folded in parallel; 0 means the cores.
	Shards int
	// Parallelism is over how many shards single stages are spread, by name.
	Parallelism map[string]int
	// Log is where recovery reads the blocks after the checkpoint from.
	Log BlockSource
	// State keeps checkpoints.
	State state.Backend
	// Views keeps the answers.
	Views view.Store
	// Catalog is the SQL view of the catalogue; nil leaves it out.
	Catalog catalog.Store
	// Duplicates names the stage and port whose records say which events of a
	// block were ignored; Row reads the position from such a record.
	Duplicates Duplicates
	// Publications takes what stages publish; nil means that nobody does.
	Publications Publications
	// AllowNonRestoredState drops the state of stages that the program does not
	// have, instead of refusing to begin without it.
	AllowNonRestoredState bool
	// Checkpoints says when checkpoints are taken.
	Checkpoints checkpoint.Policy
	// Failures says what becomes of an event on which an operator panics.
	Failures Failures
	// Tick is called when something is due in processing time and nothing has
	// arrived for TickAfter: it has a block without records appended, which
	// brings processing time into the log. It must not wait; nil does without.
	Tick func()
	// Journal keeps the history of checkpoints for the next engine; nil keeps
	// none.
	Journal *checkpoint.Journal
	// PublishInterval is how long the answers of blocks may wait for those of
	// blocks that wait behind them, so that an engine that is behind makes the
	// answers of a key once for many blocks; 0 means DefaultPublishInterval. An
	// engine that keeps up publishes every block.
	PublishInterval time.Duration
	// Now is the wall clock, for intervals and latencies only.
	Now func() time.Time
	// Logger takes what an operator of the service should know.
	Logger *slog.Logger
}

// BlockSource is the log as the engine reads it: the blocks from a number on,
// in order. A block is valid only during the call of fn.
type BlockSource interface {
	Scan(from uint64, fn func(*eventlog.Block) error) error
}

// Duplicates says where the engine learns which events were ignored as repeats.
type Duplicates struct {
	Stage, Port string
	Row         func(record any) int
}

// DefaultPublishInterval is how long answers wait at most in an engine that
// is behind.
const DefaultPublishInterval = 2 * time.Millisecond

// queuedBlocks bounds the blocks that wait to be processed; a full queue
// holds up the log's appender, which is the backpressure.
const queuedBlocks = 8

// Engine processes the blocks of one log. Deliver may be called from one
// goroutine; everything else from any.
type Engine struct {
	options     Options
	index       *catalog.Index
	core        *core
	unpublished unpublished
	blocks      chan *eventlog.Block
	stop        chan struct{}
	stopped     chan struct{}
	closing     sync.Once
	sink        *catalogSink
	saver       *checkpoint.Coordinator
	stats       stats
	arrived     time.Time // when the last block did

	types     atomic.Pointer[event.Types]
	recovered uint64 // the block of the checkpoint that recovery began with

	applied atomic.Uint64 // the last block whose answers are published
	mutex   sync.Mutex
	waiters map[uint64][]chan struct{}
	results outcomes
	failure atomic.Pointer[error]
}

// Open recovers the engine's state from the newest checkpoint and the blocks
// after it, publishes its views and starts processing.
func Open(o Options) (*Engine, error) {
	e, err := open(o, func(f func()) { go f() })
	if err != nil {
		return nil, err
	}
	go e.run()
	return e, nil
}

// open makes an engine that has recovered and waits to be run. spawn starts
// what runs beside it; a simulation passes its own.
func open(o Options, spawn func(func())) (*Engine, error) {
	if o.Shards == 0 {
		o.Shards = min(runtime.GOMAXPROCS(0), operator.KeyGroups)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PublishInterval == 0 {
		o.PublishInterval = DefaultPublishInterval
	}
	if o.Failures.Record == nil {
		o.Failures.Record = &FailureRecord{}
	}
	e := &Engine{
		options: o,
		blocks:  make(chan *eventlog.Block, queuedBlocks),
		stop:    make(chan struct{}), stopped: make(chan struct{}),
		waiters: map[uint64][]chan struct{}{},
	}
	if err := e.recover(); err != nil {
		return nil, err
	}
	e.saver = checkpoint.New(checkpoint.Options{
		Policy: o.Checkpoints, Backend: o.State, Journal: o.Journal, Now: o.Now, Logger: o.Logger, Spawn: spawn, Stop: e.stop,
	}, e.recovered)
	return e, nil
}

// Deliver hands over a durable block; it waits while the queue is full.
func (e *Engine) Deliver(b *eventlog.Block) {
	select {
	case e.blocks <- b:
	case <-e.stopped:
	}
}

// run processes blocks, and works on checkpoints in between.
func (e *Engine) run() {
	defer close(e.stopped)
	tick := time.NewTicker(checkpoint.Tick)
	defer tick.Stop()
	for {
		var err error
		select {
		case b := <-e.blocks:
			err = e.process(b, len(e.blocks) > 0)
		case <-tick.C:
			e.checkpoint(false)
			e.tick()
			err = cmp.Or(e.saver.Failed(), e.publicationsErr())
		case <-e.stop:
			e.drain()
			return
		}
		if err != nil {
			e.fail(err)
			return
		}
	}
}

// TickAfter is how long nothing has to arrive before a block without records is
// asked for.
const TickAfter = time.Second

// tick asks for a block without records if processing time has to come further.
func (e *Engine) tick() {
	if e.options.Tick == nil || e.core.program == nil {
		return
	}
	now := e.options.Now()
	if now.Sub(e.arrived) < TickAfter {
		return
	}
	if at := event.FromGo(now); !e.core.pipeline.Due(at) && !e.core.clock.Lapses(at) {
		return
	}
	e.arrived = now // one at a time
	e.options.Tick()
}

// drain processes what was delivered before Close, and takes a last checkpoint.
func (e *Engine) drain() {
	for {
		select {
		case b := <-e.blocks:
			if err := e.process(b, len(e.blocks) > 0); err != nil {
				e.fail(err)
				return
			}
			continue
		default:
		}
		break
	}
	e.checkpoint(true)
}

// process applies a block and publishes its answers; more says that another
// block waits, whose answers may come together with this one's.
func (e *Engine) process(b *eventlog.Block, more bool) error {
	if b.Number <= e.core.block {
		return nil // already replayed by recovery
	}
	began := e.options.Now()
	e.arrived = began
	if b.Kind == eventlog.Config {
		e.saver.Finish(subject{e})
	}
	if err := e.core.apply(b); err != nil {
		return fmt.Errorf("block %d: %w", b.Number, err)
	}
	if b.Kind == eventlog.Config {
		e.noteTypes()
	}
	changes := e.core.takeChanges()
	e.noteChanges(changes)
	e.sink.put(b.Number, changes)
	e.handOver(b)
	e.unpublished.add(b, began, e.core.takeDuplicates())
	if more && e.unpublished.patient(e.options.Now(), e.options.PublishInterval) {
		return nil
	}
	if err := e.publish(); err != nil {
		return fmt.Errorf("block %d: %w", b.Number, err)
	}
	if !more || !e.saver.Patient() {
		e.checkpoint(false)
	}
	return nil
}

// noteTypes keeps the present event types for those who ask.
func (e *Engine) noteTypes() {
	if p := e.core.program; p != nil {
		e.types.Store(p.Types)
	}
}

// fail stops the engine; everyone who waits learns why.
func (e *Engine) fail(err error) {
	e.options.Failures.Record.note(err, e.options.Logger)
	e.options.Logger.Error("engine stopped", "error", withoutStack(err))
	e.failure.Store(&err)
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for number, list := range e.waiters {
		for _, w := range list {
			close(w)
		}
		delete(e.waiters, number)
	}
}

// Err is nil while the engine works, or wraps ErrFailed.
func (e *Engine) Err() error {
	if err := e.failure.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *err)
	}
	return nil
}

// Stopped is closed when the engine has stopped: Err says why, if it was not by
// Close.
func (e *Engine) Stopped() <-chan struct{} { return e.stopped }

// Close processes what was delivered, takes a checkpoint and stops. It does
// not close the parts that it was given. Where a checkpoint can not be stored
// its error is returned; nothing is lost by that, as the log has everything.
func (e *Engine) Close() error {
	e.closing.Do(func() { close(e.stop) })
	e.sink.end()
	e.endPublications()
	<-e.stopped
	e.saver.Close()
	e.sink.close()
	if err := e.Err(); errors.Is(err, checkpoint.ErrTooManyFailures) || e.publicationsErr() != nil {
		return err
	}
	return errors.Join(e.Err(), cmp.Or(e.sink.err(), e.CheckpointErr())) // a checkpoint waits for SQL
}

// Config is the configuration record that the engine last installed, nil
// before the first. Only meaningful while no block is being processed.
func (e *Engine) Config() []byte { return e.core.config }

// RecoveredFrom is the block of the checkpoint that recovery began with, 0 if
// there was none.
func (e *Engine) RecoveredFrom() uint64 { return e.recovered }

// Types are the event types of the present configuration.
func (e *Engine) Types() *event.Types { return e.types.Load() }

// EachState calls fn with the encoded state of every key of every stage. Only
// for an engine that is not running.
func (e *Engine) EachState(fn func(stage, key string, value []byte) error) error {
	return e.core.pipeline.State(fn)
}
