package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/state"
)

const (
	// checkpointTick is how often an idle engine looks after its checkpoint.
	checkpointTick = 20 * time.Millisecond
	// encodeSlice bounds the time that a checkpoint takes between two blocks.
	encodeSlice = 500 * time.Microsecond
	// encodePatience is how long a checkpoint lets waiting blocks go first.
	encodePatience = 2 * time.Second
	// encodeKeys is how many keys are encoded between two looks at the clock.
	encodeKeys = 8
	// keptCheckpoints is how many finished checkpoints the history holds.
	keptCheckpoints = 100
	// commitRetry is how long a checkpoint that could not be committed waits.
	commitRetry = time.Second
	// lastTries is how often a checkpoint is tried when the engine is to stop.
	lastTries = 3
	// loggedTries is of how many tries, of a checkpoint or of a change in SQL,
	// one is logged: a log that fills a full disk helps nobody.
	loggedTries = 60
)

// The catalogue's part of a checkpoint, stored beside the stages'.
const (
	itemsStage = "catalogue.items"
	usersStage = "catalogue.users"
)

// CheckpointRecord is one finished checkpoint.
type CheckpointRecord struct {
	Block    uint64
	Started  time.Time
	Duration time.Duration // from the start to the durable commit
	Stall    time.Duration // the longest time that a block waited for it
	Bytes    int64
	Keys     int
}

// saver takes checkpoints. Its begin and encode run on the engine's
// goroutine, its commit on one of its own.
type saver struct {
	options Options

	current *checkpointing // nil if none is under way
	last    time.Time      // when the last one started
	saved   uint64         // the block of the last one that was started
	spawn   func(func())   // starts a commit
	commits sync.WaitGroup
	stop    <-chan struct{} // closed when the engine is to stop
	lost    bool            // one was given up, so that a later one would lack what it had

	wanted atomic.Uint64 // a checkpoint of this block or a later one is wanted at once

	mutex     sync.Mutex
	history   []CheckpointRecord
	committed uint64        // the block of the last durable one
	changed   chan struct{} // closed and replaced when committed moves
	failing   error         // why the last try to commit one did not succeed
}

// checkpointing is the checkpoint under way.
type checkpointing struct {
	checkpoint state.Checkpoint
	changes    []event.Change
	encoded    bool
	record     CheckpointRecord
	done       chan struct{}
	lost       bool // it was given up; set before done is closed
}

func newSaver(o Options, spawn func(func()), stop <-chan struct{}) *saver {
	return &saver{options: o, last: o.Now(), spawn: spawn, stop: stop, changed: make(chan struct{})}
}

// Checkpoints are the latest finished checkpoints, oldest first.
func (e *Engine) Checkpoints() []CheckpointRecord {
	e.saver.mutex.Lock()
	defer e.saver.mutex.Unlock()
	return slices.Clone(e.saver.history)
}

// CheckpointErr is nil while checkpoints can be committed, or says why the last
// try did not succeed. There will be others.
func (e *Engine) CheckpointErr() error {
	e.saver.mutex.Lock()
	defer e.saver.mutex.Unlock()
	return e.saver.failing
}

// CatalogErr is nil while catalogue changes reach SQL, or says why the last try
// did not succeed. There will be others, unless SQL can not hold the change.
func (e *Engine) CatalogErr() error { return e.sink.err() }

