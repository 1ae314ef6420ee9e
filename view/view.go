// Package view is answers kept ready: named maps from a key to a small
// immutable value (a profile, the neighbours of an item, a heat list), written
// by operators a block at a time and read by whoever serves.
//
// The writes of a block become visible together. A reader takes a Snapshot,
// which is all views as they were after one block and stays so until it is
// closed, whatever is published meanwhile. The README says how the memory
// store does that without a lock in the reader's way.
package view

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/operator"
)

var (
	// ErrClosed is returned by a store that has been closed.
	ErrClosed = errors.New("view store is closed")
	// ErrOutOfOrder is returned by Publish for a block that is older than the
	// one published before it: an older answer must not replace a newer one.
	ErrOutOfOrder = errors.New("block is older than the published one")
)

// Reader looks answers up.
type Reader interface {
	// Get returns the answer of a key, false if there is none. The value is
	// immutable and may be kept.
	Get(view, key string) (operator.Value, bool)
}

// Snapshot is all views as they were after one block. Any number of
// goroutines may read one snapshot; it must not be used once it is closed,
// and a snapshot that is never closed keeps the values that it could read in
// memory.
type Snapshot interface {
	Reader
	// Block is the number of the block after which the views were like this,
	// 0 if nothing has been published.
	Block() uint64
	// StreamTime is the stream time after that block: what decay and windows
	// take for "now". It is event.MinTime if nothing has been published.
	StreamTime() event.Time
	// Close gives the snapshot back. Closing again does nothing.
	Close()
}

// Store holds the views of one engine.
type Store interface {
	// Publish makes the writes of a block visible, all together. Within a
	// slice the last write of a key counts; a key of a view is in one of the
	// slices only (they are the shards', and a shard owns its keys). The
	// slices may be used again when Publish returns, the values not.
	//
	// Block numbers do not fall: ErrOutOfOrder. The same number again adds to
	// the block, as recovery does that publishes what it has loaded in parts.
	// One goroutine publishes.
	Publish(block uint64, streamTime event.Time, writes ...[]operator.ViewWrite) error
	// Snapshot is the views after the latest block. It never waits for a
	// writer.
	Snapshot() Snapshot
	// Each calls fn for every key of a view as of the latest block, in the
	// order of the keys, and stops at the first error, which it returns. It
	// is for comparing views, not for serving.
	Each(view string, fn func(key string, v operator.Value) error) error
	// Len is how many keys a view has as of the latest block.
	Len(view string) int
	// Close releases what the store holds. Publish returns ErrClosed from
	// then on; snapshots that are open stay readable.
	Close() error
}

// Get looks an answer of type V up. It panics if the view holds values of
// another type: views are wired at start, so that is a mistake in a program
// and not in its input.
func Get[V operator.Value](r Reader, view, key string) (V, bool) {
	var none V
	value, ok := r.Get(view, key)
	if !ok {
		return none, false
	}
	v, ok := value.(V)
	if !ok {
		panic(fmt.Sprintf("view %q holds %T, asked for as %T", view, value, none))
	}
	return v, true
}
