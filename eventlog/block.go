package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"millrace/event"
	"millrace/event/wire"
)

// Kind says what the records of a block are.
type Kind uint8

// The kinds of blocks. Their numbers are part of the log's format.
const (
	Events    Kind = 1 // records of event.AppendEvent
	Catalogue Kind = 2 // records of event.AppendChange
	Config    Kind = 3 // one configuration, as JSON
	Tick      Kind = 4 // no records: processing time has come further while nothing arrived
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Events:
		return "events"
	case Catalogue:
		return "catalogue"
	case Config:
		return "config"
	case Tick:
		return "tick"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Position is how far an import of a source has got once the block that
// carries it is stored, so that the import can resume.
type Position struct {
	Source string // names the source, for example a file or a topic partition
	Next   uint64 // the first record of the source that is not in the log
}

// Run is records in a row of a block that came from one partition of a source,
// so that event time can be followed for each of them. A run without records
// says that records of the partition are to come, so that event time waits for
// them.
type Run struct {
	// Partition names it, for example a partition of a topic. Empty is where
	// events come from that are of no partition: HTTP and imports.
	Partition string
	Count     int
}

// MaxPayloadBytes is the largest payload that a block can have.
const MaxPayloadBytes = 64 << 20

// Block is the unit of the log.
type Block struct {
	Number    uint64     // from 1, without gaps; set by Append
	Kind      Kind       // what the records are
	Time      event.Time // wall clock when it was appended: the processing time of its records
	Count     int        // how many records Payload holds
	Positions []Position // how far imports have got with this block
	Runs      []Run      // where the records came from; none means Partition "" for all
	Payload   []byte     // the records, one after the other

	// Skipped are the records that are not to be applied, because an operator
	// failed on them, see Log.Skip. They are stored beside the block.
	Skipped []int
}

// The stored form of a block:
//
//	version   1 byte: 1, or 2 for a block with runs
//	kind      1 byte
//	encoding  1 byte, of the payload: plain or compressed
//	number    uvarint
//	time      varint, milliseconds
//	count     uvarint
//	positions uvarint count, then for each: string source, uvarint next
//	runs      only in version 2: uvarint count, at least 1, then for each:
//	          string partition, uvarint count
//	size      uvarint, bytes of the payload before compression
//	payload   the rest, up to the checksum
//	checksum  8 bytes little-endian, xxHash64 of all bytes before it
const (
	blockVersion  = 1
	runsVersion   = 2
	checksumBytes = 8
)

// How a stored payload is encoded.
const (
	encodingPlain = 0
	encodingZstd  = 1
)

// Payloads below compressMinBytes are stored as they are: zstd costs about
// 0.7 us an event on blocks of 16 events and 0.2 us on blocks of 256 or more,
// and Pebble compresses runs of small blocks when it flushes them.
const compressMinBytes = 4 << 10

var (
	errShort    = errors.New("shorter than its checksum")
	errChecksum = errors.New("checksum mismatch")
	errMissing  = errors.New("missing")
)

// codec turns blocks into stored values and back. Its methods may be called
// concurrently.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(512<<10),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("creating the compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxPayloadBytes))
	if err != nil {
		return nil, fmt.Errorf("creating the decompressor: %w", err)
	}
	return &codec{enc: enc, dec: dec}, nil
}

func (c *codec) close() {
	c.dec.Close()
}

// append appends the stored form of b to dst.
func (c *codec) append(dst []byte, b *Block) []byte {
	start := len(dst)
	dst = append(dst, blockVersion, byte(b.Kind), encodingPlain)
	dst = wire.AppendUvarint(dst, b.Number)
	dst = wire.AppendVarint(dst, int64(b.Time))
	dst = wire.AppendUvarint(dst, uint64(b.Count))
	dst = wire.AppendUvarint(dst, uint64(len(b.Positions)))
	for _, p := range b.Positions {
		dst = wire.AppendString(dst, p.Source)
		dst = wire.AppendUvarint(dst, p.Next)
	}
	if len(b.Runs) > 0 {
		dst[start] = runsVersion
		dst = wire.AppendUvarint(dst, uint64(len(b.Runs)))
		for _, run := range b.Runs {
			dst = wire.AppendString(dst, run.Partition)
			dst = wire.AppendUvarint(dst, uint64(run.Count))
		}
	}
	dst = wire.AppendUvarint(dst, uint64(len(b.Payload)))
	header := len(dst)
	if len(b.Payload) >= compressMinBytes {
		dst = c.enc.EncodeAll(b.Payload, dst)
		// Less than an eighth saved is not worth decompressing.
		if len(dst)-header <= len(b.Payload)-len(b.Payload)/8 {
			dst[start+2] = encodingZstd
			return sealValue(dst, start)
		}
		dst = dst[:header]
	}
	return sealValue(append(dst, b.Payload...), start)
}

