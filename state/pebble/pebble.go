// Package pebble keeps checkpoints in a Pebble database of its own directory.
package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"millrace/internal/durable"
	"millrace/state"
)

// Options are a Backend's; the zero value is good.
type Options struct {
	FS     vfs.FS       // where the directory is; nil = the operating system's
	Cache  int64        // bytes of memory for blocks that were read; 0 = 8 MiB
	Logger *slog.Logger // for what goes wrong in the background; nil = nowhere
	// ReadOnly opens a directory that must be there, and changes nothing in it
	// but the file of its lock. Commit, Drop and Compact fail.
	ReadOnly bool
}

// Backend is a state.Backend on disk. Commits are tables written beside the
// database and taken into it in one step; nothing goes through a write-ahead
// log. See the README for why.
type Backend struct {
	dir  string
	fs   vfs.FS
	lock *pebble.Lock // held from Open to Close
	opts *pebble.Options

	tableBytes uint64 // a commit's table is closed when it is this large

	mu     sync.RWMutex // held to replace db, read-held to use it
	db     *pebble.DB   // nil once closed
	commit sync.Mutex   // held to change what is stored; taken before mu
	latest *state.Checkpoint
	tables int // how many table files have been written, to name them
}

// Open opens the database in a directory, which it makes if there is none.
// Errors: state.ErrInUse, state.ErrCorrupt, state.ErrNewer.
func Open(dir string, o Options) (*Backend, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	b := &Backend{dir: dir, fs: orderedFS{o.FS}, tableBytes: 32 << 20}
	b.opts = databaseOptions(b.fs, o)
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("open state in %s: %w", dir, err)
	}
	return b, nil
}

func (b *Backend) open() (err error) {
	if b.opts.ReadOnly {
		if _, err := b.fs.Stat(b.dir); err != nil {
			return err
		}
	} else if err := durable.MakeDir(b.fs, b.dir); err != nil {
		return err
	}
	if b.lock, err = lockDir(b.dir, b.fs); err != nil {
		return err
	}
	b.opts.Lock = b.lock
	defer func() {
		if err != nil {
			if b.db != nil {
				err = errors.Join(err, b.db.Close())
			}
			err = errors.Join(err, b.lock.Close())
		}
	}()
	if err := b.openDatabase(); err != nil {
		return err
	}
	if !b.opts.ReadOnly {
		if err := b.clearIncoming(); err != nil {
			return err
		}
	}
	b.latest, err = readLatest(b.db)
	if errors.Is(err, state.ErrNone) {
		return nil
	}
	return err
}

// openDatabase opens the database of a locked directory.
func (b *Backend) openDatabase() error {
	if err := checkOwner(b.fs, b.dir); err != nil {
		return err
	}
	if err := checkFormat(b.fs, b.dir); err != nil {
		return err
	}
	if err := checkManifest(b.fs, b.dir); err != nil {
		return err
	}
	db, err := pebble.Open(b.dir, b.opts)
	if err != nil {
		if fromSystem(err) {
			return err
		}
		return fmt.Errorf("%w: %w", state.ErrCorrupt, err) // files that do not fit together
	}
	b.db = db
	return nil
}

func databaseOptions(fs vfs.FS, o Options) *pebble.Options {
	opts := &pebble.Options{
		FS:        fs,
		CacheSize: o.Cache,
		ReadOnly:  o.ReadOnly,
		Logger:    logger{o.Logger},
		EventListener: &pebble.EventListener{
			DataCorruption:  logger{o.Logger}.dataCorruption,
			BackgroundError: logger{o.Logger}.backgroundError,
		},
		// The table format of this version has checksums in the footer too.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		// Nothing is ever written to the memtable.
		DisableWAL:   true,
		MemTableSize: 256 << 10,
		// Small, because a manifest keeps the first and last key of every
		// table that it has seen.
		MaxManifestFileSize: 1 << 20,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Larger than the default: a fifth less CPU to write, and single
		// keys are read seldom.
		opts.Levels[i].BlockSize = 16 << 10
	}
	opts.EnsureDefaults()
	return opts
}

// lockDir takes the directory for this backend. When the lock is held the
// file systems return bare errors, such as EAGAIN; when the lock's file
// cannot be made it is an error about a path.
func lockDir(dir string, fsys vfs.FS) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	var path *fs.PathError
	if err != nil && !errors.As(err, &path) {
		return nil, fmt.Errorf("%w: %w", state.ErrInUse, err)
	}
	return lock, err
}

