package eventlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
)

// storeFS is a file system as Pebble is to see it, for one opening of the
// database.
//
// While the log is open no error of writing reaches Pebble: some it meets with
// a panic that cannot be recovered from, which would end the process because a
// disk is full, some it meets by trying again at once and for ever, and after
// some it can not be closed any more. The error goes to health, which lets the
// callers go and refuses all further writes, and the goroutine of Pebble that
// met it waits until the file system is fenced off. What is stored can still
// be read.
//
// Once it is fenced off nothing that this Pebble does reaches the disk: its
// changes are made in memory, where only it sees them, so that it can be
// closed while another one has the directory already.
type storeFS struct {
	vfs.FS
	health *health
	lock   *dirLock
	open   atomic.Bool // between Open and Close

	gate   sync.RWMutex // read-held while the disk is being changed
	fenced chan struct{}
	memory *vfs.MemFS // takes the changes once fenced is closed
}

func newStoreFS(below vfs.FS, h *health, lock *dirLock) *storeFS {
	return &storeFS{FS: below, health: h, lock: lock, fenced: make(chan struct{}), memory: vfs.NewMem()}
}

// fenceOff returns when changes that were under way are done; none follows.
func (s *storeFS) fenceOff() {
	s.gate.Lock()
	defer s.gate.Unlock()
	if !s.isFenced() {
		close(s.fenced)
	}
}

func (s *storeFS) isFenced() bool {
	select {
	case <-s.fenced:
		return true
	default:
		return false
	}
}

// change makes a change of the disk, or of the memory that stands for it.
func (s *storeFS) change(disk, memory func() error) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.isFenced() {
		return memory()
	}
	return disk()
}

// meet is called with the error of a change. It is nil if Pebble is to believe
// that the change was made.
func (s *storeFS) meet(err error) error {
	if err == nil || !s.open.Load() {
		return err
	}
	s.health.fail(err)
	<-s.fenced
	return nil
}

// dirLock is the lock of the log's directory, which outlives the openings of
// the database.
type dirLock struct {
	mu   sync.Mutex
	held io.Closer
}

// release lets go of the directory.
func (d *dirLock) release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held == nil {
		return nil
	}
	held := d.held
	d.held = nil
	return held.Close()
}

// noClose is what Pebble closes when it lets go of the directory.
type noClose struct{}

// Close does nothing: the lock is kept for the next store.
func (noClose) Close() error { return nil }

// Lock takes the directory for the log, if it has not got it. It tells a
// directory in use from one that cannot be written.
func (s *storeFS) Lock(name string) (io.Closer, error) {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.held != nil {
		return noClose{}, nil
	}
	c, err := s.FS.Lock(name)
	var pathErr *fs.PathError
	if err != nil && !errors.As(err, &pathErr) {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return nil, err
	}
	s.lock.held = c
	return noClose{}, nil
}

// Create creates a file. Before one of the markers that name Pebble's current
// files it syncs the directory: else a power cut could leave the marker and
// not the file that it names (cockroachdb/pebble issue 5825, open in v2.1.7).
func (s *storeFS) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = s.change(func() error {
		if strings.HasPrefix(s.PathBase(name), "marker.") {
			if err := s.syncDir(s.PathDir(name)); err != nil {
				return err
			}
		}
		below, err := s.FS.Create(name, category)
		f = storeFile{below, s}
		return err
	}, func() error { return s.create(name, &f) })
	if err != nil {
		if err = s.meet(err); err == nil {
			err = s.create(name, &f)
		}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// create creates a file in memory.
func (s *storeFS) create(name string, f *vfs.File) (err error) {
	if err := s.memory.MkdirAll(s.memory.PathDir(name), 0o755); err != nil {
		return err
	}
	*f, err = s.memory.Create(name, vfs.WriteCategoryUnspecified)
	return err
}

func (s *storeFS) syncDir(dir string) error {
	return durable.SyncDir(s.FS, dir)
}

// Open opens a file for reading.
func (s *storeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if s.isFenced() {
		if f, err := s.memory.Open(name, opts...); err == nil {
			return f, nil
		}
	}
	return s.FS.Open(name, opts...)
}

// OpenDir opens a folder to sync it.
func (s *storeFS) OpenDir(name string) (vfs.File, error) {
	d, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return storeFile{d, s}, nil
}

// OpenReadWrite is not used by Pebble for what a log does.
func (s *storeFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, &fs.PathError{Op: "open for reading and writing", Path: name, Err: errors.ErrUnsupported}
}

// ReuseForWrite makes a new file instead of overwriting an old write-ahead
// log from the start, which would leave the events at its end, perhaps those
// of a deleted user, on disk for as long as it is reused.
func (s *storeFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.meet(s.Remove(oldname)); err != nil {
		return nil, err
	}
	return s.Create(newname, category)
}

// Link makes another name for a file.
func (s *storeFS) Link(oldname, newname string) error {
	return s.change(func() error { return s.FS.Link(oldname, newname) }, nothing)
}

// Remove removes a file.
func (s *storeFS) Remove(name string) error {
	return s.change(func() error { return s.FS.Remove(name) }, nothing)
}

// RemoveAll removes a folder.
func (s *storeFS) RemoveAll(name string) error {
	return s.change(func() error { return s.FS.RemoveAll(name) }, nothing)
}

// Rename renames a file.
func (s *storeFS) Rename(oldname, newname string) error {
	return s.change(func() error { return s.FS.Rename(oldname, newname) },
		func() error { return s.memory.Rename(oldname, newname) })
}

// MkdirAll makes a folder.
func (s *storeFS) MkdirAll(dir string, perm fs.FileMode) error {
	return s.change(func() error { return s.FS.MkdirAll(dir, perm) }, nothing)
}

func nothing() error { return nil }

// Unwrap gives the file system below.
func (s *storeFS) Unwrap() vfs.FS { return s.FS }

// storeFile is a file that was made by a storeFS, or a folder. Once that is
// fenced off nothing reaches the file, as it may be on disk.
type storeFile struct {
	vfs.File
	fs *storeFS
}

// change makes a change of the file.
func (f storeFile) change(fn func() error) error { return f.fs.meet(f.fs.change(fn, nothing)) }

// Write writes at the end.
func (f storeFile) Write(p []byte) (n int, err error) {
	err = f.change(func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

// WriteAt is for files that were opened with OpenReadWrite.
func (f storeFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// Preallocate asks for space, which Pebble can do without.
func (f storeFile) Preallocate(offset, length int64) error {
	return f.fs.change(func() error { return f.File.Preallocate(offset, length) }, nothing)
}

// Sync makes content and length durable.
func (f storeFile) Sync() error { return f.change(f.File.Sync) }

// SyncData makes the content durable.
func (f storeFile) SyncData() error { return f.change(f.File.SyncData) }

// SyncTo makes at least the first length bytes durable, or begins to.
func (f storeFile) SyncTo(length int64) (fullSync bool, err error) {
	err = f.change(func() (err error) {
		fullSync, err = f.File.SyncTo(length)
		return err
	})
	return fullSync, err
}

// Close closes the file.
func (f storeFile) Close() error { return f.fs.meet(f.File.Close()) }
