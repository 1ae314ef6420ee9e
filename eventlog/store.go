package eventlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
	"millrace/event/wire"
)

// Options say how a log is opened. The zero value is a log on the real file
// system that may be written, with small caches and silent.
type Options struct {
	FS                 vfs.FS       // nil = the operating system's
	CacheBytes         int64        // of blocks read, 0 = 8 MiB
	MemTableBytes      int          // written before it is flushed to a table, 0 = 8 MiB
	MaxDeadLetters     int          // kept, 0 = 100,000
	MaxDeadLetterBytes int64        // kept, 0 = 64 MiB
	Logger             *slog.Logger // nil = silent
	ReadOnly           bool         // nothing is changed on disk; the directory must hold a log

	// Start is where a log begins that Open makes: its first block has the
	// number after Start's. For a log that is there it must be zero or the same.
	Start Start
}

// Start is the block that a log begins after: the last one that was applied to
// the state which another machine has got. It is not in the log.
type Start struct {
	Block uint64
	Time  event.Time
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 8 << 20
	}
	if o.MaxDeadLetters == 0 {
		o.MaxDeadLetters = 100_000
	}
	if o.MaxDeadLetterBytes == 0 {
		o.MaxDeadLetterBytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// The keys: a prefix byte, then for all but the statistics a big-endian number.
const (
	prefixBlock      = 'b' // + block number: a block
	prefixDeadLetter = 'd' // + sequence number: a refused input
	prefixRedaction  = 'r' // + number of the deletion's block: a redaction that is not finished
	prefixStatistics = 's' // one key: how many dead letters there are
	prefixSkipped    = 'x' // + block number: which of its records are not applied
	prefixStart      = 'a' // one key: the Start, unless it is the zero one
	prefixIdentity   = 'i' // one key: the Identity, once somebody has asked for it
)

const keyBytes = 9

func appendKey(dst []byte, prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefix), n)
}

func key(prefix byte, n uint64) []byte {
	return appendKey(make([]byte, 0, keyBytes), prefix, n)
}

// keyNumber is the number in a key of the given prefix, false when it is none.
func keyNumber(prefix byte, k []byte) (uint64, bool) {
	if len(k) != keyBytes || k[0] != prefix {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), true
}

// The write-ahead logs that Pebble keeps for reuse are one more than this.
const memTables = 2

