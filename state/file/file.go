// Package file keeps state in memory and checkpoints in files: each is a
// delta, which now and then is followed by a snapshot of the whole state.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
	"millrace/state"
	"millrace/state/memory"
)

// Options are a Backend's; the zero value is good.
type Options struct {
	FS vfs.FS // where the directory is; nil = the operating system's
	// Retain is how many of the newest checkpoints can be restored; 0 = 1.
	// With 1, Open refuses a directory in which the newest is damaged. With
	// more it goes back to the newest that is whole, so the event log must
	// reach back as far; there are two full snapshots then.
	Retain int
	Logger *slog.Logger // for what was skipped, and what could not be tidied up; nil = nowhere
}

// Backend is a state.Backend in memory with its checkpoints in files.
type Backend struct {
	dir       directory
	retain    int
	log       *slog.Logger
	lock      io.Closer       // held from Open to Close
	state     *memory.Backend // the state of the latest point
	fullBytes int64           // deltas may be this large, however small the full snapshot

	commit  sync.Mutex // held to change what is stored
	closed  bool
	latest  *state.Checkpoint // without tables; nil before the first
	history history
	seq     uint64 // the last sequence number that was used
	retry   int64  // how large deltas must be for the next full snapshot, after one has failed
	skipped int    // checkpoints that were newer, but damaged, when the directory was opened
}

// Open opens the directory, which it makes if there is none, and reads the
// newest checkpoint. Errors: state.ErrInUse, state.ErrCorrupt, state.ErrNewer.
func Open(dir string, o Options) (*Backend, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Backend{dir: directory{fs: o.FS, path: dir}, retain: max(o.Retain, 1), log: o.Logger, fullBytes: 1 << 20}
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("open state in %s: %w", dir, err)
	}
	return b, nil
}

func (b *Backend) open() (err error) {
	if err := durable.MakeDir(b.dir.fs, b.dir.path); err != nil {
		return err
	}
	if b.lock, err = lockDir(b.dir.fs, b.dir.path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.lock.Close())
		}
	}()
	if err := b.dir.open(); err != nil {
		return err
	}
	r := newRestorer(&b.dir)
	found, err := r.newest()
	if err != nil {
		return err
	}
	for seq := range r.files {
		b.seq = max(b.seq, seq)
	}
	b.latest, b.state, b.history, b.skipped = found.latest, found.state, found.history, len(found.skipped)
	if len(found.skipped) > 0 && b.retain == 1 {
		return fmt.Errorf("%w; the checkpoint of block %d is older and whole: retain more than one to go back to it",
			found.skipped[0].err, b.latest.Block)
	}
	for name, err := range r.bad {
		b.log.Warn("a file of the state is damaged", "dir", b.dir.path, "file", name, "error", err)
	}
	for _, s := range found.skipped {
		b.log.Warn("a checkpoint cannot be restored", "dir", b.dir.path, "sequence", s.seq, "error", s.err)
	}
	if len(found.skipped) > 0 {
		b.log.Warn("the state is that of an older checkpoint", "dir", b.dir.path, "block", b.latest.Block,
			"skipped", len(found.skipped))
	} else if len(r.bad) == 0 { // damaged files are left to be looked at until the next full snapshot
		b.tidy()
	}
	return nil
}

// Skipped is how many checkpoints were passed over by Open, as they were
// damaged: the state was an older one. Whoever goes on from it has to see
// whether its log reaches back so far, and what it has done since then.
func (b *Backend) Skipped() int { return b.skipped }

