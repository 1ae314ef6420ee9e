package savepoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"millrace/eventlog"
)

// The reasons why a running server does not restore a savepoint, besides those
// of a Restore.
var (
	// ErrRestoring is the error of what can not be done while a savepoint is being
	// restored.
	ErrRestoring = errors.New("a savepoint is being restored")
	// ErrInMemory is the error of a server whose state is made anew at every start.
	ErrInMemory = errors.New("the server keeps its state in memory, and makes it anew of the log at every start")
	// ErrUndone is the error of a restore whose state could not be opened: the
	// one from before is back.
	ErrUndone = errors.New("the server could not go on from what was restored, so the state from before is back")
)

// keptRestores is how many restores are remembered.
const keptRestores = 100

// RestoreStatus is a restore into a running server.
type RestoreStatus struct {
	ID        string
	Savepoint string
	Progress  Progress
	Err       error     // why it failed
	Asked     time.Time // wall clock
	Finished  time.Time // zero while it is in progress

	// The rest is known of one that is completed.
	Block    uint64   // of the savepoint
	Events   uint64   // in it
	Keys     int      // that were loaded
	Replayed uint64   // blocks of the log after it
	Lost     []string // stages whose state was dropped
}

// Restores are the restores of a server. They outlive its parts, which are
// closed and opened again for each: the process keeps them.
type Restores struct {
	mutex   sync.Mutex
	list    []RestoreStatus // oldest first; only the last one can be in progress
	pending *Restoring      // fetched, to be put in place once the parts are closed, or in place and to be opened
}

// NewRestores are none.
func NewRestores() *Restores { return &Restores{} }

// begin notes a restore, where none is in progress.
func (l *Restores) begin(savepoint string) RestoreStatus {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	status := RestoreStatus{ID: newID("restore", time.Now()), Savepoint: savepoint, Progress: InProgress, Asked: time.Now()}
	l.list = append(l.list, status)
	l.list = slices.Delete(l.list, 0, max(0, len(l.list)-keptRestores))
	return status
}

// current is the savepoint that is being restored, empty if none is.
func (l *Restores) current() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if n := len(l.list); n > 0 && l.list[n-1].Progress == InProgress {
		return l.list[n-1].Savepoint
	}
	return ""
}

// List is the latest of them, oldest first.
func (l *Restores) List() []RestoreStatus {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.list)
}

// finish says what became of a restore; on the log too.
func (l *Restores) finish(r *Restoring, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	last := &l.list[len(l.list)-1]
	last.Finished = time.Now()
	if err != nil {
		last.Progress, last.Err = Failed, err
		r.logger.Error("savepoint not restored; the state is the one from before", "restore", r.restore, "id", r.ID, "error", err)
		return
	}
	m := r.out.Manifest
	last.Progress, last.Block, last.Events = Completed, m.Block, m.Events
	last.Keys, last.Replayed, last.Lost = r.out.Keys, r.out.Replay, r.out.Lost
	r.logger.Info("savepoint restored", "restore", r.restore, "id", r.ID, "block", m.Block,
		"blocks_replayed", r.out.Replay, "non_restored_stages", r.out.Lost, "took", last.Finished.Sub(last.Asked))
}

// Take takes what was fetched, for Run. It, Run and Opened are called one after
// the other.
func (l *Restores) Take(r *Restoring) { l.pending = r }

// Run puts what was taken in place of the state of a data directory that nobody
// has open any more: the next opening finishes it, and Opened is told of that.
func (l *Restores) Run(ctx context.Context) {
	r := l.pending
	if r == nil {
		return
	}
	if err := r.swap(ctx); err != nil {
		l.pending = nil
		l.finish(r, err)
	}
}

// Opened is told of every opening of the data directory; undone is why the state
// from before was put back, nil if it was not.
func (l *Restores) Opened(undone error) {
	r := l.pending
	if r == nil {
		return
	}
	l.pending = nil
	if undone != nil {
		undone = fmt.Errorf("%w: %w", ErrUndone, undone)
	}
	l.finish(r, undone)
}

