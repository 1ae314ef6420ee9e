package savepoint

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/engine/embedded"
	"millrace/eventlog"
	savepoints "millrace/savepoint"
	"millrace/state"
)

// ErrBusy is the error of asking for a savepoint while another one is being
// made.
var ErrBusy = errors.New("a savepoint is being made")

// Progress is how far a savepoint has got.
type Progress string

// The states of a savepoint.
const (
	InProgress Progress = "in_progress"
	Completed  Progress = "completed"
	Failed     Progress = "failed" // it could not be made, or what is stored can not be read
)

// Status is a savepoint, or a copy of a checkpoint, as a server knows it.
type Status struct {
	ID       string
	Kind     savepoints.Kind
	Progress Progress
	Err      error                // why it failed
	Started  time.Time            // of one that this server has made; else zero
	Manifest *savepoints.Manifest // of one that is completed
}

const (
	// keptFailures is how many failed savepoints are remembered.
	keptFailures = 100
	// copyTick is how often it is looked whether there is a new checkpoint.
	copyTick = time.Second
	// copyPause is how many times as long as copying a checkpoint took no other
	// one is copied: copies take at most a tenth of the time.
	copyPause = 9
)

// ServiceOptions are the parts of a server that its savepoints need.
type ServiceOptions struct {
	Program Program
	Store   *savepoints.Store
	Data    string
	// Retained is how many copies of periodic checkpoints the store keeps; 0
	// means that none are made.
	Retained int
	// InMemory says that the server makes its state anew of the log at every
	// start, so that there is nothing to restore.
	InMemory bool
	// Restores outlive the service; nil means that nothing else knows them.
	Restores *Restores
	Engine   *embedded.Engine
	State    state.Backend
	Log      *eventlog.Log
	Logger   *slog.Logger
}

// Service makes savepoints of a running server, and copies its checkpoints.
type Service struct {
	options ServiceOptions
	source  source
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	taking  sync.Mutex // one snapshot at a time
	fetched chan *Restoring

	mutex   sync.Mutex
	current string            // the id of the one that is being made
	made    map[string]Status // in progress, or failed
	deleted uint64            // the block of the last deletion of a user
}

// NewService starts copying checkpoints, if that is asked for, and removes
// from the store what a process that ended has left half done.
func NewService(o ServiceOptions) *Service {
	o.Logger = quiet(o.Logger)
	if o.Restores == nil {
		o.Restores = NewRestores()
	}
	s := &Service{
		options: o, made: map[string]Status{}, fetched: make(chan *Restoring, 1),
		source: source{program: o.Program, state: o.State, log: o.Log, snapshots: filepath.Join(o.Data, snapshotsFolder)},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(func() {
		if _, err := o.Store.Sweep(s.ctx); err != nil {
			o.Logger.Debug("the store of savepoints was not swept", "store", o.Store, "error", err)
		}
		if o.Retained > 0 {
			s.copyCheckpoints()
		}
	})
	return s
}

// Close breaks off what is being made, and fetched. It is called before the
// engine is closed.
func (s *Service) Close() {
	s.mutex.Lock() // so that nothing begins any more
	s.stop()
	s.mutex.Unlock()
	s.running.Wait()
	s.abandon()
}

// idle is an error where something is being made or restored, or the service is
// closed.
func (s *Service) idle() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.idleLocked()
}

// idleLocked is idle for who holds the mutex.
func (s *Service) idleLocked() error {
	if s.ctx.Err() != nil {
		return embedded.ErrClosed
	}
	if s.current != "" {
		return fmt.Errorf("%w: %s", ErrBusy, s.current)
	}
	if id := s.options.Restores.current(); id != "" {
		return fmt.Errorf("%w: %s", ErrRestoring, id)
	}
	return nil
}

// newID is an id that says when it was made.
func newID(kind savepoints.Kind, now time.Time) string {
	return fmt.Sprintf("%s-%s-%s", kind, now.UTC().Format("20060102t150405z"), strings.ToLower(rand.Text()[:6]))
}