// Checkpoint returns once a checkpoint of the given block, or of a later one,
// is durable; it starts one if need be. The block must have been delivered.
func (e *Engine) Checkpoint(ctx context.Context, block uint64) error {
	if err := e.Wait(ctx, block); err != nil {
		return err
	}
	s := e.saver
	for {
		s.mutex.Lock()
		committed, changed := s.committed, s.changed
		s.mutex.Unlock()
		if committed >= block {
			return nil
		}
		s.wanted.Store(max(block, s.wanted.Load()))
		select {
		case <-changed:
		case <-e.stopped:
			return errors.Join(e.Err(), ErrClosed)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkpoint moves the checkpoint on by a slice of time; final takes one now
// and waits until it is durable. It waits for blocks that are not published:
// a key that was forgotten stays in its table until it has been answered for.
func (e *Engine) checkpoint(final bool) {
	if len(e.unpublished.blocks) > 0 {
		return
	}
	s := e.saver
	s.step(e.core, e.sink, final)
	if final && s.saved != e.core.block && !s.lost { // the one that was under way is not the last
		s.begin(e.core)
		s.step(e.core, e.sink, true)
	}
}

// patient reports whether blocks that wait go before the checkpoint.
func (s *saver) patient() bool {
	return s.current != nil && !s.current.encoded && s.options.Now().Sub(s.last) < encodePatience
}

// step begins a checkpoint when one is due, encodes for at most encodeSlice,
// and starts the commit when everything is encoded.
func (s *saver) step(c *core, sink *catalogSink, final bool) {
	if s.lost {
		return
	}
	if s.current == nil {
		interval := s.options.CheckpointInterval
		due := interval > 0 && s.options.Now().Sub(s.last) >= interval || s.saved < s.wanted.Load()
		if c.block == s.saved || !due && !final {
			return
		}
		s.begin(c)
	}
	k := s.current
	if !k.encoded {
		began := s.options.Now()
		k.encoded = c.pipeline.encode(func() bool { return !final && s.options.Now().Sub(began) > encodeSlice })
		k.record.Stall = max(k.record.Stall, s.options.Now().Sub(began))
		if !k.encoded {
			return
		}
		s.commit(c.pipeline, sink)
	}
	if final {
		<-k.done
	}
	select {
	case <-k.done:
		s.current, s.lost = nil, k.lost
	default:
	}
}

// begin fixes the state as it is as the next checkpoint's.
func (s *saver) begin(c *core) {
	s.last, s.saved = s.options.Now(), c.block
	c.pipeline.beginCheckpoint()
	s.current = &checkpointing{
		checkpoint: state.Checkpoint{Block: c.block, Time: event.FromGo(s.last), Meta: c.meta(), Tables: c.orphans},
		changes:    c.index.TakeDirty(),
		record:     CheckpointRecord{Block: c.block, Started: s.last},
		done:       make(chan struct{}),
	}
	c.orphans = nil
}

// finishEncoding encodes all that the checkpoint under way still lacks, before
// the pipeline is replaced.
func (s *saver) finishEncoding(c *core, sink *catalogSink) {
	if k := s.current; k != nil && !k.encoded {
		c.pipeline.encode(func() bool { return false })
		k.encoded = true
		s.commit(c.pipeline, sink)
	}
}

// commit writes what was encoded, in the background. It tries again until it
// succeeds, as what was encoded is nowhere else, or until the engine is to
// stop: the next one replays the log then.
func (s *saver) commit(p *pipeline, sink *catalogSink) {
	k := s.current
	k.checkpoint.Tables = append(k.checkpoint.Tables, p.takeWrites()...)
	s.commits.Add(1)
	s.spawn(func() {
		defer s.commits.Done()
		defer close(k.done)
		k.checkpoint.Tables = append(k.checkpoint.Tables, catalogueTables(k.changes)...)
		late := 0
		for try := 0; ; try++ {
			err := sink.sync(k.checkpoint.Block)
			if err == nil {
				k.record.Bytes, err = s.options.State.Commit(&k.checkpoint)
			}
			if err == nil {
				break
			}
			s.mutex.Lock()
			s.failing = err
			s.mutex.Unlock()
			if try%loggedTries == 0 {
				s.options.Logger.Error("checkpoint not committed, trying again", "block", k.checkpoint.Block, "error", err)
			}
			select {
			case <-s.stop:
				if late++; late == lastTries {
					k.lost = true
					return
				}
				time.Sleep(commitRetry)
			case <-time.After(commitRetry):
			}
		}
		s.finished(k)
	})
}

func (s *saver) finished(k *checkpointing) {
	for _, t := range k.checkpoint.Tables {
		k.record.Keys += len(t.Writes)
	}
	k.record.Duration = s.options.Now().Sub(k.record.Started)
	k.checkpoint.Tables = nil
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.committed, s.failing = k.record.Block, nil
	close(s.changed)
	s.changed = make(chan struct{})
	s.history = append(s.history, k.record)
	if len(s.history) > keptCheckpoints {
		s.history = slices.Delete(s.history, 0, 1)
	}
}

// beginCheckpoint starts a checkpoint in every table.
func (p *pipeline) beginCheckpoint() {
	for _, tables := range p.tables {
		for _, t := range tables {
			t.BeginCheckpoint()
		}
	}
}

// encode encodes what the checkpoint still lacks until stop says so, and
// reports whether all is done.
func (p *pipeline) encode(stop func() bool) bool {
	for _, tables := range p.tables {
		for _, t := range tables {
			for t.Encode(encodeKeys) > 0 {
				if stop() {
					return false
				}
			}
		}
	}
	return true
}

func (p *pipeline) takeWrites() []state.Table {
	var all []state.Table
	for i, n := range p.topology.Nodes() {
		t := state.Table{Stage: n.Name}
		for _, table := range p.tables[i] {
			t.Writes = append(t.Writes, table.TakeWrites()...)
		}
		if len(t.Writes) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// catalogueTables encodes catalogue changes as keyed state.
func catalogueTables(changes []event.Change) []state.Table {
	items, users := state.Table{Stage: itemsStage}, state.Table{Stage: usersStage}
	for _, c := range changes {
		switch c.Kind {
		case event.PutItem:
			items.Writes = append(items.Writes, operator.StateWrite{Key: []byte(c.Item.ID), Value: event.AppendChange(nil, &c)})
		case event.DeleteItem:
			items.Writes = append(items.Writes, operator.StateWrite{Key: []byte(c.Item.ID)})
		case event.PutUser:
			users.Writes = append(users.Writes, operator.StateWrite{Key: []byte(c.User.ID), Value: event.AppendChange(nil, &c)})
		case event.DeleteUser:
			users.Writes = append(users.Writes, operator.StateWrite{Key: []byte(c.User.ID)})
		}
	}
	return []state.Table{items, users}
}

// metaVersion is the version of the format that meta writes. Version 1 did not
// count repeats.
const metaVersion = 2

// meta is what a checkpoint holds besides keyed state.
func (c *core) meta() []byte {
	b := []byte{metaVersion}
	b = wire.AppendVarint(b, int64(c.source.StreamTime()))
	b = wire.AppendUvarint(b, c.events)
	b = wire.AppendUvarint(b, c.repeats)
	b = wire.AppendBytes(b, c.config)
	b = wire.AppendUvarint(b, uint64(len(c.positions)))
	for _, name := range slices.Sorted(maps.Keys(c.positions)) {
		b = wire.AppendString(b, name)
		b = wire.AppendUvarint(b, c.positions[name])
	}
	return b
}

// restore loads the newest checkpoint, if there is one.
func (c *core) restore(backend state.Backend) error {
	latest, err := backend.Latest()
	if err != nil {
		if isNone(err) {
			return nil
		}
		return err
	}
	r := wire.NewReader(latest.Meta)
	version := r.Byte()
	if version < 1 || version > metaVersion {
		return fmt.Errorf("checkpoint of block %d has format %d: this release reads 1 to %d", latest.Block, version, metaVersion)
	}
	streamTime := event.Time(r.Varint())
	c.events = r.Uvarint()
	if version > 1 {
		c.repeats = r.Uvarint()
	}
	config := slices.Clone(r.Bytes())
	for range r.Count() {
		name := r.String()
		c.positions[name] = r.Uvarint()
	}
	if r.Err() != nil {
		return fmt.Errorf("checkpoint of block %d: %w", latest.Block, r.Err())
	}
	if len(config) > 0 {
		if err := c.configure(config); err != nil {
			return err
		}
	}
	c.block = latest.Block
	c.source.Restore(streamTime)
	return c.load(backend)
}

// load reads all keyed state and the catalogue.
func (c *core) load(backend state.Backend) error {
	var items []*event.Item
	var users []*event.User
	err := backend.Load(func(stage string, key, value []byte) error {
		switch stage {
		case itemsStage, usersStage:
			r := wire.NewReader(value)
			change := event.ReadChange(r)
			if r.Err() != nil {
				return fmt.Errorf("catalogue entry %q: %w", key, r.Err())
			}
			if stage == itemsStage {
				items = append(items, change.Item)
			} else {
				users = append(users, change.User)
			}
			return nil
		}
		return c.pipeline.load(stage, key, value)
	})
	if err != nil {
		return err
	}
	c.index.Load(slices.Values(items), slices.Values(users))
	return nil
}

// sync returns once SQL has durably applied the catalogue changes up to a
// block, and knows it, so that it does not seem to be behind at the next start.
func (s *catalogSink) sync(block uint64) error {
	if s.store == nil {
		return nil
	}
	if err := s.wait(context.Background(), block); err != nil {
		return err
	}
	if err := s.store.Apply(context.Background(), block, nil); err != nil {
		return err
	}
	return s.store.Sync(context.Background())
}
