package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
	"millrace/state"
)

const (
	// unfinished is what the name of a file ends in while it is written.
	unfinished = ".tmp"
	// bytesPerSync is how much of a file is written before the operating
	// system is asked to start writing it to the disk, so that the sync at
	// its end is short and does not hold up the syncs of the event log.
	bytesPerSync = 512 << 10
)

// name is that of a file: chk-<sequence number>-<block>.delta or .full.
func (h *header) name() string {
	kind := "delta"
	if h.full {
		kind = "full"
	}
	return fmt.Sprintf("chk-%012d-%d.%s", h.at.seq, h.at.block, kind)
}

// parseName is the header that a name tells: kind, sequence number and block.
func parseName(name string) (header, bool) {
	var h header
	var kind string
	if _, err := fmt.Sscanf(name, "chk-%d-%d.%s", &h.at.seq, &h.at.block, &kind); err != nil {
		return header{}, false
	}
	h.full = kind == "full"
	return h, h.name() == name
}

// IsOurs reports whether a file of a directory, by its name, is one of a
// backend in files.
func IsOurs(name string) bool {
	_, ours := parseName(strings.TrimSuffix(name, unfinished))
	return ours
}

// directory is the files of a backend.
type directory struct {
	fs   vfs.FS
	path string

	mu    sync.Mutex
	sizes map[string]int64 // of all files that are or may be there
}

// open makes the directory if there is none, removes what a crash has left
// unfinished, and makes sure that what is found will also be found after a
// power cut: a file may have been renamed just before a crash.
func (d *directory) open() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	d.sizes = map[string]int64{}
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.manifest") {
			return fmt.Errorf("%w: there is a Pebble database in it, not snapshots in files", state.ErrOtherBackend)
		}
		if whole, ok := strings.CutSuffix(name, unfinished); ok {
			if _, ours := parseName(whole); ours {
				if err := d.fs.Remove(d.fs.PathJoin(d.path, name)); err != nil {
					return fmt.Errorf("remove an unfinished file: %w", err)
				}
			}
			continue
		}
		if _, ok := parseName(name); ok {
			info, err := d.fs.Stat(d.fs.PathJoin(d.path, name))
			if err != nil {
				return err
			}
			d.sizes[name] = info.Size()
		}
	}
	return durable.SyncDir(d.fs, d.path)
}

// read opens a file; the reader has not read anything.
func (d *directory) read(name string, buffer int) (*reader, io.Closer, error) {
	f, err := d.fs.Open(d.fs.PathJoin(d.path, name), vfs.SequentialReadsOption)
	if err != nil {
		return nil, nil, err
	}
	return &reader{name: name, from: bufio.NewReaderSize(f, buffer), size: d.size(name)}, f, nil
}

func (d *directory) size(name string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sizes[name]
}

// total is the size of all files.
func (d *directory) total() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n int64
	for _, size := range d.sizes {
		n += size
	}
	return n
}

// write makes a file that is there, whole, when write returns, or not at all:
// it is written under another name, synced, renamed, and the directory is
// synced. It returns the file's name.
func (d *directory) write(h *header, fill func(*writer) error) (string, error) {
	name := h.name()
	path := d.fs.PathJoin(d.path, name)
	size, err := d.writeUnfinished(path+unfinished, h, fill)
	if err == nil {
		d.set(name, size)
		err = d.fs.Rename(path+unfinished, path)
		if err == nil {
			if err = durable.SyncDir(d.fs, d.path); err == nil {
				return name, nil
			}
			_ = d.remove(name) // or else it is removed with the obsolete ones
		} else {
			d.unset(name)
		}
	}
	_ = d.fs.Remove(path + unfinished) // or else it is removed when the directory is opened
	return "", fmt.Errorf("write %s: %w", name, err)
}

func (d *directory) writeUnfinished(path string, h *header, fill func(*writer) error) (int64, error) {
	f, err := d.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: bytesPerSync})
	w := &writer{to: f}
	err = w.begin(h)
	if err == nil {
		err = fill(w)
	}
	if err == nil {
		err = w.end()
	}
	if err == nil {
		err = f.Sync()
	}
	return w.bytes, errors.Join(err, f.Close())
}

func (d *directory) set(name string, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sizes[name] = size
}

func (d *directory) unset(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sizes, name)
}

func (d *directory) remove(name string) error {
	err := d.fs.Remove(d.fs.PathJoin(d.path, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.unset(name)
	return nil
}

// removeAllBut removes every file that is not to be kept, and syncs.
func (d *directory) removeAllBut(keep map[string]bool) error {
	d.mu.Lock()
	var names []string
	for name := range d.sizes {
		if !keep[name] {
			names = append(names, name)
		}
	}
	d.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	var err error
	for _, name := range names {
		err = errors.Join(err, d.remove(name))
	}
	return errors.Join(err, durable.SyncDir(d.fs, d.path))
}

// lockDir takes the directory for this backend, with the same file as a
// Pebble database. When the lock is held the file systems return bare errors,
// such as EAGAIN; when the lock's file cannot be made it is an error about a
// path.
func lockDir(fsys vfs.FS, dir string) (io.Closer, error) {
	lock, err := fsys.Lock(fsys.PathJoin(dir, "LOCK"))
	var path *fs.PathError
	if err != nil && !errors.As(err, &path) {
		return nil, fmt.Errorf("%w: %w", state.ErrInUse, err)
	}
	return lock, err
}