// Create begins to make a savepoint of what has been acknowledged up to now. An
// empty name means one of the server's choice. Its errors are ErrBusy, ErrRestoring,
// savepoints.ErrID and savepoints.ErrExists; what goes wrong later is in the
// Status.
func (s *Service) Create(ctx context.Context, name string) (Status, error) {
	name = cmp.Or(name, newID(savepoints.Savepoint, time.Now()))
	// Nothing else is made from here on: one of the same name could be stored
	// after it was looked up.
	s.mutex.Lock()
	err := s.idleLocked()
	if err == nil {
		s.current = name
	}
	s.mutex.Unlock()
	if err != nil {
		return Status{}, err
	}
	err = s.unknown(ctx, name)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err == nil && s.ctx.Err() != nil {
		err = embedded.ErrClosed
	}
	if err != nil {
		s.current = ""
		return Status{}, err
	}
	status := Status{ID: name, Kind: savepoints.Savepoint, Progress: InProgress, Started: time.Now()}
	s.made[name] = status
	s.running.Go(func() { s.make(name) })
	return status, nil
}

// unknown is nil if the store has nothing of a name.
func (s *Service) unknown(ctx context.Context, name string) error {
	_, err := s.options.Store.Describe(ctx, name)
	switch {
	case errors.Is(err, savepoints.ErrNotFound):
		return nil
	case errors.Is(err, savepoints.ErrID):
		return err
	case err == nil || isUnreadable(err):
		return fmt.Errorf("%s: %w", name, savepoints.ErrExists)
	}
	return err
}

