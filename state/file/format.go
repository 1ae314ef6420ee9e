package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/state"
)

// A file is the magic bytes, the version of the format, and frames:
//
//	length uint32, checksum uint32, payload of that length
//
// little-endian. The checksum is the CRC-32C of everything of the file up to
// the end of the frame but for the checksums, so a frame is refused when it
// is damaged, and also when it is not where it was written. The first byte of
// a payload is its kind: a header, any number of writes and drops, and an end
// which says how many there were. Framing and the header's first frame stay
// as they are in later versions, so that ErrNewer can be told from damage.
const (
	magic         = "mr-state"
	formatVersion = 1
	frameHead     = 8 // length and checksum
)

// Kinds of frames.
const (
	frameHeader = 1 + iota // what the file is
	frameWrites            // writes to one stage
	frameDrop              // all keys of a stage are deleted
	frameEnd
)

// Kinds of writes.
const (
	writeDelete = iota
	writePut
)

// frameBytes is the size at which a frame is closed. One write may make it
// larger.
const frameBytes = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// point is one state in the history of a backend. No two have the same
// sequence number, also when a commit fails; zero is the empty state.
type point struct {
	seq   uint64
	block uint64
	time  event.Time
}

// header says what a file is: a full snapshot of the state at a point, or a
// delta, which leads there from the parent.
type header struct {
	full   bool
	at     point
	parent point // of a delta
	meta   []byte
}

func (h *header) append(dst []byte) []byte {
	dst = wire.AppendBool(dst, h.full)
	for _, p := range []point{h.at, h.parent} {
		dst = wire.AppendUvarint(dst, p.seq)
		dst = wire.AppendUvarint(dst, p.block)
		dst = wire.AppendVarint(dst, int64(p.time))
	}
	return wire.AppendBytes(dst, h.meta)
}

func readPoint(r *wire.Reader) point {
	return point{seq: r.Uvarint(), block: r.Uvarint(), time: event.Time(r.Varint())}
}

// writer writes one file.
type writer struct {
	to     io.Writer
	frame  []byte // being filled; empty between two
	stage  string // of the frame, if it is of writes
	sum    uint32
	writes uint64
	bytes  int64
}

// begin writes the beginning of a file.
func (w *writer) begin(h *header) error {
	w.frame = append(append(w.frame[:0], magic...), formatVersion)
	w.sum = crc32.Checksum(w.frame, castagnoli)
	if err := w.put(); err != nil {
		return err
	}
	w.open(frameHeader)
	w.frame = h.append(w.frame)
	return w.flush()
}

func (w *writer) open(kind byte) {
	w.frame = append(w.frame[:0], make([]byte, frameHead)...)
	w.frame = append(w.frame, kind)
}

// flush closes the frame that is open, if one is.
func (w *writer) flush() error {
	if len(w.frame) == 0 {
		return nil
	}
	size := len(w.frame) - frameHead
	if size > math.MaxUint32 {
		return fmt.Errorf("a key and its value have %d bytes, at most 4 GiB can be stored", size)
	}
	binary.LittleEndian.PutUint32(w.frame, uint32(size))
	w.sum = crc32.Update(w.sum, castagnoli, w.frame[:4])
	w.sum = crc32.Update(w.sum, castagnoli, w.frame[frameHead:])
	binary.LittleEndian.PutUint32(w.frame[4:], w.sum)
	return w.put()
}

func (w *writer) put() error {
	n, err := w.to.Write(w.frame)
	w.bytes += int64(n)
	w.frame = w.frame[:0]
	// A commit is work that nobody waits for: on a few cores Go would let it
	// run for ten milliseconds in a row.
	runtime.Gosched()
	return err
}

// write adds a key of a stage, which a nil value deletes.
func (w *writer) write(stage string, key, value []byte) error {
	if len(w.frame) >= frameBytes || len(w.frame) > 0 && stage != w.stage {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(w.frame) == 0 {
		w.open(frameWrites)
		w.stage = stage
		w.frame = wire.AppendString(w.frame, stage)
	}
	w.writes++
	if value == nil {
		w.frame = append(w.frame, writeDelete)
		w.frame = wire.AppendBytes(w.frame, key)
		return nil
	}
	w.frame = append(w.frame, writePut)
	w.frame = wire.AppendBytes(w.frame, key)
	w.frame = wire.AppendBytes(w.frame, value)
	return nil
}

// drop deletes all keys of a stage.
func (w *writer) drop(stage string) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.writes++
	w.open(frameDrop)
	w.frame = wire.AppendString(w.frame, stage)
	return w.flush()
}

// end completes the file.
func (w *writer) end() error {
	if err := w.flush(); err != nil {
		return err
	}
	w.open(frameEnd)
	w.frame = wire.AppendUvarint(w.frame, w.writes)
	return w.flush()
}

