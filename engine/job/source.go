package job

import (
	"millrace/event"
)

// Source is where a job's records come from: partitions that can be read again
// from any position.
type Source[T any] interface {
	// Partitions is how many there are; it does not change.
	Partitions() int
	// Open reads a partition from a position on: the number of records of it
	// that have been read already.
	Open(partition int, from uint64) (Reader[T], error)
}

// Reader reads one partition.
type Reader[T any] interface {
	// Read emits up to most records in order, with their event times, and
	// returns how many. A record is valid during the call of emit only. io.EOF
	// says that there will never be more; 0 without an error, that there are
	// none now.
	Read(most int, emit func(t event.Time, record *T)) (int, error)
	Close() error
}
