// Package savepoint keeps the state of checkpoints in an object store: named,
// described, checksummed, and portable to another machine, another number of
// shards and a later release. README.md says what is stored how.
package savepoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/objectstore"
	"millrace/state"
)

// The errors of a Store, besides those of package objectstore, state.ErrCorrupt
// for what is damaged and state.ErrNewer for what a later release has written.
var (
	// ErrNotFound is the error of an id that nothing is stored under.
	ErrNotFound = errors.New("there is no such savepoint")
	// ErrExists is the error of creating under an id that is taken.
	ErrExists = errors.New("there is a savepoint of that name already")
	// ErrID is the error of a text that can not be an id.
	ErrID = errors.New("not a name of a savepoint")
	// ErrNone is the error of FetchNewest when nothing can be fetched.
	ErrNone = errors.New("there is no checkpoint or savepoint that can be used")
)

// manifestFolders are where the manifests are. The folder says the kind, so
// that it is known also of a manifest that can not be read.
var manifestFolders = map[Kind]string{Savepoint: "savepoints/", Checkpoint: "checkpoints/"}

const (
	manifestEnd  = ".json"
	sharedFolder = "shared/"
)

// maxManifestBytes bounds what is read as a manifest: a million files.
const maxManifestBytes = 256 << 20

// Store keeps savepoints and checkpoints in an object store. Its methods may be
// called at the same time, also by other processes on the same object store.
type Store struct {
	objects objectstore.Store
	now     func() time.Time

	mutex  sync.Mutex
	hashes map[fileIdentity]string // of the tables of the last snapshot
}

// New uses an object store.
func New(objects objectstore.Store) *Store { return &Store{objects: objects, now: time.Now} }

// String is the address of the object store.
func (s *Store) String() string { return s.objects.String() }

var idForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// CheckID returns ErrID unless a text can be an id.
func CheckID(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("%w: %.100q: want 1 to 64 of a-z, 0-9 and . _ -, with a letter or digit at both ends", ErrID, id)
	}
	return nil
}

func manifestKey(kind Kind, id string) string { return manifestFolders[kind] + id + manifestEnd }

// Entry is one of a listing.
type Entry struct {
	ID       string
	Kind     Kind
	Manifest *Manifest // nil if it can not be read
	Err      error     // why not: state.ErrCorrupt, state.ErrNewer
}

// List is everything that is stored, oldest block first; what can not be read
// comes before.
func (s *Store) List(ctx context.Context) ([]Entry, error) {
	var list []Entry
	for _, kind := range []Kind{Savepoint, Checkpoint} {
		some, err := s.listKind(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("list savepoints: %w", err)
		}
		list = append(list, some...)
	}
	sortEntries(list)
	return list, nil
}

func (s *Store) listKind(ctx context.Context, kind Kind) ([]Entry, error) {
	objects, err := s.objects.List(ctx, manifestFolders[kind])
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, o := range objects {
		id, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, manifestFolders[kind]), manifestEnd)
		if !ok || CheckID(id) != nil {
			continue // somebody else's
		}
		m, err := s.read(ctx, kind, id)
		if errors.Is(err, objectstore.ErrNotFound) {
			continue // it was disposed of meanwhile
		}
		if err != nil && !unreadable(err) {
			return nil, err
		}
		list = append(list, Entry{ID: id, Kind: kind, Manifest: m, Err: err})
	}
	sortEntries(list)
	return list, nil
}

func unreadable(err error) bool {
	return errors.Is(err, state.ErrCorrupt) || errors.Is(err, state.ErrNewer)
}

// sortEntries puts the newest at the end.
func sortEntries(list []Entry) {
	slices.SortStableFunc(list, func(a, b Entry) int {
		if a.Manifest == nil || b.Manifest == nil {
			return cmp.Compare(len(a.readable()), len(b.readable()))
		}
		return cmp.Or(cmp.Compare(a.Manifest.Block, b.Manifest.Block), a.Manifest.Created.Compare(b.Manifest.Created))
	})
}