// Restoring is a savepoint on its way into a running server: first it is fetched
// beside the state, while the server goes on; then the server closes its parts,
// Restores.Run puts it in place, and the server opens its parts again.
type Restoring struct {
	Restore
	restore string // its id
	out     *Restored
	logger  *slog.Logger
}

// Restore begins to restore a savepoint into the running server. Its errors say
// that it can not be restored: those of a Restore, ErrBusy, ErrRestoring and
// ErrInMemory; what goes wrong later is in the RestoreStatus.
func (s *Service) Restore(ctx context.Context, id string, allowNonRestoredState bool) (RestoreStatus, error) {
	o := &s.options
	r := &Restoring{logger: o.Logger, Restore: Restore{
		Program: o.Program, Store: o.Store, ID: id, Data: o.Data, Force: true, AllowNonRestoredState: allowNonRestoredState,
	}}
	if err := s.idle(); err != nil { // which explains why one that is being made is not found
		return RestoreStatus{}, err
	}
	var err error
	if r.out, err = r.check(ctx); err != nil {
		return RestoreStatus{}, err
	}
	if o.InMemory {
		return RestoreStatus{}, ErrInMemory
	}
	if err := checkLog(r.out.Manifest, o.Log); err != nil {
		return RestoreStatus{}, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := s.idleLocked(); err != nil {
		return RestoreStatus{}, err
	}
	status := o.Restores.begin(id)
	r.restore = status.ID
	s.running.Go(func() { s.fetch(r) })
	return status, nil
}

// fetch brings a savepoint beside the state.
func (s *Service) fetch(r *Restoring) {
	r.logger.Info("restoring a savepoint", "restore", r.restore, "id", r.ID, "block", r.out.Manifest.Block, "store", r.Store)
	if _, err := r.Store.Fetch(s.ctx, r.ID, filepath.Join(r.Data, incomingFolder)); err != nil {
		s.options.Restores.finish(r, err)
		return
	}
	s.fetched <- r
}

// Fetched has the savepoint that is to be restored, once it has been fetched:
// the server is to give it to Restores.Take then, and to close its parts.
func (s *Service) Fetched() <-chan *Restoring { return s.fetched }

// abandon gives up what was fetched in vain, as the server is stopping.
func (s *Service) abandon() {
	select {
	case r := <-s.fetched:
		s.options.Restores.finish(r, errors.Join(context.Canceled, os.RemoveAll(filepath.Join(r.Data, incomingFolder))))
	default:
	}
}

// swap verifies what was fetched and puts it in place of the state, which is
// kept beside it until Settled. When it returns an error the directory is as it
// was; else the next Finish completes it.
func (r *Restoring) swap(ctx context.Context) (err error) {
	incoming := filepath.Join(r.Data, incomingFolder)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(incoming))
		}
	}()
	log, err := eventlog.Open(filepath.Join(r.Data, LogFolder), eventlog.Options{ReadOnly: true}) // and its lock
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := checkLog(r.out.Manifest, log); err != nil { // somebody may have been deleted meanwhile
		return err
	}
	r.out.Replay = log.Last() - r.out.Manifest.Block
	if err := r.load(r.out); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := rename(r.Data, incomingFolder, restoredFolder); err != nil {
		return err
	}
	if err := setAside(r.Data, replacedFolder); err != nil { // which Finish does without
		r.logger.Warn("the state that is replaced can not be kept until the other one is opened", "error", err)
	}
	return nil
}

// CanUndo says whether the state that a restore has replaced is still there.
func CanUndo(data string) bool {
	_, err := os.Stat(filepath.Join(data, replacedFolder))
	return err == nil
}

// Undo puts back the state that a restore has replaced, where the one that was
// restored can not be opened. Nobody may have the state open.
func Undo(data string) error {
	if err := rename(data, replacedFolder, restoredFolder); err != nil {
		return err
	}
	return Finish(data)
}

// setAside keeps the state of a data directory under another name.
func setAside(data, as string) error {
	if err := os.RemoveAll(filepath.Join(data, as)); err != nil {
		return err
	}
	err := rename(data, StateFolder, as)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
