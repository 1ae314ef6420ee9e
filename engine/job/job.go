// Package job runs a topology on a source of partitions that can be read again
// from any position, such as the topics of a broker: without an event log of
// our own. Positions are part of the checkpoints, so what is computed counts
// every record exactly once.
package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"millrace/engine/checkpoint"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/state"
	"millrace/view"
)

// DefaultBlockRecords is how many records of each partition a block has at
// most.
const DefaultBlockRecords = 8192

// idle is how long a job waits when no partition has anything to read.
const idle = time.Millisecond

// Options are the parts that a job is wired to.
type Options[T any] struct {
	// Name says what the job is: a checkpoint of another one is refused.
	Name     string
	Topology *operator.Topology
	Source   Source[T]
	// Watermarks makes the strategy of a partition: how far event time has come
	// in it. With several partitions it is decided by the block which records
	// are late: how far the others have been read then is an accident, as
	// everywhere; the blocks of a log do not have that.
	Watermarks func() watermark.Strategy
	// Punctuation says which records are punctuation marks, for strategies that
	// go by them (watermark.NewPunctuated); nil means that none is. It must be a
	// pure function, as partitions are read at the same time.
	Punctuation func(record *T) bool
	// Idle is how long, in processing time, a partition without records holds
	// event time up; 0 means for ever.
	Idle event.Duration
	// Shards is over how many shards stages are spread; 0 means the cores.
	Shards int
	// Parallelism is over how many shards single stages are spread, by name.
	Parallelism map[string]int
	// State keeps checkpoints; nil keeps none.
	State state.Backend
	// Checkpoints says when they are taken.
	Checkpoints checkpoint.Policy
	// AllowNonRestoredState has New drop the state of stages that the topology
	// does not have, instead of refusing to begin without it.
	AllowNonRestoredState bool
	// MemoryLimit bounds the memory of the state, in bytes: what does not fit
	// stays in State, which must not be nil then. 0 is no bound.
	MemoryLimit int64
	// Views keeps the answers.
	Views view.Store
	// BlockRecords is how many records of each partition a block has at most;
	// 0 means DefaultBlockRecords.
	BlockRecords int
	// Now is the wall clock: processing time, and the measure of intervals.
	Now func() time.Time
	// Logger takes what an operator of the service should know.
	Logger *slog.Logger
}

// Job is a topology at work. Its methods but History are called from one
// goroutine.
type Job[T any] struct {
	options    Options[T]
	pipeline   *pipeline.Pipeline
	partitions []*partition[T]
	watermarks *watermark.Combined
	saver      *checkpoint.Coordinator // nil without state
	stop       chan struct{}
	halted     sync.Once
	block      uint64
	failure    error
	passed     event.Time // the watermark that the pipeline was told last
	records    uint64     // read since the beginning
	ended      bool       // every partition has, and time with it
	recovery   recovery
}

// partition is what is known of one partition of the source.
type partition[T any] struct {
	reader    Reader[T]
	send      func(operator.Meta, *T)
	emit      func(event.Time, *T)
	watermark watermark.Strategy
	from, to  event.Time // between which the watermarks of the block's records are
	now       event.Time // processing time of the block
	position  uint64
	ended     bool
	read      int // in the block
	err       error
	_         [64]byte // partitions are read at the same time
}

// New makes a job that goes on where the newest checkpoint of its state
// stands.
func New[T any](o Options[T]) (*Job[T], error) {
	if o.Shards == 0 {
		o.Shards = min(runtime.GOMAXPROCS(0), operator.KeyGroups)
	}
	if o.BlockRecords == 0 {
		o.BlockRecords = DefaultBlockRecords
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j := &Job[T]{
		options: o, stop: make(chan struct{}), passed: event.MinTime,
		watermarks: watermark.NewCombined(o.Source.Partitions(), o.Idle, o.Watermarks),
	}
	var err error
	if j.pipeline, err = pipeline.New(o.Topology, pipeline.Options{
		Shards: o.Shards, Partitions: o.Source.Partitions(), Parallelism: o.Parallelism, Cold: j.cold(),
	}); err != nil {
		return nil, err
	}
	for i := range o.Source.Partitions() {
		p := &partition[T]{watermark: j.watermarks.Strategy(i)}
		if p.send, err = pipeline.Entry[T](j.pipeline, i); err != nil {
			return nil, err
		}
		p.emit = func(t event.Time, record *T) {
			m := operator.Meta{Time: t, Watermark: max(p.from, min(p.to, p.watermark.Watermark()))}
			p.watermark.Observe(t, p.now, o.Punctuation != nil && o.Punctuation(record))
			p.send(m, record)
		}
		j.partitions = append(j.partitions, p)
	}
	if err := j.recover(); err != nil {
		return nil, fmt.Errorf("recover the job: %w", err)
	}
	for i, p := range j.partitions {
		if p.reader, err = o.Source.Open(i, p.position); err != nil {
			return nil, fmt.Errorf("open partition %d: %w", i, err)
		}
	}
	return j, nil
}

// Run processes the source until all of its partitions have ended, or ctx has.
// A last checkpoint is taken then.
func (j *Job[T]) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, j.halt)() // also while a checkpoint is waited for that can not be stored
	for !j.ended && ctx.Err() == nil {
		before := j.block
		if err := j.Step(); err != nil {
			return err
		}
		if j.block == before {
			select {
			case <-ctx.Done():
			case <-time.After(idle):
			}
		}
	}
	return nil
}

