package flink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"millrace/event"
)

// The types of frames.
const (
	frameHello    = 1
	frameLoad     = 2
	frameStart    = 3
	frameBatch    = 4
	frameSnapshot = 5
	frameClose    = 6
	frameValue    = 7

	frameOK     = 64
	frameError  = 65
	frameResult = 66
	frameRead   = 67
)

// The kinds of items in a batch.
const (
	itemRecord    = 0
	itemWatermark = 1
	itemRaw       = 2
	itemAssigned  = 3
)

const (
	headerBytes = 5 // of a frame: its length and its type
	// mostFrame bounds a frame: a state or a record that is larger is refused.
	mostFrame = 256 << 20
	// leastBuffer is the size of a new buffer; one that has grown beyond
	// keptBuffer is not kept.
	leastBuffer = 64 << 10
	keptBuffer  = 4 << 20
)

// frames reads frames. One is valid until the next is read.
type frames struct {
	in  io.Reader
	buf []byte
}

// next reads a frame. The error is io.EOF where the peer has ended between two.
func (f *frames) next() (kind byte, body []byte, err error) {
	if len(f.buf) == 0 || cap(f.buf) > keptBuffer {
		f.buf = make([]byte, leastBuffer)
	}
	have, want := 0, headerBytes
	for have < want {
		if want > len(f.buf) { // by what has come, so that a length alone takes no memory
			grown := make([]byte, min(want, 2*len(f.buf)))
			copy(grown, f.buf[:have])
			f.buf = grown
		}
		n, err := f.in.Read(f.buf[have:])
		if have += n; have < want && err != nil {
			if have == 0 && errors.Is(err, io.EOF) {
				return 0, nil, io.EOF
			}
			return 0, nil, fmt.Errorf("read a frame: %w", unexpected(err))
		}
		if want == headerBytes && have >= headerBytes {
			length := binary.LittleEndian.Uint32(f.buf)
			if length < 1 || length > mostFrame {
				return 0, nil, fmt.Errorf("%w: a frame of %d bytes, want 1 to %d", ErrProtocol, length, mostFrame)
			}
			want = 4 + int(length)
		}
	}
	if have > want {
		return 0, nil, fmt.Errorf("%w: a second request before the reply to the first", ErrProtocol)
	}
	return f.buf[4], f.buf[headerBytes:want], nil
}

// unexpected makes of the end of the input an error of its own.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body takes a frame apart. After the first thing that is not there every
// other is zero, and err says so.
type body struct {
	b   []byte
	bad bool
}

func (b *body) take(n int) []byte {
	if n > len(b.b) {
		b.bad, b.b = true, nil
		return nil
	}
	v := b.b[:n:n]
	b.b = b.b[n:]
	return v
}

func (b *body) u8() byte {
	if v := b.take(1); v != nil {
		return v[0]
	}
	return 0
}

// flag is a byte that is 0 or 1.
func (b *body) flag() bool {
	v := b.u8()
	if v > 1 {
		b.bad, b.b = true, nil
	}
	return v == 1
}

func (b *body) u16() int {
	if v := b.take(2); v != nil {
		return int(binary.LittleEndian.Uint16(v))
	}
	return 0
}

func (b *body) u32() uint32 {
	if v := b.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (b *body) u64() uint64 {
	if v := b.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (b *body) time() event.Time { return event.Time(b.u64()) }

// watermark is a time on Flink's scale, whose ends are further out than ours.
func (b *body) watermark() event.Time { return max(event.MinTime, min(b.time(), event.MaxTime)) }

// The ends of Flink's scale: the watermark of a stream that has not begun, or
// none; and that of one that has ended.
const (
	flinkMin = event.Time(math.MinInt64)
	flinkMax = event.Time(math.MaxInt64)
)

// toFlink is a watermark of ours on Flink's scale.
func toFlink(t event.Time) event.Time {
	switch {
	case t <= event.MinTime:
		return flinkMin
	case t >= event.MaxTime:
		return flinkMax
	}
	return t
}

func (b *body) bytes() []byte {
	n := b.u32()
	if int64(n) > int64(len(b.b)) {
		b.bad, b.b = true, nil
		return nil
	}
	return b.take(int(n))
}

func (b *body) str() string { return string(b.bytes()) }

// err is nil if all was there, and nothing else.
func (b *body) err(frame string) error {
	if b.bad || len(b.b) > 0 {
		return fmt.Errorf("%w: a malformed %s", ErrProtocol, frame)
	}
	return nil
}

func appendU16(dst []byte, v int) []byte { return binary.LittleEndian.AppendUint16(dst, uint16(v)) }

func appendU32(dst []byte, v int) []byte { return binary.LittleEndian.AppendUint32(dst, uint32(v)) }

func appendTime(dst []byte, t event.Time) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(t))
}

func appendBytes[B []byte | string](dst []byte, b B) []byte {
	return append(appendU32(dst, len(b)), b...)
}

// beginFrame appends the header of a frame; endFrame, given where it begins,
// writes its length.
func beginFrame(dst []byte, kind byte) []byte { return append(dst, 0, 0, 0, 0, kind) }

func endFrame(b []byte, from int) {
	binary.LittleEndian.PutUint32(b[from:], uint32(len(b)-from-4))
}
