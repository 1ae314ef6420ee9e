// Package state is where keyed state is kept at checkpoints. Between two
// checkpoints operators work on ordinary Go data; at a checkpoint each key
// that has changed is encoded once and handed to a Backend, with the number
// of the block it belongs to, in one atomic step. Recovery loads the latest
// checkpoint and replays the blocks after it.
package state

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"millrace/event"
	"millrace/operator"
)

var (
	// ErrNone is returned by Latest before the first checkpoint.
	ErrNone = errors.New("no checkpoint")
	// ErrNotFound is returned by Get for a key that has no state.
	ErrNotFound = errors.New("no state for the key")
	// ErrCorrupt is returned when what is stored is damaged. What was read
	// before the error may be used; the rest cannot be read.
	ErrCorrupt = errors.New("stored state is damaged")
	// ErrInUse is returned by a backend's constructor while another process,
	// or another backend of this one, has the same directory open.
	ErrInUse = errors.New("state directory is in use")
	// ErrOtherBackend is returned by a backend's constructor for a directory
	// that another kind of backend has written.
	ErrOtherBackend = errors.New("state directory is another backend's")
	// ErrNewer is returned for a checkpoint that a later release has written
	// in a format that this one does not know.
	ErrNewer = errors.New("checkpoint was written by a newer release")
	// ErrClosed is returned by a backend that has been closed.
	ErrClosed = errors.New("state backend is closed")
	// ErrOutOfOrder is returned by Commit for a checkpoint of a block before
	// that of the latest checkpoint.
	ErrOutOfOrder = errors.New("checkpoint is older than the latest")
	// ErrStageMissing is the error of stored state that belongs to no stage of the
	// program: it would be lost.
	ErrStageMissing = errors.New("the program has no stage for stored state")
	// ErrStageName is returned for the name of a stage that is empty, has a
	// zero byte or is not UTF-8.
	ErrStageName = errors.New("not a stage name")
)

// Checkpoint is what has changed from one checkpoint to the next, and where
// in the log the state now stands.
type Checkpoint struct {
	Block  uint64     // the last block whose events are in the state
	Time   event.Time // wall clock, milliseconds, when the checkpoint was taken
	Meta   []byte     // the engine's own: watermarks and the like
	Tables []Table
}

// Table is the keys of a stage that changed. A stage may have several tables
// in a checkpoint, one a shard.
type Table struct {
	Stage  string
	Writes []operator.StateWrite // nil Value deletes; the last write of a key counts
}

// Backend keeps the latest checkpoint: the state of every key of every stage
// as of one block. Its methods may be called at the same time.
type Backend interface {
	// Commit merges a checkpoint into what is kept. It is atomic and, where a
	// backend keeps anything, durable: after a crash there is all of it or
	// nothing. It returns how many bytes the checkpoint has (see
	// Checkpoint.Bytes). Blocks do not fall: ErrOutOfOrder. After another
	// error nothing has changed. The checkpoint is not referred to after
	// Commit returns.
	Commit(c *Checkpoint) (bytes int64, err error)
	// Latest is the latest checkpoint without Tables, ErrNone if there is none.
	Latest() (*Checkpoint, error)
	// Load calls fn for every key of the latest checkpoint, in the order of
	// stage and key, and stops at the first error, which it returns. The
	// bytes are valid during fn only. fn must not call the backend.
	Load(fn func(stage string, key, value []byte) error) error
	// Get returns the state of one key, ErrNotFound if it has none. The bytes
	// are the caller's.
	Get(stage string, key []byte) ([]byte, error)
	// Drop removes all keys of a stage, atomically and durably. The block of
	// the latest checkpoint stays as it is.
	Drop(stage string) error
	// Compact removes from the disk what has been deleted or replaced: when
	// it returns, nothing can be recovered of a key deleted by an earlier
	// Commit. It takes the time of rewriting the whole state; Commits may go
	// on meanwhile.
	Compact() error
	// Size is how many bytes the backend takes, on disk or in memory.
	Size() (int64, error)
	// Close releases the backend. Everything returns ErrClosed from then on,
	// but for Close, which does nothing.
	Close() error
}

// Bytes is the size of a checkpoint: its meta, keys and values, before any
// compression.
func (c *Checkpoint) Bytes() int64 {
	n := int64(len(c.Meta))
	for _, t := range c.Tables {
		for _, w := range t.Writes {
			n += int64(len(w.Key) + len(w.Value))
		}
	}
	return n
}

// Follows says whether a checkpoint can be committed after the latest one,
// nil if there is none: ErrOutOfOrder, ErrStageName. It is for backends.
func (c *Checkpoint) Follows(latest *Checkpoint) error {
	if latest != nil && c.Block < latest.Block {
		return fmt.Errorf("checkpoint of block %d after %d: %w", c.Block, latest.Block, ErrOutOfOrder)
	}
	for _, t := range c.Tables {
		if err := CheckStage(t.Stage); err != nil {
			return err
		}
	}
	return nil
}

// CheckStage returns ErrStageName for a name that no stage can have. It is
// for backends.
func CheckStage(name string) error {
	if name == "" || strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name) {
		return fmt.Errorf("stage %q: %w", name, ErrStageName)
	}
	return nil
}
