// Package directory keeps objects as files of a directory, a disk of this
// machine or one that is mounted.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
	"millrace/objectstore"
)

const (
	// incoming is the folder of objects that are being put. No part of a key
	// begins with a dot, so none collides with it.
	incoming = ".incoming"
	// leftoverAge is when a file that nobody has written to was left over by a
	// process that ended.
	leftoverAge = time.Hour
)

// Store is an objectstore.Store in a directory.
type Store struct{ root string }

// Open uses a directory, which is made by the first Put.
func Open(root string) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", objectstore.ErrURL, root, err)
	}
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is a file, want a directory", objectstore.ErrURL, root)
	}
	return &Store{root: abs}, nil
}

// String is the path of the directory.
func (s *Store) String() string { return s.root }

func (s *Store) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// Put implements objectstore.Store: the file is written under another name,
// synced and renamed, and the directory is synced.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	if err := s.put(ctx, key, r, size); err != nil {
		return failed("put", key, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	dir := filepath.Dir(s.path(key))
	if err := errors.Join(durable.MakeDir(vfs.Default, dir), durable.MakeDir(vfs.Default, filepath.Join(s.root, incoming))); err != nil {
		return err
	}
	if err := s.clear(); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(s.root, incoming), "*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the next Put after an hour does it
		}
	}()
	_, err = io.Copy(f, &contextReader{ctx, &objectstore.ExactReader{R: r, Left: size}})
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.path(key)); err != nil {
		return err
	}
	return durable.SyncDir(vfs.Default, dir)
}

// clear removes what Puts that were cut off have left.
func (s *Store) clear() error {
	entries, err := os.ReadDir(filepath.Join(s.root, incoming))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > leftoverAge {
			err = os.Remove(filepath.Join(s.root, incoming, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process has renamed or removed it
			return err
		}
	}
	return nil
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, failed("get", key, err)
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return nil, failed("get", key, errors.Join(err, f.Close(), fs.ErrNotExist))
	}
	return &object{contextReader{ctx, f}, f}, nil
}

// Stat implements objectstore.Store.
func (s *Store) Stat(_ context.Context, key string) (objectstore.Object, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return objectstore.Object{}, err
	}
	info, err := os.Stat(s.path(key))
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return objectstore.Object{}, failed("stat", key, err)
	}
	return objectstore.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List implements objectstore.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	if err := objectstore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var list []objectstore.Object
	err := filepath.WalkDir(filepath.Join(s.root, filepath.FromSlash(prefix)), func(path string, d fs.DirEntry, err error) error {
		hidden := err == nil && strings.HasPrefix(d.Name(), ".") && path != s.root
		switch {
		case errors.Is(err, fs.ErrNotExist): // of the folder, or of what was removed meanwhile
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir() || hidden:
			return nil
		}
		key, err := filepath.Rel(s.root, path)
		if err != nil {
			return err
		}
		if key = filepath.ToSlash(key); !isKey(key) || !strings.HasPrefix(key, prefix) {
			return nil // somebody else's, or a file where there would be a folder
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, objectstore.Object{Key: key, Size: info.Size(), Modified: info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, failed("list", prefix, err)
	}
	slices.SortFunc(list, func(a, b objectstore.Object) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

func isKey(name string) bool { return objectstore.CheckKey(name) == nil }

// Delete implements objectstore.Store. Folders that become empty stay.
func (s *Store) Delete(_ context.Context, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	err := os.Remove(s.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(vfs.Default, filepath.Dir(s.path(key)))
	}
	if err != nil {
		return failed("delete", key, err)
	}
	return nil
}

// failed says what failed with which object, as one of the errors of package
// objectstore.
func failed(doing, key string, err error) error {
	kind := objectstore.ErrUnavailable
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objectstore.ErrSize):
		return fmt.Errorf("%s %s: %w", doing, key, err)
	case doing != "put" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		kind = objectstore.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		kind = objectstore.ErrDenied
	}
	return fmt.Errorf("%s %s: %w: %w", doing, key, kind, err)
}

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// object is an object that is open.
type object struct {
	contextReader
	io.Closer
}
