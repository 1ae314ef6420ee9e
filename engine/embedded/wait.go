package embedded

import (
	"context"
	"slices"
)

// keptOutcomes is for how many blocks the engine remembers which of their
// events were ignored; whoever asks does so right after the block.
const keptOutcomes = 4096

// outcomes is a ring of the duplicates of the latest blocks.
type outcomes struct {
	rows [keptOutcomes]struct {
		block      uint64
		duplicates []int
	}
}

func (o *outcomes) put(block uint64, duplicates []int) {
	slot := &o.rows[block%keptOutcomes]
	slot.block, slot.duplicates = block, duplicates
}

func (o *outcomes) get(block uint64) []int {
	if slot := &o.rows[block%keptOutcomes]; slot.block == block {
		return slot.duplicates
	}
	return nil
}

// Applied is the number of the last block whose answers are visible.
func (e *Engine) Applied() uint64 { return e.applied.Load() }

// Wait returns once a block is visible in the views. It returns an error that
// wraps ErrFailed or ErrClosed if that can not happen any more, or ctx's.
func (e *Engine) Wait(ctx context.Context, block uint64) error {
	if e.applied.Load() >= block {
		return nil
	}
	w := make(chan struct{})
	e.mutex.Lock()
	if e.applied.Load() >= block {
		e.mutex.Unlock()
		return nil
	}
	e.waiters[block] = append(e.waiters[block], w)
	e.mutex.Unlock()
	select {
	case <-w:
	case <-e.stopped:
	case <-ctx.Done():
		e.unwait(block, w)
		return ctx.Err()
	}
	if e.applied.Load() >= block {
		return nil
	}
	if err := e.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// unwait forgets a waiter that has given up.
func (e *Engine) unwait(block uint64, w chan struct{}) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	list := slices.DeleteFunc(e.waiters[block], func(c chan struct{}) bool { return c == w })
	if len(list) == 0 {
		delete(e.waiters, block)
	} else {
		e.waiters[block] = list
	}
}

// WaitCatalog returns once the catalogue changes of a block are in SQL too.
func (e *Engine) WaitCatalog(ctx context.Context, block uint64) error {
	if err := e.Wait(ctx, block); err != nil {
		return err
	}
	return e.sink.wait(ctx, block)
}

// Duplicates is how many of count events, from position first of a block, were
// ignored as repeats. Meaningful once the block is visible.
func (e *Engine) Duplicates(block uint64, first, count int) int {
	e.mutex.Lock()
	rows := e.results.get(block)
	e.mutex.Unlock()
	n := 0
	for _, row := range rows {
		if row >= first && row < first+count {
			n++
		}
	}
	return n
}