// IsOurs reports whether a file of a directory, by its name, shows that there
// is a database in it.
func IsOurs(name string) bool {
	return strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.manifest.") || strings.HasSuffix(name, ".sst")
}

// snapshotFile is the name of a file of package state/file. What it leaves
// unfinished ends in .tmp.
var snapshotFile = regexp.MustCompile(`^chk-[0-9]+-[0-9]+\.(full|delta)(\.tmp)?$`)

// checkOwner refuses a directory with snapshots in files: a database beside them
// would be a second state.
func checkOwner(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if snapshotFile.MatchString(name) {
			return fmt.Errorf("%w: there are snapshots in files in it, not a Pebble database", state.ErrOtherBackend)
		}
	}
	return nil
}

// checkFormat refuses a database of a later Pebble than ours.
func checkFormat(fs vfs.FS, dir string) error {
	marker, err := atomicfs.ReadMarker(fs, dir, "format-version")
	if err != nil || marker == "" {
		return err
	}
	format, err := strconv.ParseUint(marker, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: database format %q", state.ErrCorrupt, marker)
	}
	if format > uint64(pebble.FormatNewest) {
		return fmt.Errorf("database format %d: %w", format, state.ErrNewer)
	}
	return nil
}

// damage marks an error of the database as state.ErrCorrupt if it says that
// files are missing or not what they should be.
func damage(err error) error {
	if err == nil || errors.Is(err, state.ErrCorrupt) {
		return err
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	return err
}

// fromSystem says whether an error is the operating system's, about something
// other than a file that is not there.
func fromSystem(err error) bool {
	var path *fs.PathError
	var errno syscall.Errno
	return !errors.Is(err, fs.ErrNotExist) && (errors.As(err, &path) || errors.As(err, &errno))
}

// use calls fn with the database, which stays open until fn returns.
func (b *Backend) use(fn func(db *pebble.DB) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.db == nil {
		return state.ErrClosed
	}
	return damage(fn(b.db))
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.db == nil {
		return nil
	}
	err := errors.Join(b.db.Close(), b.lock.Close())
	b.db = nil
	if err != nil {
		return fmt.Errorf("close state in %s: %w", b.dir, err)
	}
	return nil
}

// Latest implements state.Backend.
func (b *Backend) Latest() (*state.Checkpoint, error) {
	var c *state.Checkpoint
	err := b.use(func(db *pebble.DB) (err error) {
		c, err = readLatest(db)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("latest checkpoint: %w", err)
	}
	return c, nil
}

// Load implements state.Backend.
func (b *Backend) Load(fn func(stage string, key, value []byte) error) error {
	var stopped error
	err := b.use(func(db *pebble.DB) error {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: firstStage})
		if err != nil {
			return err
		}
		var stage string // the last one, to make one string a stage
		for ok := it.First(); ok && stopped == nil; ok = it.Next() {
			name, key, found := bytes.Cut(it.Key(), separator)
			value, err := it.ValueAndErr()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if !found {
				err := fmt.Errorf("%w: not a key of a stage: %q", state.ErrCorrupt, it.Key())
				return errors.Join(err, it.Close())
			}
			if string(name) != stage {
				stage = string(name)
			}
			stopped = fn(stage, key, value)
		}
		return errors.Join(it.Error(), it.Close())
	})
	if stopped != nil {
		return stopped
	}
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	return nil
}

// Get implements state.Backend.
func (b *Backend) Get(stage string, key []byte) ([]byte, error) {
	var value []byte
	found := true
	err := b.use(func(db *pebble.DB) error {
		stored, closer, err := db.Get(appendKey(nil, stage, key))
		if err == pebble.ErrNotFound { //nolint:errorlint // it comes as it is, and often
			found = false
			return nil
		}
		if err != nil {
			return err
		}
		value = append([]byte{}, stored...)
		return closer.Close()
	})
	if !found {
		return nil, state.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get state of %s/%q: %w", stage, key, err)
	}
	return value, nil
}

// Size implements state.Backend: the bytes of the files.
func (b *Backend) Size() (int64, error) {
	var size int64
	err := b.use(func(db *pebble.DB) error {
		size = int64(db.Metrics().DiskSpaceUsage())
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of state: %w", err)
	}
	return size, nil
}