// halt has a checkpoint that can not be stored be given up after some tries.
func (j *Job[T]) halt() { j.halted.Do(func() { close(j.stop) }) }

// Step processes one block, if there is anything to process, and works on
// checkpoints and on the bound of memory. After an error the job is of no use
// any more but to be closed: every further Step returns it again.
func (j *Job[T]) Step() error {
	if j.failure == nil {
		j.failure = j.step()
	}
	return j.failure
}

func (j *Job[T]) step() error {
	if err := j.process(); err != nil {
		return err
	}
	if j.saver == nil {
		return nil
	}
	j.saver.Step(subject[T]{j}, false)
	if err := j.saver.Failed(); err != nil {
		return err
	}
	return j.bound()
}

// Ended reports whether all of the source has been processed.
func (j *Job[T]) Ended() bool { return j.ended }

// failed reports whether a Step has failed.
func (j *Job[T]) failed() bool { return j.failure != nil }

// Abandon stops the job without a last checkpoint, as a crash would.
func (j *Job[T]) Abandon() {
	j.halt()
	if j.saver != nil {
		j.saver.Close()
	}
	for _, p := range j.partitions {
		_ = p.reader.Close()
	}
}

// Close takes a last checkpoint and lets go of the source. After a Step that has
// failed it takes none, as what is in memory may be half a block: the next job
// goes on from the last checkpoint there is.
func (j *Job[T]) Close() error {
	if j.failed() {
		j.Abandon()
		return nil
	}
	var errs []error
	j.halt()
	if j.saver != nil {
		j.saver.Step(subject[T]{j}, true)
		j.saver.Close()
		errs = append(errs, j.saver.Err())
	}
	for _, p := range j.partitions {
		errs = append(errs, p.reader.Close())
	}
	return errors.Join(errs...)
}

// process reads and processes one block, if there is anything to process.
func (j *Job[T]) process() error {
	now := event.FromGo(j.options.Now())
	j.watermarks.StartBlock(now)
	for _, p := range j.partitions {
		p.now, p.from, p.to = now, j.watermarks.Watermark(), event.MaxTime
		if len(j.partitions) > 1 {
			// What the block has of one partition is folded before what it has of
			// the next: within a block time can not come further for one of them.
			p.to = p.from
		}
	}
	pipeline.Parallel(len(j.partitions), j.options.Shards == 1, func(i int) { j.partitions[i].next(j.options.BlockRecords) })
	n, ended := 0, true
	for i, p := range j.partitions {
		if p.err != nil {
			return fmt.Errorf("read partition %d after %d records: %w", i, p.position, p.err)
		}
		n += p.read
		ended = ended && p.ended
		switch {
		case p.ended:
			j.watermarks.End(i)
		case p.read > 0:
			j.watermarks.Settle(i)
		}
	}
	if n == 0 && !ended && j.watermarks.Watermark() == j.passed && !j.pipeline.Due(now) {
		return nil
	}
	j.block++
	j.records += uint64(n)
	return j.finish(now, ended)
}

// finish folds a block's records and publishes what changed.
func (j *Job[T]) finish(now event.Time, ended bool) error {
	if err := j.pipeline.Finish(pipeline.Moment{Watermark: j.watermarks.Watermark(), Processing: now}); err != nil {
		return fmt.Errorf("block %d: %w", j.block, err)
	}
	j.ended, j.passed = ended, j.watermarks.Watermark()
	return j.publish()
}

func (j *Job[T]) publish() error {
	writes, err := j.pipeline.Answers()
	if err != nil {
		return fmt.Errorf("block %d: %w", j.block, err)
	}
	if err := j.options.Views.Publish(j.block, j.watermarks.StreamTime(), writes...); err != nil {
		return fmt.Errorf("publish views: %w", err)
	}
	j.pipeline.Recycle()
	return nil
}

// next reads the partition's part of a block.
func (p *partition[T]) next(most int) {
	p.read = 0
	if p.ended {
		return
	}
	p.read, p.err = p.reader.Read(most, p.emit)
	p.position += uint64(p.read)
	if errors.Is(p.err, io.EOF) {
		p.ended, p.err = true, nil
	}
}

// Records is how many records the job has read since its beginning.
func (j *Job[T]) Records() uint64 { return j.records }

// Shards is over how many shards stages are spread that do not say.
func (j *Job[T]) Shards() int { return j.options.Shards }

// History is that of the checkpoints; nil without state.
func (j *Job[T]) History() []checkpoint.Record {
	if j.saver == nil {
		return nil
	}
	return j.saver.History()
}
