package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// health remembers the first failure of a store. Once it has failed nothing
// is written any more: whether the failed write is on disk is not known, and
// only opening the database again finds out.
type health struct {
	log       *slog.Logger
	dir       string
	failed    chan struct{} // closed at the first failure
	opened    atomic.Bool   // failures are the log's: until then they are the error of opening it
	abandoned atomic.Bool   // nobody is interested in it any more

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
	if h.opened.Load() {
		h.log.Error("the event log accepts no more writes until its storage works again: nothing that was acknowledged is lost",
			"cause", Cause(err), "dir", h.dir, "err", err)
	}
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

// Err is nil while the log accepts writes, and else why it does not: ErrClosed,
// ErrReadOnly or ErrUnavailable.
func (l *Log) Err() error {
	l.useMu.Lock()
	defer l.useMu.Unlock()
	if err := l.interrupted(); err != nil {
		return err
	}
	if l.options.ReadOnly {
		return ErrReadOnly
	}
	return l.health.err()
}

// Failed is closed once the store has failed. After Recover it is another one.
func (l *Log) Failed() <-chan struct{} {
	l.useMu.Lock()
	defer l.useMu.Unlock()
	return l.health.failed
}

// Recover goes on after a failure of the storage: it opens the database anew,
// as a restart would, and finds out by reading which of the last blocks are
// there. All that were acknowledged are, and blocks whose Append has failed
// may be: the numbers up to Last tell. The storage that has failed is fenced
// off first, so that nothing of it can reach the disk afterwards.
//
// It fails with ErrUnavailable while the storage has no room or does not work,
// and can be called again. If acknowledged blocks are missing, or a file was
// found to be damaged, it fails with ErrCorrupt, now and ever. Without a
// failure it does nothing.
func (l *Log) Recover() error {
	l.reopenMu.Lock()
	defer l.reopenMu.Unlock()
	err := l.reopen()
	if err != nil && time.Since(l.warned) > warnEvery {
		l.warned = time.Now()
		l.options.Logger.Warn("the event log still accepts no writes", "cause", Cause(err), "dir", l.dir, "err", err)
	}
	return err
}

// warnEvery is how often a log that does not recover says so.
const warnEvery = time.Minute

// reopen is Recover. The caller holds reopenMu.
func (l *Log) reopen() error {
	failed := l.Err()
	if failed == nil || !errors.Is(failed, ErrUnavailable) || errors.Is(failed, ErrCorrupt) {
		return failed
	}
	if err := l.probe(); err != nil {
		return fmt.Errorf("recovering: %w", err)
	}
	l.takeDown(failed)
	s, err := openStore(l.dir, l.options, l.lock)
	if err != nil {
		return fmt.Errorf("recovering: %w", err)
	}
	last, _, err := s.end(l.codec, l.start)
	if err == nil && last < l.Last() {
		err = &CorruptError{Block: last + 1, Err: errMissing}
	}
	if err == nil {
		err = l.load(s)
	}
	if err != nil {
		s.abandon()
		err = fmt.Errorf("recovering: %w", err)
		if errors.Is(err, ErrCorrupt) {
			l.takeDown(err)
		}
		return err
	}
	l.useMu.Lock()
	defer l.useMu.Unlock()
	l.store = s
	l.down.Store(nil)
	l.options.Logger.Info("the event log accepts writes again", "dir", l.dir, "last_block", last)
	return nil
}

// takeDown ends the use of the store that has failed, and abandons it.
func (l *Log) takeDown(why error) {
	l.useMu.Lock()
	again := l.down.Swap(&why) != nil
	l.useMu.Unlock()
	if again {
		return
	}
	l.inFlight.Wait()
	l.abandon()
}

// What the storage must be able to take before a log goes on.
const (
	recoverBytes = 32 << 20 // two memtables and the tables that are made of them
	probeBytes   = 1 << 20
)

// probe says why the storage could not take much now, or nil.
func (l *Log) probe() error {
	fsys := l.options.FS
	usage, err := fsys.GetDiskUsage(l.dir)
	if err == nil && usage.AvailBytes < recoverBytes {
		return fmt.Errorf("%w: %w: %d MiB are free, the log goes on from %d MiB",
			ErrUnavailable, syscall.ENOSPC, usage.AvailBytes>>20, recoverBytes>>20)
	}
	name := fsys.PathJoin(l.dir, "probe")
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(make([]byte, probeBytes))
		err = errors.Join(err, f.Sync(), f.Close(), fsys.Remove(name))
	}
	return storeError(err)
}

// retryPause is how long Pebble is held up each time that a flush or a
// compaction fails after the store has failed: it would try again at once and
// for ever.
const retryPause = 50 * time.Millisecond

// backgroundError is called by Pebble when a flush or a compaction failed: of
// a database that is open, because it could not read.
func (h *health) backgroundError(err error) {
	select {
	case <-h.failed:
		time.Sleep(retryPause)
	default:
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		h.fail(fmt.Errorf("working in the background: %w", err))
	}
}

// dataCorruption is called by Pebble when it read a damaged file. The reader
// gets an error as well, so that this is for the log only.
func (h *health) dataCorruption(info pebble.DataCorruptionInfo) {
	if h.abandoned.Load() {
		return
	}
	h.log.Error("a file of the event log is damaged", "dir", h.dir, "path", info.Path, "err", info.Details)
}

// Infof passes on what Pebble tells about its work.
func (h *health) Infof(format string, args ...any) {
	if !h.abandoned.Load() && h.log.Enabled(context.Background(), slog.LevelDebug) {
		h.log.Debug("pebble: "+fmt.Sprintf(format, args...), "dir", h.dir)
	}
}

// Errorf passes on Pebble's errors.
func (h *health) Errorf(format string, args ...any) {
	if !h.abandoned.Load() {
		h.log.Error("pebble: "+fmt.Sprintf(format, args...), "dir", h.dir)
	}
}

// Fatalf is called by Pebble when it cannot go on. A failed write to the
// write-ahead log or to the manifest is a failure of the store, which callers
// learn as ErrUnavailable; Pebble unwinds by itself from those two. Anything
// else is a broken invariant: going on could damage what is stored, so the
// process stops with a message that says so. A store that was abandoned can
// damage nothing; it just does not go on.
func (h *health) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if cause := writeFailure(text, args); cause != nil {
		h.fail(fmt.Errorf("pebble: %w", cause))
		return
	}
	if h.abandoned.Load() {
		select {}
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