// pebbleOptions configures Pebble for a log: keys only ever grow, values are
// large and compressed already.
func pebbleOptions(o Options, disk *storeFS) *pebble.Options {
	h := disk.health
	p := &pebble.Options{
		FS:                          disk,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                512,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		Logger:                      h,
		ReadOnly:                    o.ReadOnly,
		ErrorIfNotExists:            o.ReadOnly,
		EventListener: &pebble.EventListener{
			BackgroundError: h.backgroundError,
			DataCorruption:  h.dataCorruption,
		},
		// A flushed table does not overlap any other, so moving it down costs
		// nothing; done at once it keeps level 0 empty.
		L0CompactionThreshold: 2,
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	p.TargetFileSizes[0] = int64(o.MemTableBytes)
	// Without this a table holds blocks and dead letters, and so overlaps
	// every other table: each block would be rewritten ten times.
	p.Experimental.SpanPolicyFunc = pebble.MakeStaticSpanPolicyFunc(
		pebble.DefaultComparer.Compare,
		pebble.KeyRange{Start: []byte{prefixBlock}, End: []byte{prefixBlock + 1}},
		pebble.SpanPolicy{})
	return p
}

// store is one opening of the database. After a failure another one takes its
// place.
type store struct {
	db      *pebble.DB
	disk    *storeFS
	health  *health
	commits sync.WaitGroup // calls that write, in Pebble
	broken  atomic.Bool    // a commit panicked: Pebble's locks are held for ever
}

// openStore opens the database in dir. On an error it leaves nothing behind
// that could still change the directory, but perhaps the lock.
func openStore(dir string, o Options, lock *dirLock) (*store, error) {
	h := newHealth(o.Logger, dir)
	s := &store{health: h, disk: newStoreFS(o.FS, h, lock)}
	opened := make(chan error, 1)
	go func() {
		db, err := pebble.Open(dir, pebbleOptions(o, s.disk))
		s.db = db
		opened <- err
	}()
	var err error
	select {
	case err = <-opened:
	case <-h.failed:
		// Pebble would try for ever to flush what it replays. Once it is fenced
		// off it succeeds.
		s.disk.fenceOff()
		select {
		case err = <-opened:
		case <-time.After(abandonPatience):
			return nil, fmt.Errorf("opening the event log in %s: %w", dir, h.err())
		}
	}
	switch failed := h.err(); {
	case failed != nil:
		if err == nil {
			s.abandon()
		}
		return nil, fmt.Errorf("opening the event log in %s: %w", dir, failed)
	case err == nil:
		s.disk.open.Store(true)
		h.opened.Store(true)
		return s, nil
	case errors.Is(err, ErrInUse):
		return nil, fmt.Errorf("%w: another millrace process uses %s", ErrInUse, dir)
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return nil, fmt.Errorf("%w: no event log in %s", ErrNotFound, dir)
	}
	return nil, fmt.Errorf("opening the event log in %s: %w", dir, openError(err))
}

// openError wraps an error of opening the database: where the system has
// nothing to complain about but that a file is missing, the files do not fit
// together.
func openError(err error) error {
	var path *fs.PathError
	var errno syscall.Errno
	if !errors.Is(err, fs.ErrNotExist) && (errors.As(err, &path) || errors.As(err, &errno)) {
		return storeError(err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// abandonPatience is how long Pebble may take to end once it is fenced off.
const abandonPatience = 5 * time.Second

// abandon closes a store that has failed, without changing the disk any more:
// what is on it is to be found out by opening it again. Nobody may use the
// store. One that can not be closed keeps its memory.
func (s *store) abandon() {
	s.disk.fenceOff()
	s.health.abandoned.Store(true)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer func() { _ = recover() }() // of Pebble in disarray nothing is expected
		s.commits.Wait()
		if !s.broken.Load() {
			_ = s.db.Close() // nobody is interested in its errors any more
		}
	}()
	select {
	case <-closed:
	case <-time.After(abandonPatience):
		s.health.log.Warn("the storage engine of the event log did not end after its failure; its memory is lost until the process ends",
			"dir", s.health.dir)
	}
}

// closeDatabase closes a store that works.
func (s *store) closeDatabase() error {
	s.disk.open.Store(false) // errors of the write-ahead log are Close's now
	return storeError(s.db.Close())
}

// commit applies the batch and closes it; any error is a failure of the store.
func (s *store) commit(batch *pebble.Batch, o *pebble.WriteOptions) error {
	err := s.guard(func() error { return errors.Join(s.db.Apply(batch, o), batch.Close()) })
	if err != nil {
		s.health.fail(err)
	}
	return s.health.err()
}

// guard runs a writing call of Pebble. A full disk can hold such a call up for
// ever while Pebble retries, so it runs beside the caller, who is let go when
// the store fails.
func (s *store) guard(call func() error) error {
	done := make(chan error, 1)
	s.commits.Add(1)
	go func() {
		defer s.commits.Done()
		done <- s.recovering(call)
	}()
	select {
	case err := <-done:
		// Pebble's Apply returns nil even if the write-ahead log failed.
		if failed := s.health.err(); failed != nil || err == nil {
			return failed
		}
		return storeError(err)
	case <-s.health.failed:
		return s.health.err()
	}
}

// recovering makes a panic of Pebble a failure of the store, which cannot be
// closed then: Pebble's locks are held for ever.
func (s *store) recovering(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			s.health.fail(fmt.Errorf("pebble: %v", p))
		}
	}()
	return call()
}

// storeError wraps an error of Pebble as ErrCorrupt or ErrUnavailable.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// startVersion is the version of a stored Start.
const startVersion = 1

// start reads where the log begins.
func (s *store) start() (Start, error) {
	v, closer, err := s.db.Get([]byte{prefixStart})
	if errors.Is(err, pebble.ErrNotFound) {
		return Start{}, nil
	}
	if err != nil {
		return Start{}, storeError(err)
	}
	defer release(closer)
	r := wire.NewReader(v)
	version := r.Byte()
	at := Start{Block: r.Uvarint(), Time: event.Time(r.Varint())}
	if err := r.End(); err != nil || version != startVersion {
		return Start{}, fmt.Errorf("%w: the record of where it begins, version %d", ErrCorrupt, version)
	}
	return at, nil
}

// begin makes an empty log begin where the options say.
func (l *Log) begin() error {
	want := l.options.Start
	if want == (Start{}) || want == l.start {
		return nil
	}
	if l.start != (Start{}) || l.Last() > 0 {
		return fmt.Errorf("%w: the log in %s begins after block %d and ends with %d, not after block %d",
			ErrInvalid, l.dir, l.start.Block, l.Last(), want.Block)
	}
	v := wire.AppendVarint(wire.AppendUvarint([]byte{startVersion}, want.Block), int64(want.Time))
	if err := l.update(func(b *pebble.Batch) error { return b.Set([]byte{prefixStart}, v, nil) }); err != nil {
		return err
	}
	return l.load(l.store)
}

// Identity is what tells this log from every other one, also from another that
// has begun at the same block: random, and the same for as long as the log is
// there. What was made of blocks, and is kept elsewhere, is kept under it. It is
// made when it is first asked for.
func (l *Log) Identity() (string, error) {
	if err := l.enter(); err != nil {
		return "", err
	}
	v, closer, err := l.db.Get([]byte{prefixIdentity})
	if err == nil {
		id := string(v)
		release(closer)
		l.leave()
		return id, nil
	}
	l.leave()
	if !errors.Is(err, pebble.ErrNotFound) {
		return "", storeError(err)
	}
	id := rand.Text()
	return id, l.update(func(b *pebble.Batch) error { return b.Set([]byte{prefixIdentity}, []byte(id), nil) })
}

// release closes an iterator or a value of Pebble whose errors were looked at.
func release(c io.Closer) { _ = c.Close() }

// storePath makes the path of a real directory absolute, so that one
// directory has one lock, whatever the process calls it.
func storePath(dir string, o Options) (string, error) {
	if o.FS != vfs.Default {
		return dir, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("opening the event log in %s: %w", dir, err)
	}
	return abs, nil
}
