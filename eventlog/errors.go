package eventlog

import (
	"errors"
	"fmt"
	"syscall"
)

// The errors of this package, for errors.Is.
var (
	// ErrCorrupt is the error of a block that is missing or is not what was
	// written. The error found in the chain is a *CorruptError, which names it.
	ErrCorrupt = errors.New("the event log is corrupt")
	// ErrInUse is the error of Open on a directory that another process, or
	// another Log of this process, has open.
	ErrInUse = errors.New("directory in use")
	// ErrUnavailable is the error of a store that failed: a full disk, an
	// input or output error. What was being written may or may not be stored.
	// A Log that failed in writing accepts no more writes until Recover, which
	// an Appender calls, succeeds or it is opened again.
	ErrUnavailable = errors.New("the event log's storage is unavailable")
	// ErrClosed is the error of a Log or an Appender that was closed.
	ErrClosed = errors.New("the event log is closed")
	// ErrReadOnly is the error of a write to a Log opened with ReadOnly.
	ErrReadOnly = errors.New("the event log was opened for reading only")
	// ErrNotFound is the error of a block number beyond the end of the log, of
	// a directory opened with ReadOnly that holds no log, and of a redaction
	// whose deletion is not in the log.
	ErrNotFound = errors.New("not found")
	// ErrBeforeStart is the error of reading a block that is older than the
	// log: it was made to begin after that block.
	ErrBeforeStart = errors.New("the event log begins after that block")
	// ErrInvalid is the error of an argument that cannot be stored: a block of
	// an unknown kind, a payload over MaxPayloadBytes, a catalogue payload
	// that cannot be read, a cursor that DeadLetters did not give out.
	ErrInvalid = errors.New("invalid argument")
	// ErrOverloaded is the error of a batch that the Appender has no room for
	// at the moment.
	ErrOverloaded = errors.New("the event log is overloaded")
)

// CorruptError says which block is corrupt, and how. It is ErrCorrupt.
type CorruptError struct {
	Block uint64 // its number
	Err   error  // what is wrong with it
}

// Error names the block and what is wrong with it.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("block %d of the event log is corrupt: %v", e.Block, e.Err)
}

// Unwrap gives what is wrong with the block.
func (e *CorruptError) Unwrap() error { return e.Err }

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Cause says in a few words why the storage failed, without the names of
// files: for people who are not to know them.
func Cause(err error) string {
	for _, c := range []struct {
		is   error
		text string
	}{
		{syscall.ENOSPC, "the disk is full"},
		{syscall.EDQUOT, "the disk quota is used up"},
		{syscall.EROFS, "the file system is read-only"},
		{syscall.EFBIG, "a file has become too large for the file system or the process's limit"},
		{syscall.EIO, "the disk reports an input/output error"},
		{ErrCorrupt, "the log is damaged"},
	} {
		if errors.Is(err, c.is) {
			return c.text
		}
	}
	return "its storage failed"
}
