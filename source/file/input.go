package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// place is where an input lies, and what tells it from another.
type place struct {
	path   string
	stream io.Reader // set for what can be read only once
	owned  *os.File  // the stream, if Close is to close it
	size   int64     // in bytes, 0 for a stream
	hash   uint64    // of the size and the first fingerprintBytes; 0 for a stream
}

const fingerprintBytes = 64 << 10

// fingerprint identifies a file by its size and how it begins. What is not a
// regular file, such as a named pipe, is opened as a stream.
func fingerprint(path string) (place, error) {
	f, err := os.Open(path)
	if err != nil {
		return place{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return place{}, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return place{path: path, stream: f, owned: f}, nil
	}
	begin, err := io.ReadAll(io.LimitReader(f, fingerprintBytes))
	hash := xxhash.Sum64(fmt.Appendf(begin, ":%d", info.Size()))
	return place{path: path, size: info.Size(), hash: hash}, errors.Join(err, f.Close())
}

// name is the stable name of the input, "" for a stream.
func (p *place) name() string {
	if p.stream != nil {
		return ""
	}
	return fmt.Sprintf("%s@%016x", filepath.Base(p.path), p.hash)
}

// maxLine is the longest line that is read, and the size of the buffer.
const maxLine = 1 << 20

// input is an open file: its bytes as they are stored are counted, and then
// decompressed.
type input struct {
	text    *bufio.Reader
	closers []func() error
}

// counter counts what is read through it.
type counter struct {
	r    io.Reader
	read *atomic.Int64
}

// Read counts the bytes as they were stored, before they are decompressed.
func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// open opens the input and sees how it is compressed by how it begins.
func (p *place) open(read *atomic.Int64) (*input, error) {
	in := &input{}
	stored := p.stream
	if stored == nil {
		f, err := os.Open(p.path)
		if err != nil {
			return nil, err
		}
		stored, in.closers = f, append(in.closers, f.Close)
	}
	// Small, so that the count is close to what has been understood.
	raw := bufio.NewReaderSize(counter{stored, read}, 64<<10)
	text, err := in.decompress(raw)
	if err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.text = bufio.NewReaderSize(text, maxLine)
	if mark, _ := in.text.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, err = in.text.Discard(len(mark)) // a byte order mark
	}
	return in, err
}

func (in *input) decompress(raw *bufio.Reader) (io.Reader, error) {
	magic, err := raw.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(raw)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end of a header is not that of a file
		}
		if err != nil {
			return nil, fmt.Errorf("the gzip data is damaged or cut off: %w", err)
		}
		in.closers = append(in.closers, z.Close)
		return decompressed{z, "gzip"}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("reading zstd: %w", err)
		}
		in.closers = append(in.closers, func() error { z.Close(); return nil })
		return decompressed{z, "zstd"}, nil
	}
	return raw, nil
}

// decompressed names the compression in the errors of what it reads.
type decompressed struct {
	r    io.Reader
	name string
}

// Read reads what was decompressed.
func (c decompressed) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("the %s data is damaged or cut off: %w", c.name, err)
	}
	return n, err
}

func (in *input) close() error {
	var errs []error
	for i := len(in.closers) - 1; i >= 0; i-- {
		errs = append(errs, in.closers[i]())
	}
	in.closers = nil
	return errors.Join(errs...)
}

// line is the next line without its end, valid until the next call. A line
// over maxLine is cut off there and marked; the rest of it is passed over.
func (in *input) line() (text []byte, long bool, err error) {
	text, err = in.text.ReadSlice('\n')
	switch {
	case err == nil:
		text = text[:len(text)-1]
		if n := len(text); n > 0 && text[n-1] == '\r' {
			text = text[:n-1]
		}
		return text, false, nil
	case errors.Is(err, io.EOF) && len(text) > 0:
		return text, false, nil
	case !errors.Is(err, bufio.ErrBufferFull):
		return nil, false, err
	}
	text = bytes.Clone(text)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.text.ReadSlice('\n')
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return text, true, err
}

// peekLine is the line that line returns next, as far as it fits the buffer,
// or an error when there is none. It waits for no more than that line.
func (in *input) peekLine() ([]byte, error) {
	var err error
	for {
		seen, _ := in.text.Peek(in.text.Buffered())
		if line, _, whole := bytes.Cut(seen, []byte{'\n'}); whole || err != nil && len(seen) > 0 {
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if err != nil {
			return nil, err
		}
		_, err = in.text.Peek(in.text.Buffered() + 1)
	}
}