// reader reads one file.
type reader struct {
	name    string
	from    io.Reader
	size    int64 // of the file
	at      int64 // where the next frame begins
	sum     uint32
	payload []byte
}

// damaged is state.ErrCorrupt with the place where the file is damaged.
func (r *reader) damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%s at byte %d of %d: %w: %s", r.name, at, r.size, state.ErrCorrupt, fmt.Sprintf(format, args...))
}

// read fills b. The file has been measured, so an early end is damage.
func (r *reader) read(b []byte) error {
	_, err := io.ReadFull(r.from, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.damaged(r.at, "it ends early")
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.name, err)
	}
	return nil
}

// next reads a frame. Its bytes are valid until the next.
func (r *reader) next() (kind byte, body *wire.Reader, err error) {
	var head [frameHead]byte
	if r.size-r.at < frameHead+1 {
		return 0, nil, r.damaged(r.at, "it ends early")
	}
	if err := r.read(head[:]); err != nil {
		return 0, nil, err
	}
	length := int64(binary.LittleEndian.Uint32(head[:]))
	if length == 0 || length > r.size-r.at-frameHead {
		return 0, nil, r.damaged(r.at, "a frame of %d bytes", length)
	}
	if int64(cap(r.payload)) < length {
		r.payload = make([]byte, length)
	}
	r.payload = r.payload[:length]
	if err := r.read(r.payload); err != nil {
		return 0, nil, err
	}
	r.sum = crc32.Update(r.sum, castagnoli, head[:4])
	r.sum = crc32.Update(r.sum, castagnoli, r.payload)
	if stored := binary.LittleEndian.Uint32(head[4:]); stored != r.sum {
		return 0, nil, r.damaged(r.at, "checksum %08x, want %08x", r.sum, stored)
	}
	r.at += frameHead + length
	return r.payload[0], wire.NewReader(r.payload[1:]), nil
}

// header reads the beginning of a file.
func (r *reader) header() (*header, error) {
	var begin [len(magic) + 1]byte
	if r.size < int64(len(begin)) {
		return nil, r.damaged(0, "it ends early")
	}
	if err := r.read(begin[:]); err != nil {
		return nil, err
	}
	if string(begin[:len(magic)]) != magic {
		return nil, r.damaged(0, "it does not begin with %q", magic)
	}
	r.sum = crc32.Checksum(begin[:], castagnoli)
	r.at = int64(len(begin))
	at := r.at
	kind, body, err := r.next()
	if err != nil {
		return nil, err
	}
	if version := begin[len(magic)]; version > formatVersion {
		return nil, fmt.Errorf("%s has format %d: %w", r.name, version, state.ErrNewer)
	} else if version < 1 || kind != frameHeader {
		return nil, r.damaged(at, "format %d, frame of kind %d", version, kind)
	}
	h := &header{full: body.Bool(), at: readPoint(body), parent: readPoint(body)}
	h.meta = append([]byte(nil), body.Bytes()...)
	if err := body.End(); err != nil {
		return nil, r.damaged(at, "header: %v", err)
	}
	if h.at.seq == 0 || h.full && h.parent != (point{}) || h.parent.seq >= h.at.seq || h.parent.block > h.at.block {
		return nil, r.damaged(at, "point %v after %v", h.at, h.parent)
	}
	return h, nil
}

// changes are what a file does to the state.
type changes interface {
	write(stage string, writes []operator.StateWrite) error // memory is valid during the call
	drop(stage string) error
}

// contents reads what follows the header, to the end of the file.
func (r *reader) contents(to changes) error {
	var writes []operator.StateWrite
	for total := uint64(0); ; {
		at := r.at
		kind, body, err := r.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameWrites:
			stage := body.String()
			writes = readWrites(body, writes[:0])
			if err = body.End(); err == nil {
				err = to.write(stage, writes)
			}
			total += uint64(len(writes))
		case frameDrop:
			stage := body.String()
			if err = body.End(); err == nil {
				err = to.drop(stage)
			}
			total++
		case frameEnd:
			if count := body.Uvarint(); body.End() != nil || count != total || r.at != r.size {
				return r.damaged(at, "%d writes, want %d; then %d bytes", total, count, r.size-r.at)
			}
			return nil
		default:
			return r.damaged(at, "frame of kind %d", kind)
		}
		if err != nil {
			return r.damaged(at, "%v", err)
		}
	}
}

func readWrites(body *wire.Reader, writes []operator.StateWrite) []operator.StateWrite {
	for body.Len() > 0 {
		put := body.Bool()
		w := operator.StateWrite{Key: body.Bytes()}
		if put {
			w.Value = body.Bytes()
		}
		writes = append(writes, w)
	}
	return writes
}
