package savepoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/internal/durable"
	savepoints "millrace/savepoint"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

// The reasons why a savepoint is not restored, besides those of package
// savepoint.
var (
	// ErrNotEmpty is the error of restoring into a directory that holds data,
	// without force.
	ErrNotEmpty = errors.New("the data directory is not empty")
	// ErrNotItsLog is the error of state and a log that do not belong together:
	// another log, one that does not reach back to the state or does not reach it
	// yet, one that deletes a user later.
	ErrNotItsLog = errors.New("the event log can not bring this state up to date")
	// ErrConfiguration is the error of state that was computed with a
	// configuration which this release can not run.
	ErrConfiguration = errors.New("this release can not run its configuration")
)

// Restore is what is to be restored where.
type Restore struct {
	Program Program
	Store   *savepoints.Store
	ID      string
	Data    string // the data directory
	// Force replaces the state of a directory that holds data. Its log stays,
	// and the next start replays what comes after the savepoint's block.
	Force bool
	// AllowNonRestoredState drops the state of stages that the program does not
	// have, which is an error otherwise.
	AllowNonRestoredState bool
	// Shards is the number of shards that the state is loaded with, to prove that
	// it can be; 0 means the cores. The stored form has none.
	Shards int
}

// Restored is what was restored.
type Restored struct {
	Manifest *savepoints.Manifest
	Lost     []string // stages whose state was dropped
	Keys     int      // that were loaded
	Replay   uint64   // blocks of the log that the next start replays
}

// Run restores. When it returns an error the directory is as it was. Nobody may
// have it open: eventlog.ErrInUse.
func (r *Restore) Run(ctx context.Context) (*Restored, error) {
	out, err := r.check(ctx)
	if err != nil {
		return nil, err
	}
	empty, err := isEmpty(r.Data)
	if err != nil {
		return nil, err
	}
	switch {
	case empty:
		err = r.intoEmpty(ctx, out)
	case r.Force:
		err = r.intoSame(ctx, out)
	default:
		err = fmt.Errorf("%w: %s", ErrNotEmpty, r.Data)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// check says whether the program can take over the savepoint, and what that
// loses.
func (r *Restore) check(ctx context.Context) (*Restored, error) {
	m, err := r.Store.Describe(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	lost, err := r.Program.check(m, r.AllowNonRestoredState)
	return &Restored{Manifest: m, Lost: lost}, err
}

// isEmpty says whether a directory holds nothing, or only savepoints, or is not
// there.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, e := range entries {
		if e.Name() != StoreFolder {
			return false, err
		}
	}
	return true, err
}

// intoEmpty makes a data directory whose log begins after the savepoint's
// block. Its state comes last: without it, the directory is not opened.
func (r *Restore) intoEmpty(ctx context.Context, out *Restored) (err error) {
	_, statErr := os.Stat(r.Data)
	if err := os.MkdirAll(r.Data, 0o755); err != nil {
		return err
	}
	logDir, incoming := filepath.Join(r.Data, LogFolder), filepath.Join(r.Data, incomingFolder)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(incoming), os.RemoveAll(logDir))
			if errors.Is(statErr, fs.ErrNotExist) {
				_ = os.Remove(r.Data) // unless somebody has put something into it
			}
		}
	}()
	if err := r.fetch(ctx, out); err != nil {
		return err
	}
	m := out.Manifest
	log, err := eventlog.Open(logDir, eventlog.Options{Start: eventlog.Start{Block: m.Block, Time: m.BlockTime}})
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	return rename(r.Data, incomingFolder, StateFolder)
}

// intoSame replaces the state of a data directory that has a log.
func (r *Restore) intoSame(ctx context.Context, out *Restored) (err error) {
	log, err := eventlog.Open(filepath.Join(r.Data, LogFolder), eventlog.Options{ReadOnly: true}) // and its lock
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := Finish(r.Data); err != nil {
		return err
	}
	if err := checkLog(out.Manifest, log); err != nil {
		return err
	}
	out.Replay = log.Last() - out.Manifest.Block
	if err := r.fetch(ctx, out); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(r.Data, incomingFolder)))
	}
	if err := rename(r.Data, incomingFolder, restoredFolder); err != nil {
		return err
	}
	return errors.Join(Finish(r.Data), os.RemoveAll(filepath.Join(r.Data, replacedFolder)))
}

// fetch puts the state beside where it is to be, and loads it.
func (r *Restore) fetch(ctx context.Context, out *Restored) error {
	if _, err := r.Store.Fetch(ctx, out.Manifest.ID, filepath.Join(r.Data, incomingFolder)); err != nil {
		return err
	}
	return r.load(out)
}

// load loads what was fetched as an engine would, without what is to be lost:
// what is restored can be started.
func (r *Restore) load(out *Restored) (err error) {
	backend, err := pebble.Open(filepath.Join(r.Data, incomingFolder), pebble.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	for _, stage := range out.Lost {
		if err := backend.Drop(stage); err != nil {
			return err
		}
	}
	e, err := embedded.Inspect(embedded.Options{
		Build: r.Program.Build, Shards: r.Shards, Log: nothing{}, State: backend, Views: viewmemory.New(),
		Duplicates: r.Program.Duplicates, Checkpoints: checkpoint.Policy{Interval: -1},
	})
	if err != nil {
		return fmt.Errorf("load the state of %s: %w", out.Manifest.ID, err)
	}
	for _, n := range e.Stats().Keys {
		out.Keys += n
	}
	return e.Close()
}

// nothing is a log without blocks.
type nothing struct{}

// Scan implements embedded.BlockSource.
func (nothing) Scan(uint64, func(*eventlog.Block) error) error { return nil }

// checkLog returns ErrNotItsLog unless a log can bring state up to date.
func checkLog(m *savepoints.Manifest, log *eventlog.Log) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s is of block %d: %w: %s", m.ID, m.Block, ErrNotItsLog, fmt.Sprintf(format, args...))
	}
	if m.Block > log.Last() {
		return refuse("it ends with block %d", log.Last())
	}
	if start := log.Start().Block; m.Block < start {
		return refuse("it begins with block %d", start+1)
	}
	at, err := blockTime(log, m.Block)
	if err != nil {
		return err
	}
	if at != m.BlockTime {
		return refuse("it is another one: its block %d is of %v, and not of %v", m.Block, at, m.BlockTime)
	}
	deletion, err := log.DeletionAfter(m.Block)
	if err != nil {
		return err
	}
	if deletion > 0 {
		return refuse("block %d deletes a user, who would be back, as the log does not name deleted users; "+
			"it can only be restored into an empty directory", deletion)
	}
	return nil
}

// Finish completes what a Restore into the same directory, or a Recover, had
// begun when its process ended, and removes what others have left. Whoever opens
// a data directory calls it first, with the log open, so that nobody else does.
func Finish(data string) error {
	restored := filepath.Join(data, restoredFolder)
	if _, err := os.Stat(restored); err == nil {
		if err := os.RemoveAll(filepath.Join(data, StateFolder)); err != nil {
			return err
		}
		if err := rename(data, restoredFolder, StateFolder); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(data, incomingFolder)), os.RemoveAll(filepath.Join(data, snapshotsFolder)))
}

// rename renames a folder of a data directory, durably.
func rename(data, from, to string) error {
	if err := os.Rename(filepath.Join(data, from), filepath.Join(data, to)); err != nil {
		return err
	}
	return durable.SyncDir(vfs.Default, data)
}
