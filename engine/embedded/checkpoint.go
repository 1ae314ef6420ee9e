package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"millrace/engine/checkpoint"
	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/state"
)

// The catalogue's part of a checkpoint, stored beside the stages'.
const (
	itemsStage = "catalogue.items"
	usersStage = "catalogue.users"
)

// Checkpoints are the latest checkpoints, oldest first.
func (e *Engine) Checkpoints() []checkpoint.Record { return e.saver.History() }

// CheckpointErr is nil while checkpoints can be committed, or says why the last
// try did not succeed. There will be others.
func (e *Engine) CheckpointErr() error { return e.saver.Err() }

// CatalogErr is nil while catalogue changes reach SQL, or says why the last try
// did not succeed. There will be others, unless SQL can not hold the change.
func (e *Engine) CatalogErr() error { return e.sink.err() }

// Checkpoint returns once a checkpoint of the given block, or of a later one,
// is durable; it starts one if need be. The block must have been delivered.
func (e *Engine) Checkpoint(ctx context.Context, block uint64) error {
	if err := e.Wait(ctx, block); err != nil {
		return err
	}
	err := e.saver.Wait(ctx, block, e.stopped)
	if errors.Is(err, checkpoint.ErrStopped) {
		return errors.Join(e.Err(), ErrClosed)
	}
	return err
}

// checkpoint moves the checkpoint on by a slice of time; final takes one now
// and waits until it is durable. It waits for blocks that are not published:
// a key that was forgotten stays in its table until it has been answered for.
func (e *Engine) checkpoint(final bool) {
	if len(e.unpublished.blocks) == 0 {
		e.saver.Step(subject{e}, final)
	}
}

// subject is the engine as checkpoints are taken of it.
type subject struct{ *Engine }

// Position is the last block that was applied.
func (s subject) Position() uint64 { return s.core.block }

// Begin takes what has changed in the catalogue along.
func (s subject) Begin() state.Checkpoint {
	c := s.core
	c.pipeline.BeginCheckpoint()
	tables := append(c.orphans, catalogueTables(c.index.TakeDirty())...)
	c.orphans = nil
	return state.Checkpoint{Block: c.block, Time: event.FromGo(s.options.Now()), Meta: c.meta(), Tables: tables}
}

// Encode encodes keys of the pipeline.
func (s subject) Encode(stop func() bool) bool { return s.core.pipeline.Encode(stop) }

// Take takes the writes of the pipeline.
func (s subject) Take() []state.Table { return s.core.pipeline.TakeWrites() }

// Prepare has SQL know the catalogue first, and everything published: what
// comes after a checkpoint is published again, what came before it is not.
func (s subject) Prepare(c *state.Checkpoint) error {
	if err := s.sink.sync(c.Block); err != nil {
		return err
	}
	return s.syncPublications(c.Block)
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
// count repeats, version 2 did not have the state of the watermark's strategy.
// Version 4 has that of partitions too, and is written only where there are any.
const (
	metaVersion      = 3
	partitionVersion = 4
)

// meta is what a checkpoint holds besides keyed state.
func (c *core) meta() []byte {
	b := []byte{metaVersion}
	if !c.clock.Plain() {
		b[0] = partitionVersion
	}
	b = wire.AppendVarint(b, int64(c.clock.StreamTime()))
	b = wire.AppendUvarint(b, c.events)
	b = wire.AppendUvarint(b, c.repeats)
	b = wire.AppendBytes(b, c.config)
	b = wire.AppendUvarint(b, uint64(len(c.positions)))
	for _, name := range slices.Sorted(maps.Keys(c.positions)) {
		b = wire.AppendString(b, name)
		b = wire.AppendUvarint(b, c.positions[name])
	}
	b = wire.AppendBytes(b, c.clock.AppendSource(nil))
	if !c.clock.Plain() {
		b = wire.AppendBytes(b, c.clock.AppendTo(nil))
	}
	return b
}

// restore loads the newest checkpoint, if there is one.
func (c *core) restore(o *Options) error {
	latest, err := o.State.Latest()
	if err != nil {
		if isNone(err) {
			return nil
		}
		return err
	}
	m, err := parseMeta(latest)
	if err != nil {
		return err
	}
	c.events, c.repeats, c.positions = m.events, m.repeats, m.positions
	if len(m.config) > 0 {
		if err := c.configure(m.config); err != nil {
			return err
		}
	}
	c.block = latest.Block
	if err := m.restoreTime(c.clock); err != nil {
		return fmt.Errorf("checkpoint of block %d: watermark: %w", latest.Block, err)
	}
	return c.load(o)
}

// checkpointMeta is what core.meta writes.
type checkpointMeta struct {
	streamTime      event.Time
	events, repeats uint64
	config          []byte
	positions       map[string]uint64
	watermark       []byte // the state of the strategy, nil before version 3
	clock           []byte // that of the partitions, nil before version 4
}

// restoreTime has a clock go on where the checkpoint's stood.
func (m *checkpointMeta) restoreTime(c *eventclock.Clock) error {
	if m.watermark == nil {
		if m.streamTime != event.MinTime {
			c.Pass(m.streamTime)
		}
		return nil
	}
	if err := c.LoadSource(wire.NewReader(m.watermark)); err != nil || m.clock == nil {
		return err
	}
	return c.Load(wire.NewReader(m.clock))
}

func parseMeta(latest *state.Checkpoint) (checkpointMeta, error) {
	r := wire.NewReader(latest.Meta)
	version := r.Byte()
	if version < 1 || version > partitionVersion {
		return checkpointMeta{}, fmt.Errorf("checkpoint of block %d has format %d: this release reads 1 to %d", latest.Block, version, partitionVersion)
	}
	m := checkpointMeta{streamTime: event.Time(r.Varint()), events: r.Uvarint(), positions: map[string]uint64{}}
	if version > 1 {
		m.repeats = r.Uvarint()
	}
	m.config = slices.Clone(r.Bytes())
	for range r.Count() {
		name := r.String()
		m.positions[name] = r.Uvarint()
	}
	if version > 2 {
		m.watermark = slices.Clone(r.Bytes())
	}
	if version >= partitionVersion {
		m.clock = slices.Clone(r.Bytes())
	}
	if r.Err() != nil {
		return m, fmt.Errorf("checkpoint of block %d: %w", latest.Block, r.Err())
	}
	return m, nil
}

// load reads all keyed state and the catalogue.
func (c *core) load(o *Options) error {
	var items []*event.Item
	var users []*event.User
	err := checkpoint.Load(o.State, o.AllowNonRestoredState, o.Logger, func(stage string, key, value []byte) error {
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
		return c.pipeline.Load(stage, key, value)
	})
	if err != nil {
		return err
	}
	c.index.Load(slices.Values(items), slices.Values(users))
	c.pipeline.Resume(c.clock.Watermark())
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
