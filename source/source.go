// Package source is where events come from: the contract that files,
// generators and message brokers meet, and the little that every import
// needs, whatever it reads: pacing (Pacer) and batching (Batch).
package source

import "millrace/event"

// Record is one thing read. Exactly one of Event, Change and Bad is set.
type Record struct {
	Event  *event.Event
	Change *event.Change
	Bad    *Bad
	// Row is where the record stood in its input, from 1 and strictly
	// increasing, though not every number need occur: the line of a text
	// file (headers and blank lines count), the element of an array, the
	// offset of a partition plus one. Skip(Row) on a new Reader of the same
	// input goes on after this record.
	Row uint64
}

// Bad is an input that is no event and no catalogue change, for the dead
// letters.
type Bad struct {
	Raw []byte            // as it was read, cut off at MaxBadBytes
	Err *event.FieldError // the field, what was expected of it and what was there
}

// MaxBadBytes is how much of a bad input is kept.
const MaxBadBytes = 4096

// Reader reads the records of one input in their order. A bad input is a
// Record, never an error: errors are for inputs that cannot be read further.
// Only Done may be called while another method runs.
type Reader interface {
	// Name identifies the input and its content, so that how far it was read
	// can be remembered under it and resumed. It is empty for an input that
	// cannot be read a second time.
	Name() string
	// Next is the next record, or io.EOF after the last one. The record and
	// what it points to are valid until the next call; strings stay valid.
	Next() (Record, error)
	// Skip passes over all records up to the given row, wherever it ends: a
	// Reader that has fewer is at its end. It is called before Next, if at all.
	Skip(row uint64) error
	// Total is the size of the input and Done how much of it was read, in the
	// same unit (bytes as stored for files, so compressed ones), to show
	// progress with. Total is 0 when it is not known.
	Total() int64
	Done() int64
	// Close releases what the Reader holds. It does not end the input's life:
	// standard input stays open.
	Close() error
}

// Live is implemented by Readers whose Next may wait for something to happen,
// such as for what is written to a pipe.
type Live interface {
	// Ready tells whether Next returns without waiting.
	Ready() bool
}
