package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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

// openStore opens the database in dir.
func openStore(dir string, o Options, disk *storeFS) (*pebble.DB, error) {
	db, err := pebble.Open(dir, pebbleOptions(o, disk))
	switch {
	case err == nil:
		disk.open.Store(true)
		return db, nil
	case errors.Is(err, ErrInUse):
		return nil, fmt.Errorf("%w: another millrace process uses %s", ErrInUse, dir)
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return nil, fmt.Errorf("%w: no event log in %s", ErrNotFound, dir)
	}
	return nil, fmt.Errorf("opening the event log in %s: %w", dir, storeError(err))
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
