// Package intake reads the bodies of requests into memory without letting
// them take more than their share: each body is bounded, what comes out of a
// compressed one too, and so are all of them together. A buffer grows with
// what has arrived, never with what a header claims.
package intake

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// The errors of Read.
var (
	// ErrTooLarge is the error of a body that is longer than the limit, as it
	// was sent or once it is decompressed.
	ErrTooLarge = errors.New("request body is too large")
	// ErrBusy is the error of a body for which there is no room beside the
	// ones that are being worked on.
	ErrBusy = errors.New("too many bytes of requests in flight")
	// ErrEncoding is the error of a Content-Encoding that is not understood.
	ErrEncoding = errors.New("unknown content encoding")
	// ErrBroken is the error of a body that ended early or is not what its
	// headers say: broken gzip, broken chunks, a client that went away.
	ErrBroken = errors.New("request body can not be read")
	// ErrSlow is the error of a body that did not arrive in time.
	ErrSlow = errors.New("request body did not arrive in time")
)

// The sizes of buffers: each four times the one before, and the last one the
// limit and a byte, so that the byte too many can be seen.
const (
	smallest = 4 << 10
	growth   = 4
)

// Intake reads bodies. All methods may be called from any goroutine.
type Intake struct {
	limit   int
	budget  int64
	used    atomic.Int64
	buffers []sync.Pool // by size; of *[]byte
	sizes   []int
	unzip   sync.Pool // of *gzip.Reader
}

// New makes an Intake of bodies of at most limit bytes each, and of at most
// budget bytes of buffers for all that have not been released.
func New(limit int, budget int64) *Intake {
	in := &Intake{limit: limit, budget: budget}
	for size := smallest; size < limit; size *= growth {
		in.sizes = append(in.sizes, size)
	}
	in.sizes = append(in.sizes, limit+1)
	in.buffers = make([]sync.Pool, len(in.sizes))
	return in
}

// InFlight is how many bytes of buffers are in use.
func (in *Intake) InFlight() int64 { return in.used.Load() }

// Body is what was read. Bytes may be used until Release.
type Body struct {
	Bytes []byte

	in     *Intake
	buffer *[]byte
	size   int // index in sizes
}

// Read reads the whole body of a request, decompressed.
func (in *Intake) Read(r *http.Request) (*Body, error) {
	if r.ContentLength > int64(in.limit) {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", ErrTooLarge, r.ContentLength, in.limit)
	}
	b := &Body{in: in, size: -1}
	if r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	var err error
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		err = b.fill(r.Body)
	case "gzip", "x-gzip":
		err = b.fillZipped(r.Body)
	default:
		return nil, fmt.Errorf("%w: %.40q, expected gzip or none", ErrEncoding, encoding)
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// fill reads everything from r, in a buffer that grows as needed.
func (b *Body) fill(r io.Reader) error {
	if err := b.grow(); err != nil {
		return err
	}
	for {
		n, err := r.Read((*b.buffer)[len(b.Bytes):])
		b.Bytes = (*b.buffer)[:len(b.Bytes)+n]
		if len(b.Bytes) > b.in.limit {
			return fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, b.in.limit)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return readError(err)
		case len(b.Bytes) == len(*b.buffer):
			if err := b.grow(); err != nil {
				return err
			}
		}
	}
}

// fillZipped is fill of a gzip stream. The compressed bytes are bounded as
// well, as a stream can go on for ever without giving any.
func (b *Body) fillZipped(r io.Reader) error {
	in := &io.LimitedReader{R: r, N: int64(b.in.limit) + 1}
	z, _ := b.in.unzip.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer b.in.unzip.Put(z)
	err := z.Reset(in)
	if err == nil {
		err = b.fill(z)
	} else {
		err = readError(err)
	}
	if err != nil && in.N <= 0 {
		return fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, b.in.limit)
	}
	return err
}

func readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrSlow
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// grow moves what there is to a buffer of the next size.
func (b *Body) grow() error {
	in, next := b.in, b.size+1
	size := int64(in.sizes[next])
	if in.used.Add(size) > in.budget {
		in.used.Add(-size)
		return ErrBusy
	}
	larger, _ := in.buffers[next].Get().(*[]byte)
	if larger == nil {
		fresh := make([]byte, size)
		larger = &fresh
	}
	n := copy(*larger, b.Bytes)
	b.giveBack()
	b.buffer, b.size = larger, next
	b.Bytes = (*larger)[:n]
	return nil
}

func (b *Body) giveBack() {
	if b.buffer == nil {
		return
	}
	b.in.buffers[b.size].Put(b.buffer)
	b.in.used.Add(-int64(b.in.sizes[b.size]))
	b.buffer = nil
}

// Release gives the memory back; Bytes must not be used any more. Releasing
// again does nothing.
func (b *Body) Release() {
	b.giveBack()
	b.Bytes = nil
}
