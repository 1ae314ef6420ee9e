// Package wire is the byte format that log blocks, operator state and views
// share: varints, length-prefixed strings, IEEE doubles. Appending never
// fails; a Reader remembers its first error, so decoders read field by field
// and check once.
package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrCorrupt is the error of a Reader that ran out of bytes or met a length
// that cannot be.
var ErrCorrupt = errors.New("corrupt or truncated record")

// AppendUvarint appends v as an unsigned varint.
func AppendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// AppendVarint appends v as a zig-zag varint.
func AppendVarint(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// AppendFloat64 appends the eight bytes of v, little-endian.
func AppendFloat64(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// AppendUint64 appends v as eight bytes, little-endian.
func AppendUint64(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }

// AppendString appends the length of s and its bytes.
func AppendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendBytes appends the length of b and its bytes.
func AppendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// AppendBool appends one byte, 0 or 1.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendStrings appends a list of strings.
func AppendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = AppendString(dst, s)
	}
	return dst
}

// Reader reads what the Append functions wrote. After the first failure every
// read returns a zero value and Err says ErrCorrupt, or what Fail was given.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b, which must not change while the Reader is used.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Reset makes the Reader read from b, as if it were new.
func (r *Reader) Reset(b []byte) { r.b, r.err = b, nil }

// Err is nil, ErrCorrupt, or what was given to Fail.
func (r *Reader) Err() error { return r.err }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Fail makes err the error of the Reader, unless it has one, and drops what is
// left of the input: for a decoder that reads well-formed bytes which it does
// not understand, such as a record of a later version.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *Reader) fail() { r.Fail(ErrCorrupt) }

// End is what a decoder returns when it has read all that it knows of: Err,
// or ErrCorrupt when bytes are left.
func (r *Reader) End() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}

// Take reads so many bytes, without copying; nil if there are not as many.
func (r *Reader) Take(n int) []byte {
	if len(r.b) < n {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Varint reads a zig-zag varint.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Count reads a number of elements that each take at least one byte; a count
// beyond what is left is corrupt, so no length can make a decoder allocate
// more than its input justifies.
func (r *Reader) Count() int {
	v := r.Uvarint()
	if v > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

// Uint64 reads eight bytes, little-endian.
func (r *Reader) Uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Float64 reads eight bytes as an IEEE double.
func (r *Reader) Float64() float64 { return math.Float64frombits(r.Uint64()) }

// Bytes reads a length and that many bytes, without copying: the slice is
// part of the input.
func (r *Reader) Bytes() []byte {
	n := r.Count()
	if r.err != nil {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// String reads a length and that many bytes as a string of its own.
func (r *Reader) String() string { return string(r.Bytes()) }

// Bool reads one byte.
func (r *Reader) Bool() bool {
	if len(r.b) < 1 || r.b[0] > 1 {
		r.fail()
		return false
	}
	v := r.b[0] == 1
	r.b = r.b[1:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Strings reads a list of strings, nil when it is empty.
func (r *Reader) Strings() []string {
	n := r.Count()
	if n == 0 || r.err != nil {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.String()
	}
	return list
}
