package redis

import (
	"encoding/binary"
	"errors"
	"fmt"

	"millrace/operator"
	"millrace/view"
)

// ErrCorrupt is the error of a value that was not written by this package, or
// is damaged.
var ErrCorrupt = errors.New("a value in Redis can not be read")

// Order says which of two writes of a key is the newer one: that of the later
// epoch, and within an epoch that of the larger sequence. An owner begins a
// new epoch whenever it can not know what Redis has.
type Order struct{ Epoch, Sequence uint64 }

// before reports whether o is older.
func (o Order) before(p Order) bool {
	return o.Epoch < p.Epoch || o.Epoch == p.Epoch && o.Sequence < p.Sequence
}

// Every value begins with a header, which the scripts read too:
//
//	byte 0      the version of the form
//	byte 1      flags
//	byte 2..9   the epoch, big-endian
//	byte 10..17 the sequence, big-endian
const (
	valueVersion = 1
	headerBytes  = 18
)

// flagDeleted marks a tombstone: it has no answer, and keeps older writes that
// are still on their way from bringing one back.
const flagDeleted = 1

// appendHeader appends a value's header.
func appendHeader(dst []byte, o Order, flags byte) []byte {
	dst = append(dst, valueVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, o.Epoch)
	return binary.BigEndian.AppendUint64(dst, o.Sequence)
}

// appendValue appends an answer as it is stored; nil is a tombstone.
func appendValue(dst []byte, o Order, v operator.Value) ([]byte, error) {
	if v == nil {
		return appendHeader(dst, o, flagDeleted), nil
	}
	return v.AppendBinary(appendHeader(dst, o, 0))
}

// splitValue is the order and the bytes of a stored value; the bytes of a
// tombstone are nil.
func splitValue(b []byte) (Order, []byte, error) {
	if len(b) < headerBytes {
		return Order{}, nil, fmt.Errorf("%w: it has %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != valueVersion {
		return Order{}, nil, fmt.Errorf("%w: it has version %d, this release reads %d", ErrCorrupt, b[0], valueVersion)
	}
	o := Order{binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])}
	if b[1]&flagDeleted != 0 {
		return o, nil, nil
	}
	return o, b[headerBytes:], nil
}

// decodeValue reads an answer; a tombstone is nil.
func decodeValue(decode view.Decoder, b []byte) (operator.Value, Order, error) {
	order, body, err := splitValue(b)
	if err != nil || body == nil {
		return nil, order, err
	}
	if decode == nil {
		return nil, order, fmt.Errorf("%w: nobody knows the view", ErrCorrupt)
	}
	v, err := decode(body)
	if err != nil {
		return nil, order, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return v, order, nil
}
