package embedded

import (
	"fmt"
	"time"

	"millrace/eventlog"
	"millrace/operator"
)

// publishedTogether bounds the blocks whose answers are published together.
const publishedTogether = 8

// unpublished are the blocks that are applied and not visible yet. It is
// empty between two blocks of an engine that keeps up.
type unpublished struct {
	blocks []appliedBlock
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
	if err := e.options.Views.Publish(e.core.block, e.core.clock.StreamTime(), writes...); err != nil {
		return fmt.Errorf("publish views: %w", err)
	}
	e.core.pipeline.Recycle()
	return nil
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
