package view

import (
	"errors"
	"maps"
	"slices"

	"millrace/event"
	"millrace/operator"
)

// ErrUnavailable is the error of views that can not be read at present. Its
// text may be told to clients: it names no address.
var ErrUnavailable = errors.New("the views can not be read at present")

// Key names an answer.
type Key struct{ View, Key string }

// Prefetcher is a Reader for which each Get is a way to another machine.
type Prefetcher interface {
	Reader
	// Prefetch fetches answers that are about to be asked for, all together.
	// What was fetched before is not fetched again.
	Prefetch(keys ...Key)
}

// Prefetch tells a reader what is about to be asked for, if it wants to know.
func Prefetch(r Reader, keys ...Key) {
	if p, ok := r.(Prefetcher); ok && len(keys) > 0 {
		p.Prefetch(keys...)
	}
}

// Prefetches reports whether a reader wants to know what is about to be asked
// for.
func Prefetches(r Reader) bool {
	_, ok := r.(Prefetcher)
	return ok
}

// Err is why answers that were asked for are missing although there may be
// some, an ErrUnavailable, or nil. It is asked after reading.
func Err(r Reader) error {
	if f, ok := r.(interface{ Err() error }); ok {
		return f.Err()
	}
	return nil
}

// Decoder reads a value from the bytes that AppendBinary wrote.
type Decoder func([]byte) (operator.Value, error)

// Decoders are the decoders of views, by the view's name.
type Decoders map[string]Decoder

// Names are the names of the views, in order.
func (d Decoders) Names() []string { return slices.Sorted(maps.Keys(d)) }

// Progress is what blocks brought besides answers.
type Progress struct {
	// Positions are how far each source has come: the first record that is in
	// none of the blocks. The map is valid during the call only.
	Positions map[string]uint64
	// Changes are those of the catalogue, in order. They are not to be changed.
	Changes   []event.Change
	Watermark event.Time
}

// Follower is a Store that passes on what the blocks brought besides answers,
// to readers that have nothing else to learn it from.
type Follower interface {
	Store
	// Follow is called before each Publish, with what its blocks brought.
	Follow(Progress)
}
