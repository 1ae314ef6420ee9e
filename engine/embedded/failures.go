package embedded

import (
	"errors"
	"fmt"

	"millrace/catalog"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/eventlog"
)

// Failures says what becomes of an event on which an operator panics.
//
// The engine stops: what the panic has left behind can not be trusted. Opened
// again, it recovers to the block before, and folds the events of the block one
// by one, so that it is known on which the operator fails. If it does so Tries
// times, and not in a timer, the event is skipped, and becomes a dead letter.
type Failures struct {
	// Tries is how often an event is tried before it is given up; 0 means that
	// none ever is, and the engine can not be opened until the operator has
	// been mended.
	Tries int
	// Skip has a record of a block not applied any more, durably.
	Skip func(block uint64, row int, letter eventlog.DeadLetter) error
}

// mostSkipped bounds the events that are given up while the engine is opened
// once, of however many blocks: where more fail it is not the events.
const mostSkipped = 10

// failure is what is known of failing events while an engine is opened.
type failure struct {
	block   uint64 // folded with care, 0 if none is
	row     int    // that failed last
	tries   int    // how often
	skipped int
}

// recover recovers, as often as it takes to get past events on which operators
// fail.
func (e *Engine) recover() error {
	var f failure
	for {
		e.index = catalog.NewIndex()
		e.core = newCore(e.options, e.index)
		err := e.replay(f.block)
		if err == nil {
			return nil
		}
		if again, skipErr := e.failed(&f, err); !again || skipErr != nil {
			return errors.Join(err, skipErr)
		}
	}
}

// failed decides after a failure whether to recover again.
func (e *Engine) failed(f *failure, err error) (again bool, _ error) {
	var operator *pipeline.OperatorError
	policy := &e.options.Failures
	if policy.Tries == 0 || policy.Skip == nil || !errors.As(err, &operator) {
		return false, nil
	}
	block := e.core.block + 1
	log := e.options.Logger.With("stage", operator.Stage, "key", operator.Key, "panic", operator.Panic, "block", block)
	if f.block != block {
		log.Error("an operator failed: the block is folded event by event to find out on which")
		*f = failure{block: block, row: -1, skipped: f.skipped}
		return true, nil
	}
	if operator.Timer || !e.core.folding {
		log.Error("an operator failed, and not because of an event")
		return false, nil
	}
	if e.core.row != f.row {
		f.row, f.tries = e.core.row, 0
	}
	f.tries++
	log.Error("an operator failed on an event", "event", f.row, "try", f.tries, "stack", string(operator.Stack))
	if f.tries < policy.Tries {
		return true, nil
	}
	if f.skipped++; f.skipped > mostSkipped {
		return false, fmt.Errorf("operators fail on more than %d events", mostSkipped)
	}
	failing := &e.core.failing
	letter := eventlog.DeadLetter{Time: event.FromGo(e.options.Now()), Raw: event.AppendJSON(nil, failing), User: failing.User, Error: fmt.Sprintf(
		"stage %s failed on it %d times, at key %q: %v", operator.Stage, f.tries, operator.Key, operator.Panic)}
	log.Error("the event is skipped, and stored as a dead letter", "event", f.row)
	return true, policy.Skip(block, f.row, letter)
}

// replay loads the newest checkpoint and replays the log after it. Answers are
// made once, at the end. Events of the block careful are folded one by one.
func (e *Engine) replay(careful uint64) error {
	began := e.options.Now()
	orphans, err := e.core.restore(e.options.State)
	if err == nil {
		err = orphans.Settle(e.options.State, e.options.AllowNonRestoredState, e.options.Logger)
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	from := e.core.block
	e.recovered = from
	sink, err := newCatalogSink(e.options.Catalog, e.core, e.options.Logger)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	e.sink = sink
	err = e.options.Log.Scan(from+1, func(b *eventlog.Block) error {
		e.core.careful = b.Number == careful
		if err := e.core.apply(b); err != nil {
			return err
		}
		e.sink.put(b.Number, e.core.takeChanges())
		e.core.takeDuplicates()
		return nil
	})
	if err != nil {
		e.sink.close()
		return fmt.Errorf("recover: replay from block %d: %w", from+1, err)
	}
	if err := e.answer(); err != nil {
		e.sink.close()
		return fmt.Errorf("recover: %w", err)
	}
	e.core.careful = false
	e.applied.Store(e.core.block)
	e.noteTypes()
	e.core.late = 0 // of what is replayed they were counted before
	e.stats.recovered(e.core)
	e.options.Logger.Info("recovered", "checkpoint", from, "blocks", e.core.block, "took", e.options.Now().Sub(began))
	return nil
}
