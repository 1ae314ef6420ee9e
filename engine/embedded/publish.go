package embedded

import (
	"context"
	"fmt"
	"slices"
	"time"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/view"
)

// Publications takes what stages publish, block by block, for other systems. A
// sink.Publisher is one.
type Publications interface {
	// Put takes what a block publishes. It may wait for room, until End. A
	// block that it was given before it ignores: recovery folds blocks again.
	Put(sink.Block)
	// Sync returns once everything up to a block is where it belongs, or with
	// the reason why it is not.
	Sync(ctx context.Context, block uint64) error
	// Err is nil until nothing can be published any more, which stops the
	// engine.
	Err() error
	// End says that the engine is to stop: Put waits no more.
	End()
}

// publications connects the engine to what stages publish: a list for each
// stage, port and shard, so that what is published for a key is in one list, in
// its order, whatever the number of shards.
func (c *core) publications(t *operator.Topology) []pipeline.Tap {
	c.published = nil
	if !c.publishes {
		return nil
	}
	var taps []pipeline.Tap
	for _, n := range t.Nodes() {
		for _, port := range operator.PortsOf[publish.Record](n) {
			taps = append(taps, pipeline.Tap{Stage: n.Name, Port: port, Sink: func(int) operator.RawSink {
				list := &[]publish.Record{}
				c.published = append(c.published, list)
				return func(_ operator.Meta, record any) { *list = append(*list, *record.(*publish.Record)) }
			}})
		}
	}
	return taps
}

// Publishes reports whether the present configuration has stages that publish,
// whether somebody takes that or not. Only meaningful while no block is being
// processed.
func (e *Engine) Publishes() bool {
	return slices.ContainsFunc(e.core.pipeline.Topology().Nodes(), func(n *operator.Node) bool {
		return len(operator.PortsOf[publish.Record](n)) > 0
	})
}

// takePublications hands over what the last block has published. It is called
// after every block.
func (c *core) takePublications() []publish.Record {
	n := 0
	for _, list := range c.published {
		n += len(*list)
	}
	if n == 0 {
		return nil
	}
	records := make([]publish.Record, 0, n)
	for _, list := range c.published {
		records = append(records, *list...)
		clear(*list)
		*list = (*list)[:0]
	}
	return records
}

// handOver hands over what a block has published.
func (e *Engine) handOver(b *eventlog.Block) {
	if e.options.Publications != nil {
		e.options.Publications.Put(sink.Block{Number: b.Number, Time: b.Time, Records: e.core.takePublications()})
	}
}

// syncPublications returns once what was published up to a block is where it
// belongs.
func (e *Engine) syncPublications(block uint64) error {
	if e.options.Publications == nil {
		return nil
	}
	if err := e.options.Publications.Sync(context.Background(), block); err != nil {
		return fmt.Errorf("publish results: %w", err)
	}
	return nil
}

// publicationsErr is why nothing can be published any more, nil if it can.
func (e *Engine) publicationsErr() error {
	if e.options.Publications == nil {
		return nil
	}
	return e.options.Publications.Err()
}

// endPublications lets the engine go that waits to publish.
func (e *Engine) endPublications() {
	if e.options.Publications != nil {
		e.options.Publications.End()
	}
}

// publishedTogether bounds the blocks whose answers are published together.
const publishedTogether = 8

// unpublished are the blocks that are applied and not visible yet. It is
// empty between two blocks of an engine that keeps up.
type unpublished struct {
	blocks  []appliedBlock
	changes []event.Change // of the catalogue, if the views pass them on
}

// appliedBlock is what those who wait for a block, and the statistics, are
// told once it is visible.
type appliedBlock struct {
	block      eventlog.Block // without its payload
	began      time.Time
	duplicates []int // rows that were ignored
}

func (u *unpublished) add(b *eventlog.Block, began time.Time, duplicates []int) {
	a := appliedBlock{block: *b, began: began, duplicates: duplicates}
	a.block.Payload = nil
	u.blocks = append(u.blocks, a)
}

// patient reports whether the blocks may wait for another one.
func (u *unpublished) patient(now time.Time, interval time.Duration) bool {
	return len(u.blocks) < publishedTogether && now.Sub(u.blocks[0].began) < interval
}

// publish makes the answers of the blocks that are not visible yet visible
// together, and tells those who wait.
func (e *Engine) publish() error {
	if len(e.unpublished.blocks) == 0 {
		return nil
	}
	if err := e.answer(); err != nil {
		return err
	}
	now := e.options.Now()
	for i := range e.unpublished.blocks {
		e.finished(&e.unpublished.blocks[i], now)
		e.unpublished.blocks[i] = appliedBlock{}
	}
	e.unpublished.blocks = e.unpublished.blocks[:0]
	return nil
}

// answer makes the answers of all keys that changed since the last call
// visible together.
func (e *Engine) answer() error {
	writes, err := e.core.pipeline.Answers()
	if err != nil {
		return err
	}
	gone, err := e.orphanedAnswers()
	if err != nil {
		return err
	}
	writes = append(writes, gone)
	e.follow()
	if err := e.options.Views.Publish(e.core.block, e.core.clock.StreamTime(), writes...); err != nil {
		return fmt.Errorf("publish views: %w", err)
	}
	e.core.pipeline.Recycle()
	return nil
}

// follow tells views that pass it on what else the blocks brought that are to
// be published.
func (e *Engine) follow() {
	if f, ok := e.options.Views.(view.Follower); ok {
		f.Follow(view.Progress{Positions: e.core.positions, Changes: e.unpublished.changes, Watermark: e.core.clock.Watermark()})
		e.unpublished.changes = nil
	}
}

// noteChanges keeps catalogue changes for views that pass them on.
func (e *Engine) noteChanges(changes []event.Change) {
	if _, ok := e.options.Views.(view.Follower); ok {
		e.unpublished.changes = append(e.unpublished.changes, changes...)
	}
}

// orphanedAnswers deletes the views that a configuration left without a stage.
func (e *Engine) orphanedAnswers() ([]operator.ViewWrite, error) {
	var writes []operator.ViewWrite
	for _, name := range e.core.orphanViews {
		err := e.options.Views.Each(name, func(key string, _ operator.Value) error {
			writes = append(writes, operator.ViewWrite{View: name, Key: key})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("delete view %s: %w", name, err)
		}
	}
	e.core.orphanViews = nil
	return writes, nil
}

// finished tells those who wait that a block is visible.
func (e *Engine) finished(a *appliedBlock, now time.Time) {
	number := a.block.Number
	e.mutex.Lock()
	e.results.put(number, a.duplicates)
	e.applied.Store(number)
	waiting := e.waiters[number]
	delete(e.waiters, number)
	e.mutex.Unlock()
	for _, w := range waiting {
		close(w)
	}
	e.stats.block(a, now, e.core)
}
