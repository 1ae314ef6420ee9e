package savepoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"millrace/objectstore"
	"millrace/state"
)

// transfers is how many files are on their way at a time.
const transfers = 4

// lockFile is the file of a state directory that says nothing of the state.
const lockFile = "LOCK"

// key is where the content of a file is stored.
func (f File) key() string { return sharedFolder + f.SHA256[:2] + "/" + f.SHA256 }

// fileIdentity knows a table again in the next snapshot, which has another hard
// link to it. Tables are never written to once they have a name.
type fileIdentity struct {
	name     string
	size     int64
	modified int64
}

// Create stores the files of a directory under an id: a snapshot of a state
// backend, to which nobody writes. Files that are stored already are not stored
// again, and the manifest is written last, so that after a crash there is all of
// it, or files that the next Sweep removes. Its errors are ErrID, ErrExists and
// those of the object store.
func (s *Store) Create(ctx context.Context, kind Kind, id, dir string, c Contents) (m *Manifest, err error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	held, l, err := s.acquire(ctx, createLock)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, l.release(ctx)) }()
	m = &Manifest{ID: id, Kind: kind, Contents: c}
	if err := s.create(held, m, dir); err != nil {
		if held.Err() != nil {
			err = context.Cause(held)
		}
		return nil, fmt.Errorf("create %s: %w", id, err)
	}
	return m, nil
}

func (s *Store) create(ctx context.Context, m *Manifest, dir string) error {
	for kind := range manifestFolders {
		_, err := s.objects.Stat(ctx, manifestKey(kind, m.ID))
		if err == nil {
			return ErrExists
		}
		if !errors.Is(err, objectstore.ErrNotFound) {
			return err
		}
	}
	var err error
	if m.Files, err = s.hash(ctx, dir); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	stored := map[string]bool{}
	for _, f := range m.Files {
		if f.Size > 0 && !stored[f.key()] { // of what is empty the manifest says all
			stored[f.key()] = true
			group.Go(func() error { return s.upload(groupCtx, dir, f) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m.Created = s.now().UTC()
	data, err := m.encode()
	if err != nil {
		return err
	}
	return s.objects.Put(ctx, manifestKey(m.Kind, m.ID), bytes.NewReader(data), int64(len(data)))
}

// upload stores a file unless its content is stored.
func (s *Store) upload(ctx context.Context, dir string, f File) error {
	info, err := s.objects.Stat(ctx, f.key())
	if err == nil && info.Size == f.Size {
		return nil
	}
	if err != nil && !errors.Is(err, objectstore.ErrNotFound) {
		return err
	}
	file, err := os.Open(filepath.Join(dir, f.Name))
	if err != nil {
		return err
	}
	defer file.Close()
	return s.objects.Put(ctx, f.key(), file, f.Size)
}

// hash lists the files of a directory. The checksums of tables that the last
// snapshot had too are known.
func (s *Store) hash(ctx context.Context, dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	known := s.hashes
	s.mutex.Unlock()
	hashes := map[fileIdentity]string{}
	var list []File
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a file", filepath.Join(dir, e.Name()))
		}
		identity := fileIdentity{e.Name(), info.Size(), info.ModTime().UnixNano()}
		f := File{Name: e.Name(), Size: info.Size(), SHA256: known[identity]}
		if f.SHA256 == "" {
			if f.SHA256, err = hashFile(ctx, filepath.Join(dir, e.Name()), f.Size); err != nil {
				return nil, err
			}
		}
		if strings.HasSuffix(f.Name, ".sst") {
			hashes[identity] = f.SHA256
		}
		if err := f.check(); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	s.mutex.Lock()
	s.hashes = hashes
	s.mutex.Unlock()
	return list, nil
}

func hashFile(ctx context.Context, path string, size int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &cancellable{ctx, &objectstore.ExactReader{R: file, Left: size}}); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// cancellable reads until ctx ends.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// damagedFile is the error of a stored file that is not what its manifest says.
func damagedFile(m *Manifest, f File, why error) error {
	return fmt.Errorf("%s: file %s (%s): %w: %w", m.ID, f.Name, f.key(), state.ErrCorrupt, why)
}
