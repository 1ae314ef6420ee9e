package embedded

import (
	"fmt"
	"slices"

	"millrace/catalog"
	"millrace/engine/eventclock"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/operator/publish"
	"millrace/state"
)

// core is the deterministic part of the engine: a fold of blocks. It reads no
// clock and starts no goroutine that outlives a call.
type core struct {
	build      func([]byte) (*Program, error)
	shards     int
	duplicates Duplicates

	parallelism map[string]int // of single stages

	block     uint64
	config    []byte
	positions map[string]uint64 // how far each import has got
	clock     *eventclock.Clock
	index     *catalog.Index
	users     userSet
	program   *Program // nil before the first configuration record
	pipeline  *pipeline.Pipeline
	send      func(operator.Meta, *event.Enriched)

	names    event.Names
	item     *event.Item    // the last one that names.Item looked up
	changes  []event.Change // of the catalogue, by the blocks since takeChanges
	repeated [][]int        // by shard: rows of the block that were ignored

	publishes bool                // somebody takes publications
	published []*[]publish.Record // of the block, by stage, port and shard

	// What a configuration has left without a stage, until it is deleted.
	orphans     []state.Table
	orphanViews []string

	events  uint64 // applied since the log began, repeats too
	repeats uint64 // of them, that were ignored
	// careful has each event of a block folded by itself, and row is the one
	// that is: after an operator has failed, to find out on which.
	careful bool
	row     int
	failing event.Event
	folding bool // it is being folded

	late uint64 // events that the watermark had passed, since the start
}

func newCore(o Options, index *catalog.Index) *core {
	c := &core{
		build: o.Build, shards: o.Shards, parallelism: o.Parallelism, duplicates: o.Duplicates,
		index: index, positions: map[string]uint64{}, users: newUserSet(), publishes: o.Publications != nil,
	}
	c.clock = eventclock.New()
	c.names.Type = func(b []byte) string {
		if name, ok := c.program.Types.Canonical(b); ok {
			return name
		}
		return string(b)
	}
	c.names.Item = func(b []byte) string {
		if c.item = c.index.ItemBytes(b); c.item != nil {
			return c.item.ID
		}
		return string(b)
	}
	c.pipeline = c.empty()
	return c
}

// empty is a pipeline without stages, before the first configuration.
func (c *core) empty() *pipeline.Pipeline {
	p, err := pipeline.New(&operator.Topology{}, pipeline.Options{Shards: 1})
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return p
}

// apply folds one block. Its answers are collected by Pipeline.Answers.
func (c *core) apply(b *eventlog.Block) error {
	if b.Number != c.block+1 {
		return fmt.Errorf("apply block %d after block %d: %w", b.Number, c.block, eventlog.ErrCorrupt)
	}
	var err error
	switch b.Kind {
	case eventlog.Config:
		err = c.configure(slices.Clone(b.Payload))
	case eventlog.Catalogue:
		err = c.applyCatalogue(b)
	case eventlog.Events:
		err = c.applyEvents(b)
	case eventlog.Tick:
		c.clock.StartBlock(b.Time)
		err = c.finish(b)
	default:
		err = fmt.Errorf("%w: unknown kind of block %d", eventlog.ErrCorrupt, b.Kind)
	}
	if err != nil {
		return err
	}
	for _, p := range b.Positions {
		c.positions[p.Source] = p.Next
	}
	c.block = b.Number
	return nil
}

// applyEvents stamps, enriches and routes a block's events, and folds them.
func (c *core) applyEvents(b *eventlog.Block) error {
	if c.program == nil {
		return fmt.Errorf("events before any configuration: %w", eventlog.ErrCorrupt)
	}
	r := wire.NewReader(b.Payload)
	var e event.Enriched
	c.clock.StartBlock(b.Time)
	runs := originsOf(b)
	for row := range b.Count {
		runs.enter(c.clock, row)
		event.ReadEvent(r, &e.Event, &c.names)
		if r.Err() != nil {
			return fmt.Errorf("event %d: %w: %w", row, eventlog.ErrCorrupt, r.Err())
		}
		if slices.Contains(b.Skipped, row) {
			continue
		}
		c.row = row
		c.enrich(&e, row)
		m := c.clock.Stamp(e.Time, b.Time, c.program.Punctuation != nil && c.program.Punctuation(&e.Event))
		if m.Effective() != m.Time {
			c.late++
		}
		c.send(m, &e)
		if c.careful {
			c.failing, c.folding = e.Event, true
			if err := c.finish(b); err != nil {
				return err
			}
			c.folding = false
		}
	}
	runs.enter(c.clock, b.Count)
	c.events += uint64(b.Count - len(b.Skipped))
	return c.finish(b)
}

