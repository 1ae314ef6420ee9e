package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// health remembers the first failure of the store. Once it has failed nothing
// is written any more: whether the failed write is on disk is not known, and
// only opening the log again finds out.
type health struct {
	log    *slog.Logger
	dir    string
	failed chan struct{} // closed at the first failure

	mu    sync.Mutex
	cause error
}

func newHealth(log *slog.Logger, dir string) *health {
	return &health{log: log, dir: dir, failed: make(chan struct{})}
}

// fail records a failure; only the first one counts, and it is logged before
// anybody learns of it.
func (h *health) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return
	}
	h.log.Error("the event log accepts no more writes: its storage failed; once the cause is removed, restart to go on",
		"dir", h.dir, "err", err)
	h.cause = err
	close(h.failed)
}

// err is nil, or ErrUnavailable with the first failure.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, h.dir, h.cause)
}

// retryPause is how long Pebble is held up each time that a flush or a
// compaction fails after the store has failed: it would try again at once and
// for ever.
const retryPause = 50 * time.Millisecond

// backgroundError is called by Pebble when a flush or a compaction failed.
func (h *health) backgroundError(err error) {
	select {
	case <-h.failed:
		time.Sleep(retryPause)
	default:
		h.fail(fmt.Errorf("writing in the background: %w", err))
	}
}

// dataCorruption is called by Pebble when it read a damaged file. The reader
// gets an error as well, so that this is for the log only.
func (h *health) dataCorruption(info pebble.DataCorruptionInfo) {
	h.log.Error("a file of the event log is damaged", "dir", h.dir, "path", info.Path, "err", info.Details)
}

// Infof passes on what Pebble tells about its work.
func (h *health) Infof(format string, args ...any) {
	if h.log.Enabled(context.Background(), slog.LevelDebug) {
		h.log.Debug("pebble: "+fmt.Sprintf(format, args...), "dir", h.dir)
	}
}

// Errorf passes on Pebble's errors.
func (h *health) Errorf(format string, args ...any) {
	h.log.Error("pebble: "+fmt.Sprintf(format, args...), "dir", h.dir)
}

// Fatalf is called by Pebble when it cannot go on. A failed write to the
// write-ahead log or to the manifest is a failure of the store, which callers
// learn as ErrUnavailable; Pebble unwinds by itself from those two. Anything
// else is a broken invariant: going on could damage what is stored, so the
// process stops with a message that says so.
func (h *health) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if cause := writeFailure(text, args); cause != nil {
		h.fail(fmt.Errorf("pebble: %w", cause))
		return
	}
	h.log.Error("millrace stops to protect the event log: its storage engine found itself in an impossible state. "+
		"Acknowledged events are safe on disk; restart, and report this message",
		"dir", h.dir, "err", text)
	panic("millrace: event log in " + h.dir + ": " + text)
}

// writeFailure is the error of a failed write, nil of a broken invariant: the
// former begins as Pebble's commit and manifest paths do, and has an error.
func writeFailure(text string, args []any) error {
	if !strings.HasPrefix(text, "pebble: fatal commit error") && !strings.HasPrefix(text, "MANIFEST ") {
		return nil
	}
	for _, a := range args {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return nil
}
