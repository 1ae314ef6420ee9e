package reference

import (
	"encoding/binary"

	"millrace/event/wire"
)

// EventKey is where the user is in the bytes of an Event, as a stage that is
// keyed by user has its key.
const (
	EventKeyOffset = 0
	EventKeyLength = 8
	eventBytes     = 15
)

// AppendRecord writes 15 bytes: the user (big-endian, as keys are), the item and
// the value (little-endian), the type.
func (e *Event) AppendRecord(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.User)
	dst = binary.LittleEndian.AppendUint32(dst, e.Item)
	dst = binary.LittleEndian.AppendUint16(dst, e.Value)
	return append(dst, byte(e.Type))
}

// ReadRecord reads what AppendRecord wrote.
func (e *Event) ReadRecord(r *wire.Reader) {
	b := r.Take(eventBytes)
	if b == nil || b[14] > byte(Purchase) {
		r.Fail(wire.ErrCorrupt)
		return
	}
	e.User = binary.BigEndian.Uint64(b)
	e.Item = binary.LittleEndian.Uint32(b[8:])
	e.Value = binary.LittleEndian.Uint16(b[12:])
	e.Type = Type(b[14])
}

// AppendRecord writes both items in eight bytes.
func (p *pair) AppendRecord(dst []byte) []byte { return wire.AppendUint64(dst, uint64(*p)) }

// ReadRecord reads them.
func (p *pair) ReadRecord(r *wire.Reader) { *p = pair(r.Uint64()) }

// AppendRecord writes the number of rows and their sum, eight bytes each,
// little-endian.
func (d *Digest) AppendRecord(dst []byte) []byte {
	return wire.AppendUint64(wire.AppendUint64(dst, d.Rows), d.Sum)
}

// ReadRecord reads them.
func (d *Digest) ReadRecord(r *wire.Reader) { d.Rows, d.Sum = r.Uint64(), r.Uint64() }