// origins goes along a block's runs.
type origins struct {
	runs  []eventlog.Run
	until int // the first row after the run that was entered last
}

func originsOf(b *eventlog.Block) origins {
	if len(b.Runs) == 0 && b.Count > 0 {
		return origins{runs: []eventlog.Run{{Count: b.Count}}}
	}
	return origins{runs: b.Runs}
}

// enter tells the clock of the runs that begin up to a row.
func (o *origins) enter(c *eventclock.Clock, row int) {
	for len(o.runs) > 0 && o.until <= row {
		if run := o.runs[0]; run.Count == 0 {
			c.Expect(run.Partition)
		} else {
			c.Enter(run.Partition)
			o.until += run.Count
		}
		o.runs = o.runs[1:]
	}
}

func (c *core) finish(b *eventlog.Block) error {
	return c.pipeline.Finish(pipeline.Moment{Watermark: c.clock.Watermark(), Processing: b.Time})
}

// enrich attaches what the catalogue knows, and creates what it does not.
func (c *core) enrich(e *event.Enriched, row int) {
	e.Row = row
	if c.item == nil {
		change := event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: e.Item, Created: e.Time}}
		c.index.Apply(change)
		c.changes = append(c.changes, change)
		c.item = c.index.Item(e.Item)
	}
	e.ItemInfo = c.item
	e.UserInfo = c.index.User(e.User)
	if c.users.add(e.User) && e.UserInfo == nil {
		c.changes = append(c.changes, event.Change{Kind: event.EnsureUser, User: &event.User{ID: e.User}})
	}
}

// applyCatalogue applies catalogue writes and deletions. They are a block of
// their own, so everything before has been folded.
func (c *core) applyCatalogue(b *eventlog.Block) error {
	r := wire.NewReader(b.Payload)
	for row := range b.Count {
		change := event.ReadChange(r)
		if r.Err() != nil {
			return fmt.Errorf("catalogue change %d: %w: %w", row, eventlog.ErrCorrupt, r.Err())
		}
		c.index.Apply(change)
		c.changes = append(c.changes, change)
		switch change.Kind {
		case event.DeleteUser:
			c.users.remove(change.User.ID)
			c.pipeline.Forget(operator.SubjectUser, change.User.ID)
		case event.DeleteItem:
			c.pipeline.Forget(operator.SubjectItem, change.Item.ID)
		}
	}
	return nil
}

// configure installs a configuration: the program is built anew and takes
// over the state of the one before, stage by stage.
func (c *core) configure(config []byte) error {
	program, err := c.build(config)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	c.repeated = make([][]int, c.shards)
	p, err := pipeline.New(program.Topology, pipeline.Options{
		Shards: c.shards, Parallelism: c.parallelism, Taps: append(c.taps(), c.publications(program.Topology)...),
	})
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	orphans, err := p.TakeOver(c.pipeline)
	if err != nil {
		return fmt.Errorf("configure: take over state: %w", err)
	}
	c.orphans = append(c.orphans, orphans...)
	for _, view := range c.pipeline.Topology().Views() {
		if !slices.Contains(program.Topology.Views(), view) {
			c.orphanViews = append(c.orphanViews, view)
		}
	}
	if c.send, err = pipeline.Entry[event.Enriched](p, 0); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	c.program, c.pipeline, c.config = program, p, config
	if c.clock, err = c.clock.With(program.time()); err != nil {
		return fmt.Errorf("configure: take over the watermark: %w", err)
	}
	p.Resume(c.clock.Watermark())
	return nil
}

// taps connects the engine to the records that say which events were ignored.
func (c *core) taps() []pipeline.Tap {
	if c.duplicates.Row == nil {
		return nil
	}
	return []pipeline.Tap{{Stage: c.duplicates.Stage, Port: c.duplicates.Port, Sink: func(shard int) operator.RawSink {
		return func(_ operator.Meta, record any) {
			c.repeated[shard] = append(c.repeated[shard], c.duplicates.Row(record))
		}
	}}}
}

// takeChanges hands over what changed in the catalogue.
func (c *core) takeChanges() []event.Change {
	list := c.changes
	c.changes = nil
	return list
}

// takeDuplicates hands over which rows of the last block were ignored, and
// counts them. It is called after every block.
func (c *core) takeDuplicates() []int {
	var rows []int
	for i, list := range c.repeated {
		rows = append(rows, list...)
		c.repeated[i] = list[:0]
	}
	c.repeats += uint64(len(rows))
	return rows
}
