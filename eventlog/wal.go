package eventlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeFS is a file system as Pebble is to see it. While the log is open no
// error of a write-ahead log reaches Pebble: some it meets with a panic that
// cannot be recovered from, which would end the process because a disk is
// full. The error goes to health, which lets the callers go and refuses all
// further writes, and the goroutine of Pebble that met it waits for ever. What
// is stored can still be read.
type storeFS struct {
	vfs.FS
	health  *health
	open    atomic.Bool  // between Open and Close
	waiting atomic.Int64 // goroutines of Pebble that met an error
}

// walError is called with the error of an operation on a write-ahead log.
func (s *storeFS) walError(err error) error {
	if err == nil {
		return nil
	}
	s.waiting.Add(1)
	if s.open.Load() {
		s.health.fail(fmt.Errorf("writing the write-ahead log: %w", err))
		select {}
	}
	s.waiting.Add(-1)
	return err
}

// close passes errors on from here on, and is false if it is too late for
// that: Pebble would wait for its waiting goroutines.
func (s *storeFS) close() bool {
	s.open.Store(false)
	return s.waiting.Load() == 0
}

func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

// Lock tells a directory in use from one that cannot be written.
func (s *storeFS) Lock(name string) (io.Closer, error) {
	c, err := s.FS.Lock(name)
	var pathErr *fs.PathError
	if err != nil && !errors.As(err, &pathErr) {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return c, err
}

// Create creates a file. Before one of the markers that name Pebble's current
// files it syncs the directory: else a power cut could leave the marker and
// not the file that it names (cockroachdb/pebble issue 5825, open in v2.1.7).
func (s *storeFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(s.PathBase(name), "marker.") {
		if err := s.syncDir(s.PathDir(name)); err != nil {
			return nil, err
		}
	}
	f, err := s.FS.Create(name, category)
	if !isWAL(name) {
		return f, err
	}
	if err := s.walError(err); err != nil {
		return nil, err
	}
	return walFile{f, s}, nil
}

func (s *storeFS) syncDir(dir string) error {
	d, err := s.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReuseForWrite makes a new file instead of overwriting an old write-ahead
// log from the start, which would leave the events at its end, perhaps those
// of a deleted user, on disk for as long as it is reused.
func (s *storeFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.Remove(oldname); err != nil {
		return nil, s.walError(err)
	}
	return s.Create(newname, category)
}

// Unwrap gives the file system below.
func (s *storeFS) Unwrap() vfs.FS { return s.FS }

// walFile is a write-ahead log whose errors go through walError.
type walFile struct {
	vfs.File
	fs *storeFS
}

// Write writes at the end.
func (f walFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.walError(err)
}

// Sync makes content and length durable.
func (f walFile) Sync() error { return f.fs.walError(f.File.Sync()) }

// SyncData makes the content durable.
func (f walFile) SyncData() error { return f.fs.walError(f.File.SyncData()) }

// SyncTo makes at least the first length bytes durable, or begins to.
func (f walFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	return fullSync, f.fs.walError(err)
}

// Close closes the file.
func (f walFile) Close() error { return f.fs.walError(f.File.Close()) }
