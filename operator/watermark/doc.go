// Package watermark says how far the event time of a source has come.
//
// A Strategy is one source partition's: it is told of every record and says
// where the watermark is, the time at or before which no further record is
// expected. Combined makes one watermark of several partitions'. All of it is
// pure: what is known of the wall clock is the recorded processing time of the
// block that a record came in, an argument; so a replay gives the same
// watermarks. A watermark never goes back, not even when a checkpoint is
// restored under another configuration.
//
// The watermark that belongs to a record is the one before it: ask for
// Watermark, then Observe.
package watermark

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
)

// ErrNewer is returned by Load for state that a later release has written.
var ErrNewer = errors.New("watermarks were saved by a newer release")

// Strategy decides on the watermark of one source partition. It belongs to
// one goroutine.
type Strategy interface {
	// Observe takes one record into account: its event time, the recorded
	// processing time of its block, and whether it is a punctuation mark. It
	// returns the watermark after the record. Times beyond event.MinTime and
	// event.MaxTime count as these.
	Observe(t, processing event.Time, punctuation bool) (watermark event.Time)
	// Watermark says that no record at or before it is expected any more. It
	// is event.MinTime before the first record.
	Watermark() event.Time
	// StreamTime is the largest event time observed, event.MinTime before the
	// first record.
	StreamTime() event.Time
	// AppendTo appends the strategy's state, but not its configuration.
	AppendTo(dst []byte) []byte
	// Load reads what AppendTo of any strategy wrote. From another strategy,
	// or another configuration, the watermark and the stream time remain;
	// what the other measured does not. After an error nothing has changed.
	Load(r *wire.Reader) error
}

// Kinds of strategies in a checkpoint; they do not change.
const (
	kindBounded = 1 + iota
	kindDynamic
	kindPunctuated
)

// formatVersion is that of the state of a strategy and of Combined.
const formatVersion = 1

// progress is what all strategies have.
type progress struct {
	streamTime event.Time
	watermark  event.Time
}

func notBegun() progress { return progress{event.MinTime, event.MinTime} }

// Watermark implements Strategy.
func (p *progress) Watermark() event.Time { return p.watermark }

// StreamTime implements Strategy.
func (p *progress) StreamTime() event.Time { return p.streamTime }

// appendTo appends:
//
//	version, kind, stream time varint, watermark varint, the strategy's own with its length
func (p *progress) appendTo(dst []byte, kind byte, own []byte) []byte {
	dst = append(dst, formatVersion, kind)
	dst = wire.AppendVarint(dst, int64(p.streamTime))
	dst = wire.AppendVarint(dst, int64(p.watermark))
	return wire.AppendBytes(dst, own)
}

// readProgress returns the strategy's own bytes too if they are of this kind,
// else none.
func readProgress(r *wire.Reader, kind byte) (p progress, own *wire.Reader) {
	checkVersion(r)
	written := r.Byte()
	p.streamTime, p.watermark = readTime(r), readTime(r)
	bytes := r.Bytes()
	if written != kind {
		bytes = nil
	}
	return p, wire.NewReader(bytes)
}

func checkVersion(r *wire.Reader) {
	switch version := r.Byte(); {
	case r.Err() != nil:
	case version > formatVersion:
		r.Fail(fmt.Errorf("format %d: %w", version, ErrNewer))
	case version == 0:
		r.Fail(wire.ErrCorrupt)
	}
}

func readTime(r *wire.Reader) event.Time {
	t := event.Time(r.Varint())
	if t < event.MinTime || t > event.MaxTime {
		r.Fail(wire.ErrCorrupt)
	}
	return t
}
