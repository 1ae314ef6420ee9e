package savepoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
	"millrace/objectstore"
	"millrace/state"
)

// Fetch writes the files of an id into a directory that must not be there yet,
// and verifies every checksum. Everything is synced when it returns. A file that
// is damaged or missing is state.ErrCorrupt with its name; after any error the
// directory is not there. The other errors are those of Describe and of the
// object store.
func (s *Store) Fetch(ctx context.Context, id, dir string) (*Manifest, error) {
	m, err := s.Describe(ctx, id)
	if err != nil {
		return nil, err
	}
	return m, s.fetch(ctx, m, dir)
}

func (s *Store) fetch(ctx context.Context, m *Manifest, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("fetch %s: %w", m.ID, err)
	}
	err := s.each(ctx, m, func(f File) (io.WriteCloser, error) {
		return createSynced(filepath.Join(dir, f.Name))
	})
	if err == nil {
		err = errors.Join(durable.SyncDir(vfs.Default, dir), durable.SyncDir(vfs.Default, filepath.Dir(dir)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fetch %w", err), os.RemoveAll(dir))
	}
	return nil
}

// Verify reads all files of an id and verifies every checksum. The errors are
// those of Fetch.
func (s *Store) Verify(ctx context.Context, id string) (*Manifest, error) {
	m, err := s.Describe(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.each(ctx, m, func(File) (io.WriteCloser, error) { return nowhere{}, nil }); err != nil {
		return m, fmt.Errorf("verify %w", err)
	}
	return m, nil
}

// each reads the files of a manifest, some at a time.
func (s *Store) each(ctx context.Context, m *Manifest, open func(File) (io.WriteCloser, error)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for _, f := range m.Files {
		group.Go(func() error {
			w, err := open(f)
			if err != nil {
				return fmt.Errorf("%s: file %s: %w", m.ID, f.Name, err)
			}
			return errors.Join(s.download(ctx, m, f, w), w.Close())
		})
	}
	return group.Wait()
}

// download copies the content of a file and verifies it.
func (s *Store) download(ctx context.Context, m *Manifest, f File, w io.Writer) error {
	h := sha256.New()
	if f.Size > 0 {
		r, err := s.objects.Get(ctx, f.key())
		if errors.Is(err, objectstore.ErrNotFound) {
			return damagedFile(m, f, errors.New("it is missing"))
		}
		if err != nil {
			return fmt.Errorf("%s: file %s: %w", m.ID, f.Name, err)
		}
		_, err = io.Copy(io.MultiWriter(w, h), &cancellable{ctx, &objectstore.ExactReader{R: r, Left: f.Size}})
		err = errors.Join(err, r.Close())
		if errors.Is(err, objectstore.ErrSize) {
			return damagedFile(m, f, err)
		}
		if err != nil {
			return fmt.Errorf("%s: file %s: %w", m.ID, f.Name, err)
		}
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.SHA256 {
		return damagedFile(m, f, fmt.Errorf("its checksum is %s", sum))
	}
	return nil
}

// Skipped is what FetchNewest did not take.
type Skipped struct {
	ID  string
	Err error // why
}

// FetchNewest fetches the newest savepoint or checkpoint that is whole and that
// accept, if it is not nil, has nothing against; the one before where one is
// damaged, and so on. It says which it skipped, those first whose manifest can
// not be read, then newest first. ErrNone says that
// none is left; an error of the object store ends it.
func (s *Store) FetchNewest(ctx context.Context, dir string, accept func(*Manifest) error) (*Manifest, []Skipped, error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	var skipped []Skipped
	for _, e := range list { // of what can not be read nobody knows how new it is
		if e.Err != nil {
			skipped = append(skipped, Skipped{e.ID, e.Err})
		}
	}
	for _, e := range slices.Backward(list) {
		if e.Err != nil {
			continue
		}
		var err error
		if accept != nil {
			err = accept(e.Manifest)
		}
		if err != nil {
			skipped = append(skipped, Skipped{e.ID, err})
			continue
		}
		err = s.fetch(ctx, e.Manifest, dir)
		if err == nil {
			return e.Manifest, skipped, nil
		}
		if !errors.Is(err, state.ErrCorrupt) {
			return nil, skipped, err
		}
		skipped = append(skipped, Skipped{e.ID, err})
	}
	return nil, skipped, fmt.Errorf("%w in %s", ErrNone, s)
}

// syncedFile is a new file that is synced when it is closed.
type syncedFile struct{ *os.File }

func createSynced(path string) (syncedFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	return syncedFile{f}, err
}

// Close implements io.Closer.
func (f syncedFile) Close() error { return errors.Join(f.Sync(), f.File.Close()) }

// nowhere is where Verify writes to.
type nowhere struct{}

// Write implements io.Writer.
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Close implements io.Closer.
func (nowhere) Close() error { return nil }