// readable is the manifest in a list, or an empty one.
func (e Entry) readable() []*Manifest {
	if e.Manifest == nil {
		return nil
	}
	return []*Manifest{e.Manifest}
}

// read reads a manifest.
func (s *Store) read(ctx context.Context, kind Kind, id string) (*Manifest, error) {
	r, err := s.objects.Get(ctx, manifestKey(kind, id))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxManifestBytes))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return decode(data, kind, id)
}

// Describe is the manifest of an id. Its errors are ErrID, ErrNotFound,
// state.ErrCorrupt and state.ErrNewer.
func (s *Store) Describe(ctx context.Context, id string) (*Manifest, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	for _, kind := range []Kind{Savepoint, Checkpoint} {
		m, err := s.read(ctx, kind, id)
		if errors.Is(err, objectstore.ErrNotFound) {
			continue
		}
		return m, err
	}
	return nil, fmt.Errorf("%s in %s: %w", id, s, ErrNotFound)
}

// Dispose removes a savepoint or checkpoint, also one that is damaged, and the
// files that no other one needs. Its errors are ErrID and ErrNotFound, or
// those of the object store, after which what is left is removed by the next
// Sweep.
func (s *Store) Dispose(ctx context.Context, id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	found := false
	for kind := range manifestFolders {
		_, err := s.objects.Stat(ctx, manifestKey(kind, id))
		if errors.Is(err, objectstore.ErrNotFound) {
			continue
		}
		if err == nil {
			found = true
			err = s.objects.Delete(ctx, manifestKey(kind, id))
		}
		if err != nil {
			return fmt.Errorf("dispose of %s: %w", id, err)
		}
	}
	if !found {
		return fmt.Errorf("%s in %s: %w", id, s, ErrNotFound)
	}
	return s.sweepAfter(ctx)
}

// Retain removes all checkpoints but the newest n that can be read, and the
// files that nobody needs any more; savepoints stay. It returns the ids that it
// removed. Checkpoints of a later release are left alone.
func (s *Store) Retain(ctx context.Context, n int) (removed []string, err error) {
	list, err := s.listKind(ctx, Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("retain %d checkpoints: %w", n, err)
	}
	kept := 0
	for _, e := range slices.Backward(list) {
		if e.Err == nil && kept < n {
			kept++
			continue
		}
		if errors.Is(e.Err, state.ErrNewer) {
			continue
		}
		if err := s.objects.Delete(ctx, manifestKey(Checkpoint, e.ID)); err != nil {
			return removed, fmt.Errorf("retain %d checkpoints: %w", n, err)
		}
		removed = append(removed, e.ID)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, s.sweepAfter(ctx)
}

// sweepAfter is Sweep for who has removed a manifest: others may be at work,
// and there may be manifests that can not be read. Then a later sweep does it.
func (s *Store) sweepAfter(ctx context.Context) error {
	_, err := s.Sweep(ctx)
	if errors.Is(err, errBusy) || unreadable(err) {
		return nil
	}
	return err
}

// Sweep removes the files that no manifest names: of what was disposed of, and
// of what was not completed. It removes nothing, and says why, while somebody
// creates, and where a manifest can not be read, as it might name them.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	held, l, err := s.acquire(ctx, sweepLock)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	defer func() { err = errors.Join(err, l.release(ctx)) }()
	list, err := s.List(held)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	needed := map[string]bool{}
	for _, e := range list {
		if e.Err != nil {
			return 0, fmt.Errorf("sweep: nothing is removed as long as %s can not be read: %w", e.ID, e.Err)
		}
		for _, f := range e.Manifest.Files {
			needed[f.key()] = true
		}
	}
	files, err := s.objects.List(held, sharedFolder)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	for _, o := range files {
		if needed[o.Key] {
			continue
		}
		if err := held.Err(); err != nil {
			return removed, fmt.Errorf("sweep: %w", context.Cause(held))
		}
		if err := s.objects.Delete(held, o.Key); err != nil {
			return removed, fmt.Errorf("sweep: %w", err)
		}
		removed++
	}
	return removed, nil
}
