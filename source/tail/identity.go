package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
)

// fileID tells files of one machine apart, whatever they are called.
type fileID struct{ device, inode uint64 }

// headBytes bounds the beginning of a file that it is known by.
const headBytes = 4 << 10

// head is how much of the beginning of a file never changes while lines are
// added to it: its first line that has something in it, and the one before with
// a header. ok is false as long as that is not all there.
func head(begin []byte, header bool) (n int, ok bool) {
	lines := 1
	if header {
		lines = 2
	}
	for n < len(begin) {
		end := bytes.IndexByte(begin[n:], '\n')
		if end < 0 {
			break
		}
		if len(bytes.TrimSpace(begin[n:n+end])) > 0 {
			lines--
		}
		if n += end + 1; lines == 0 {
			return n, true
		}
	}
	return headBytes, len(begin) >= headBytes
}

// readHead reads the beginning of a file.
func readHead(f io.ReaderAt, header bool) (begin []byte, ok bool, err error) {
	begin = make([]byte, headBytes)
	n, err := f.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if n, ok = head(begin[:n], header); !ok {
		return nil, false, nil
	}
	return begin[:n], true, nil
}

// sourceName is the name under which the position in a file's content is kept:
// of what it begins with, of the file, and of how often that file began anew
// with the same.
func (o *Options) sourceName(head []byte, id fileID, generation int) string {
	return fmt.Sprintf("tail:%s:%016x:%x-%x:%d", o.Name, xxhash.Sum64(head), id.device, id.inode, generation)
}

// sameAt says whether a file has these bytes at an offset.
func sameAt(f io.ReaderAt, want []byte, offset int64) (bool, error) {
	if len(want) == 0 {
		return true, nil
	}
	var buffer [headBytes]byte
	got := buffer[:len(want)]
	n, err := f.ReadAt(got, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.Equal(got[:n], want), nil
}

// comparedBytes is how much of two files is compared to see whether one is a
// copy of the other.
const comparedBytes = 64 << 10

// isCopy says whether one of two files begins as the other does, as far as
// both go, up to comparedBytes.
func isCopy(a, b *os.File) (bool, error) {
	var buffers [2][]byte
	for i, f := range []*os.File{a, b} {
		buffer := make([]byte, comparedBytes)
		n, err := f.ReadAt(buffer, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		buffers[i] = buffer[:n]
	}
	n := min(len(buffers[0]), len(buffers[1]))
	return bytes.Equal(buffers[0][:n], buffers[1][:n]), nil
}
