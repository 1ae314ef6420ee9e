package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"

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
	// Record is told of all failures; nil means one of the engine's own.
	Record *FailureRecord
}

// FailureRecord counts the failures of operators. Engines that are opened one
// after the other, as the one before has failed, share it. The zero value is
// ready; its methods may be called from any goroutine.
type FailureRecord struct {
	mutex   sync.Mutex
	stages  map[string]uint64 // failures
	skipped uint64            // events
	told    string            // the panic whose stack was logged last
}

// note counts a failure if it is an operator's, and logs where in the operator
// it was: once for all tries that fail alike.
func (r *FailureRecord) note(err error, log *slog.Logger) {
	var operator *pipeline.OperatorError
	if !errors.As(err, &operator) {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.stages == nil {
		r.stages = map[string]uint64{}
	}
	r.stages[operator.Stage]++
	if which := fmt.Sprint(operator.Stage, "\x00", operator.Key, "\x00", operator.Panic); which != r.told {
		r.told = which
		log.Error("an operator panicked", "stage", operator.Stage, "key", operator.Key, "panic", operator.Panic, "stack", frames(operator.Stack))
	}
}

// skip counts an event that is skipped.
func (r *FailureRecord) skip() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.skipped++
}

// counts are the failures of each stage that has failed, and how many events
// were skipped.
func (r *FailureRecord) counts() (stages map[string]uint64, skipped uint64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return maps.Clone(r.stages), r.skipped
}

// mostFrames bounds the calls of a stack that are logged.
const mostFrames = 16

// frames are the calls of a stack from the one that panicked out to the
// pipeline, in one line that people can read.
func frames(stack []byte) string {
	_, calls, found := strings.Cut(string(stack), "\npanic(")
	if _, after, ok := strings.Cut(calls, "\n\t"); found && ok {
		_, calls, _ = strings.Cut(after, "\n")
	} else {
		return string(stack) // which is not as Go writes it
	}
	var list []string
	lines := strings.Split(calls, "\n")
	for i := 0; i+1 < len(lines) && len(list) < mostFrames; i += 2 {
		call, place := lines[i], strings.TrimSpace(lines[i+1])
		if strings.HasPrefix(call, "millrace/engine/pipeline.") {
			break
		}
		if strings.HasPrefix(call, "runtime.") { // that made a panic of a signal
			continue
		}
		if end := strings.LastIndexByte(call, '('); end > 0 {
			call = call[:end]
		}
		place, _, _ = strings.Cut(place, " +0x")
		list = append(list, call+" "+filepath.Base(place))
	}
	return strings.Join(list, " < ")
}

// withoutStack is the text of an error that may be an operator's, which ends
// with a stack.
func withoutStack(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\ngoroutine ")
	return text
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
	policy.Record.note(err, e.options.Logger)
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
	failing := &e.core.failing
	log = log.With("event", f.row, "event_id", failing.ID, "user", failing.User, "item", failing.Item)
	log.Error("an operator failed on an event", "try", f.tries)
	if f.tries < policy.Tries {
		return true, nil
	}
	if f.skipped++; f.skipped > mostSkipped {
		return false, fmt.Errorf("operators fail on more than %d events", mostSkipped)
	}
	letter := eventlog.DeadLetter{Time: event.FromGo(e.options.Now()), Raw: event.AppendJSON(nil, failing), User: failing.User, Error: fmt.Sprintf(
		"stage %s failed on it %d times, at key %q: %v", operator.Stage, f.tries, operator.Key, operator.Panic)}
	log.Error("the event is skipped, and stored as a dead letter")
	if err := policy.Skip(block, f.row, letter); err != nil {
		return false, err
	}
	policy.Record.skip()
	return true, nil
}

// replay loads the newest checkpoint and replays the log after it. Answers are
// made once, at the end. Events of the block careful are folded one by one.
func (e *Engine) replay(careful uint64) error {
	began := e.options.Now()
	if err := e.core.restore(&e.options); err != nil {
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
		e.handOver(b)
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