// make makes a savepoint, and says what became of it.
func (s *Service) make(id string) {
	began := time.Now()
	err := s.options.Engine.Checkpoint(s.ctx, s.options.Engine.Applied())
	var m *savepoints.Manifest
	if err == nil {
		m, err = s.take(savepoints.Savepoint, id)
	}
	if err == nil {
		s.options.Logger.Info("savepoint made", "id", id, "block", m.Block, "bytes", m.Bytes(), "store", s.options.Store, "took", time.Since(began))
	} else {
		s.options.Logger.Error("savepoint not made", "id", id, "store", s.options.Store, "error", err)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.current = ""
	if err == nil {
		delete(s.made, id) // the store knows it
		return
	}
	failed := s.made[id]
	failed.Progress, failed.Err = Failed, err
	s.made[id] = failed
	s.forgetFailures()
}

// forgetFailures bounds what is remembered.
func (s *Service) forgetFailures() {
	for len(s.made) > keptFailures {
		oldest := ""
		for id, f := range s.made {
			if id != s.current && (oldest == "" || f.Started.Before(s.made[oldest].Started)) {
				oldest = id
			}
		}
		delete(s.made, oldest)
	}
}

func (s *Service) take(kind savepoints.Kind, id string) (*savepoints.Manifest, error) {
	s.taking.Lock()
	defer s.taking.Unlock()
	return s.source.take(s.ctx, s.options.Store, kind, id)
}

// List is what is stored, oldest block first, and then what is being made or
// has failed.
func (s *Service) List(ctx context.Context) ([]Status, error) {
	stored, err := s.options.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Status, len(stored))
	known := map[string]bool{}
	for i, e := range stored {
		list[i] = status(e)
		known[e.ID] = true
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var own []Status
	for id, st := range s.made {
		if !known[id] {
			own = append(own, st)
		}
	}
	slices.SortFunc(own, func(a, b Status) int { return a.Started.Compare(b.Started) })
	return append(list, own...), nil
}

func status(e savepoints.Entry) Status {
	if e.Err != nil {
		return Status{ID: e.ID, Kind: e.Kind, Progress: Failed, Err: e.Err}
	}
	return Status{ID: e.ID, Kind: e.Kind, Progress: Completed, Manifest: e.Manifest}
}

// Get is one of List. The errors are savepoints.ErrID, savepoints.ErrNotFound
// and those of the object store.
func (s *Service) Get(ctx context.Context, id string) (Status, error) {
	s.mutex.Lock()
	own, ok := s.made[id]
	s.mutex.Unlock()
	if ok {
		return own, nil
	}
	m, err := s.options.Store.Describe(ctx, id)
	switch {
	case err == nil:
		return Status{ID: id, Kind: m.Kind, Progress: Completed, Manifest: m}, nil
	case isUnreadable(err):
		return Status{ID: id, Kind: savepoints.Savepoint, Progress: Failed, Err: err}, nil
	}
	return Status{}, err
}

// Dispose removes a savepoint, or forgets one that failed. The errors are
// ErrBusy for one that is being made, ErrRestoring for one that is being
// restored, and those of Get.
func (s *Service) Dispose(ctx context.Context, id string) error {
	if s.options.Restores.current() == id && id != "" {
		return fmt.Errorf("%w: %s", ErrRestoring, id)
	}
	s.mutex.Lock()
	own, ok := s.made[id]
	if ok && own.Progress == Failed {
		delete(s.made, id)
	}
	s.mutex.Unlock()
	if ok && own.Progress == InProgress {
		return fmt.Errorf("%s: %w", id, ErrBusy)
	}
	err := s.options.Store.Dispose(ctx, id)
	if ok && errors.Is(err, savepoints.ErrNotFound) {
		return nil
	}
	return err
}

// UserDeleted says that a block deletes a user: copies of checkpoints from
// before it are removed once there is a later one.
func (s *Service) UserDeleted(block uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.deleted = max(s.deleted, block)
}

// copyCheckpoints copies checkpoints until the service is closed.
func (s *Service) copyCheckpoints() {
	copied, failing := s.newestCopy(), false
	tick := time.NewTicker(copyTick)
	defer tick.Stop()
	var rest time.Time
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		latest, err := s.options.State.Latest()
		if err != nil || latest.Block <= copied || time.Now().Before(rest) {
			continue // a state that can not be read says so elsewhere
		}
		began := time.Now()
		m, err := s.copyOne()
		took := time.Since(began)
		rest = began.Add(took + copyPause*took)
		if m != nil {
			copied = m.Block
		}
		switch {
		case err == nil:
			s.options.Logger.Debug("checkpoint copied", "id", m.ID, "block", m.Block, "took", took)
		case s.ctx.Err() == nil && !failing:
			s.options.Logger.Error("checkpoints are not copied at present", "store", s.options.Store, "error", err)
		}
		failing = err != nil
	}
}

// newestCopy is the block of the newest copy, 0 if there is none or if it is
// not known.
func (s *Service) newestCopy() uint64 {
	list, err := s.options.Store.List(s.ctx)
	if err != nil {
		return 0
	}
	block := uint64(0)
	for _, e := range list {
		if e.Kind == savepoints.Checkpoint && e.Manifest != nil {
			block = max(block, e.Manifest.Block)
		}
	}
	return block
}

// copyOne copies the latest checkpoint and removes copies that are not to be
// kept.
func (s *Service) copyOne() (*savepoints.Manifest, error) {
	m, err := s.take(savepoints.Checkpoint, newID(savepoints.Checkpoint, time.Now()))
	if err != nil {
		return nil, err
	}
	if _, err := s.options.Store.Retain(s.ctx, s.options.Retained); err != nil {
		return m, err
	}
	s.mutex.Lock()
	deleted := s.deleted
	s.mutex.Unlock()
	if deleted == 0 || m.Block < deleted {
		return m, nil
	}
	list, err := s.options.Store.List(s.ctx)
	for _, e := range list {
		if e.Kind == savepoints.Checkpoint && e.Manifest != nil && e.Manifest.Block < deleted {
			err = errors.Join(err, s.options.Store.Dispose(s.ctx, e.ID))
		}
	}
	return m, err
}
