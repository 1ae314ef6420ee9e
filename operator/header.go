package operator

import (
	"millrace/event"
	"millrace/event/wire"
)

// Header is what a key's stored bytes begin with, before what the operator
// writes. Every engine stores keys in this form, so that each can read what
// another has stored.
type Header struct {
	// Version is the version of the state's format, 1 to 127.
	Version uint8
	// Timers and Processing are the key's timers in event time and in
	// processing time, ascending.
	Timers, Processing []event.Time
	// Stamp is when the key was last written, or read, for a stage with a
	// TTL; MinTime otherwise.
	Stamp event.Time
}

// headerMore in the first byte, which is the version otherwise, says that a
// byte of the flags below follows.
const (
	headerMore       = 0x80
	headerProcessing = 1 << 0
	headerStamp      = 1 << 1
)

// AppendTo appends the header; the operator appends the rest.
func (h *Header) AppendTo(dst []byte) []byte {
	more := byte(0)
	if len(h.Processing) > 0 {
		more |= headerProcessing
	}
	if h.Stamp != event.MinTime {
		more |= headerStamp
	}
	if more == 0 {
		dst = append(dst, h.Version)
	} else {
		dst = append(dst, h.Version|headerMore, more)
	}
	dst = appendTimes(dst, h.Timers)
	if more&headerProcessing != 0 {
		dst = appendTimes(dst, h.Processing)
	}
	if more&headerStamp != 0 {
		dst = wire.AppendVarint(dst, int64(h.Stamp))
	}
	return dst
}

func appendTimes(dst []byte, times []event.Time) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(times)))
	last := event.Time(0)
	for _, at := range times {
		dst = wire.AppendVarint(dst, int64(at-last))
		last = at
	}
	return dst
}

// SplitState takes a key's stored bytes apart: the header, and what the
// operator wrote.
func SplitState(value []byte) (h Header, state []byte, err error) {
	r := wire.NewReader(value)
	first := r.Byte()
	h.Version, h.Stamp = first&^headerMore, event.MinTime
	more := byte(0)
	if first&headerMore != 0 {
		more = r.Byte()
	}
	h.Timers = readTimes(r)
	if more&headerProcessing != 0 {
		h.Processing = readTimes(r)
	}
	if more&headerStamp != 0 {
		h.Stamp = event.Time(r.Varint())
	}
	if r.Err() != nil {
		return Header{}, nil, r.Err()
	}
	return h, value[len(value)-r.Len():], nil
}

func readTimes(r *wire.Reader) (times []event.Time) {
	last := event.Time(0)
	for range r.Count() {
		last += event.Time(r.Varint())
		times = append(times, last)
	}
	return times
}