// Commit implements state.Backend. Commits are made one at a time.
func (b *Backend) Commit(c *state.Checkpoint) (int64, error) {
	b.commit.Lock()
	defer b.commit.Unlock()
	err := b.usable()
	if err == nil {
		err = c.Follows(b.latest)
	}
	if err == nil {
		at := point{block: c.Block, time: c.Time}
		err = b.append(at, c.Meta, func(w *writer) error {
			for _, t := range c.Tables {
				for _, write := range t.Writes {
					if err := w.write(t.Stage, write.Key, write.Value); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("commit checkpoint of block %d: %w", c.Block, err)
	}
	b.latest = &state.Checkpoint{Block: c.Block, Time: c.Time, Meta: bytes.Clone(c.Meta)}
	size, err := b.state.Commit(c)
	if err != nil {
		return 0, err // cannot be: it was checked
	}
	b.snapshotIfDue()
	return size, nil
}

// Drop implements state.Backend.
func (b *Backend) Drop(stage string) error {
	b.commit.Lock()
	defer b.commit.Unlock()
	err := b.usable()
	if err == nil {
		err = state.CheckStage(stage)
	}
	if err == nil && b.state.Keys() > 0 {
		at := point{block: b.latest.Block, time: b.latest.Time}
		err = b.append(at, b.latest.Meta, func(w *writer) error { return w.drop(stage) })
	}
	if err == nil {
		err = b.state.Drop(stage)
	}
	if err != nil {
		return fmt.Errorf("drop stage %s: %w", stage, err)
	}
	b.snapshotIfDue()
	return nil
}

func (b *Backend) usable() error {
	if b.closed {
		return state.ErrClosed
	}
	return nil
}

// append writes a delta to the latest point. Where there are no keys the delta
// is on top of nothing, and stands for a full snapshot.
func (b *Backend) append(at point, meta []byte, fill func(*writer) error) error {
	b.seq++ // also when it fails: what was written then may appear again after a power cut
	at.seq = b.seq
	h := &header{at: at, meta: meta}
	if b.state.Keys() > 0 {
		h.parent = b.history[len(b.history)-1].point
	}
	name, err := b.dir.write(h, fill)
	if err != nil {
		return err
	}
	b.history = append(b.history, entry{point: at, names: [2]string{name}, bytes: [2]int64{b.dir.size(name)},
		alone: h.parent.seq == 0})
	return nil
}

// snapshotIfDue writes a full snapshot when the deltas since the last one are
// larger than it, so that it costs no more than they did. The checkpoint is
// stored already: if there is no room for more, it is tried again later.
func (b *Backend) snapshotIfDue() {
	full, deltas := b.history.growth()
	if deltas > max(full, b.fullBytes, b.retry) {
		if err := b.snapshot(); err != nil {
			b.retry = 2 * deltas
			b.log.Warn("a full snapshot failed; the deltas go on", "dir", b.dir.path, "error", err)
			return
		}
		b.retry = 0
		b.tidy()
	} else if deltas == 0 {
		b.tidy()
	}
}

// snapshot writes the whole state at the latest point, if no file has it.
func (b *Backend) snapshot() error {
	if len(b.history) == 0 || b.history[len(b.history)-1].names[1] != "" {
		return nil
	}
	last := &b.history[len(b.history)-1]
	h := &header{full: true, at: last.point, meta: b.latest.Meta}
	name, err := b.dir.write(h, func(w *writer) error { return b.state.Each(w.write) })
	if err != nil {
		return err
	}
	last.names[1], last.bytes[1] = name, b.dir.size(name)
	return nil
}

// tidy removes the files that are not needed any more. What cannot be removed
// now is removed later, and harms nobody.
func (b *Backend) tidy() {
	if err := b.removeAllBut(b.history.needed(b.retain)); err != nil {
		b.log.Warn("obsolete files of the state could not be removed", "dir", b.dir.path, "error", err)
	}
}

func (b *Backend) removeAllBut(needed history) error {
	b.history = append(history(nil), needed...)
	b.history.forgetDelta()
	return b.dir.removeAllBut(b.history.files())
}

// Compact implements state.Backend. Afterwards there is one file, a full
// snapshot, whatever is to be retained: older checkpoints have the keys and
// values that are to be gone.
func (b *Backend) Compact() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	err := b.usable()
	if err == nil {
		err = b.snapshot()
	}
	if err == nil {
		err = b.removeAllBut(b.history[max(0, len(b.history)-1):])
	}
	if err != nil {
		return fmt.Errorf("compact state: %w", err)
	}
	return nil
}

// Latest implements state.Backend.
func (b *Backend) Latest() (*state.Checkpoint, error) { return b.state.Latest() }

// Load implements state.Backend.
func (b *Backend) Load(fn func(stage string, key, value []byte) error) error { return b.state.Load(fn) }

// Get implements state.Backend.
func (b *Backend) Get(stage string, key []byte) ([]byte, error) { return b.state.Get(stage, key) }

// Size implements state.Backend: the bytes of the files.
func (b *Backend) Size() (int64, error) {
	if _, err := b.state.Size(); err != nil {
		return 0, err
	}
	return b.dir.total(), nil
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if err := errors.Join(b.state.Close(), b.lock.Close()); err != nil {
		return fmt.Errorf("close state in %s: %w", b.dir.path, err)
	}
	return nil
}