// sealValue appends the checksum of dst[start:].
func sealValue(dst []byte, start int) []byte {
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

// openValue checks the checksum at the end of v and returns what is before it.
func openValue(v []byte) ([]byte, error) {
	if len(v) < checksumBytes {
		return nil, errShort
	}
	body := v[:len(v)-checksumBytes]
	if xxhash.Sum64(body) != binary.LittleEndian.Uint64(v[len(body):]) {
		return nil, errChecksum
	}
	return body, nil
}

// decode reads the stored value v of block number into b. A payload that is
// not compressed is part of v; a compressed one is put into buf, whose grown
// form is returned for the next call.
func (c *codec) decode(number uint64, v []byte, b *Block, buf []byte) ([]byte, error) {
	body, err := openValue(v)
	if err != nil {
		return buf, &CorruptError{Block: number, Err: err}
	}
	r := wire.NewReader(body)
	version := r.Byte()
	if version != blockVersion && version != runsVersion {
		return buf, &CorruptError{Block: number, Err: fmt.Errorf("unknown version %d", version)}
	}
	size, encoding, err := readHeader(r, version, number, b)
	if err != nil {
		return buf, &CorruptError{Block: number, Err: err}
	}
	b.Payload = body[len(body)-r.Len():]
	if encoding == encodingZstd {
		buf, err = c.dec.DecodeAll(b.Payload, buf[:0])
		if err != nil {
			return buf, &CorruptError{Block: number, Err: fmt.Errorf("decompressing: %w", err)}
		}
		b.Payload = buf
	}
	if uint64(len(b.Payload)) != size {
		return buf, &CorruptError{Block: number, Err: fmt.Errorf("payload of %d bytes, expected %d", len(b.Payload), size)}
	}
	return buf, nil
}

// readHeader reads the fields between the version and the payload.
func readHeader(r *wire.Reader, version byte, number uint64, b *Block) (size uint64, encoding byte, err error) {
	b.Kind = Kind(r.Byte())
	encoding = r.Byte()
	b.Number = r.Uvarint()
	b.Time = event.Time(r.Varint())
	count := r.Uvarint()
	n := r.Count()
	b.Positions = b.Positions[:0]
	for range n {
		b.Positions = append(b.Positions, Position{Source: r.String(), Next: r.Uvarint()})
	}
	b.Runs = b.Runs[:0]
	if version == runsVersion {
		for range r.Count() {
			b.Runs = append(b.Runs, Run{Partition: r.String(), Count: int(r.Uvarint())})
		}
	}
	size = r.Uvarint()
	switch {
	case r.Err() != nil:
		return 0, 0, r.Err()
	case b.Number != number:
		return 0, 0, fmt.Errorf("holds block %d", b.Number)
	case b.Kind < Events || b.Kind > Tick:
		return 0, 0, fmt.Errorf("unknown %v", b.Kind)
	case encoding > encodingZstd:
		return 0, 0, fmt.Errorf("unknown encoding %d", encoding)
	case count > math.MaxInt || size > MaxPayloadBytes:
		return 0, 0, fmt.Errorf("%d records in %d bytes", count, size)
	case version == runsVersion && !isRuns(b.Runs, int(count)):
		return 0, 0, fmt.Errorf("%d records in runs of %v", count, b.Runs)
	}
	b.Count = int(count)
	return size, encoding, nil
}

// isRuns says whether these are runs of so many records in all.
func isRuns(runs []Run, count int) bool {
	for _, run := range runs {
		if run.Count < 0 || run.Count > count {
			return false
		}
		count -= run.Count
	}
	return count == 0 && len(runs) > 0
}

// extend adds records of one partition to runs of so many.
func extend(runs []Run, before int, partition string, count int) []Run {
	if len(runs) == 0 {
		if partition == "" {
			return nil
		}
		if before > 0 {
			runs = append(runs, Run{Count: before})
		}
	}
	if n := len(runs); n > 0 && runs[n-1].Partition == partition {
		runs[n-1].Count += count
		return runs
	}
	return append(runs, Run{Partition: partition, Count: count})
}

// check says why b cannot be appended.
func (b *Block) check() error {
	switch {
	case b.Kind < Events || b.Kind > Tick:
		return fmt.Errorf("%w: a block of %v", ErrInvalid, b.Kind)
	case b.Count < 0:
		return fmt.Errorf("%w: a block of %d records", ErrInvalid, b.Count)
	case len(b.Runs) > 0 && !isRuns(b.Runs, b.Count):
		return fmt.Errorf("%w: a block of %d records in runs of %v", ErrInvalid, b.Count, b.Runs)
	case len(b.Payload) > MaxPayloadBytes:
		return fmt.Errorf("%w: a payload of %d bytes, at most %d fit", ErrInvalid, len(b.Payload), MaxPayloadBytes)
	}
	return nil
}
