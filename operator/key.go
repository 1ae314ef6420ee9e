package operator

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/event/wire"
	"millrace/internal/splitmix"
)

// KeyGroups is the fixed number of groups that keys are divided into. A shard
// owns a range of groups, so changing the number of shards moves ranges. It
// bounds the number of shards.
const KeyGroups = 128

// KeyGroup is the group of a key, 0 to KeyGroups-1: the same on every machine
// and in every release.
func KeyGroup[K Key](k K) int { return int(hasher[K]()(k) % KeyGroups) }

// hasher is the hash function of keys, the same on every machine and in every
// release.
func hasher[K Key]() func(K) uint64 {
	var f any
	switch any(*new(K)).(type) {
	case string:
		f = xxhash.Sum64String
	case uint64:
		f = splitmix.Mix
	}
	return f.(func(K) uint64)
}

// ShardOf is the shard that owns a key group when there are so many shards.
func ShardOf(group, shards int) int { return group * shards / KeyGroups }

// KeyBytes appends a key's stored form: a string as it is, a number as eight
// bytes big-endian, so that stored keys sort like the keys.
func KeyBytes[K Key](dst []byte, k K) []byte {
	switch k := any(k).(type) {
	case string:
		return append(dst, k...)
	case uint64:
		return binary.BigEndian.AppendUint64(dst, k)
	}
	return dst
}

// KeyFrom reads what KeyBytes wrote.
func KeyFrom[K Key](b []byte) (K, bool) {
	var k K
	switch p := any(&k).(type) {
	case *string:
		*p = string(b)
		return k, true
	case *uint64:
		if len(b) != 8 {
			return k, false
		}
		*p = binary.BigEndian.Uint64(b)
		return k, true
	}
	return k, false
}

// BroadcastKey is the key under which the broadcast state of a stage is
// stored, once for all shards. It is neither UTF-8, as strings from outside
// are, nor of the length of a number.
const BroadcastKey = "\xff\xffbroadcast"

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
