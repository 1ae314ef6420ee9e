package tail

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// file is one that is followed. It stays open, so that what is written to it
// after it was renamed or removed is read as well.
type file struct {
	path string
	id   fileID
	open *os.File

	known      bool   // it begins with something: head, source and offset are set
	head       []byte // what it begins with
	source     string
	generation int
	begin      uint64 // where reading began, if no position is stored
	offset     uint64 // of the next line
	before     []byte // the last bytes before offset
	copyOf     *file  // another one that has the same in it and is read in its place
	until      uint64 // what it had in it when it was met

	scanned uint64    // up to where a line that is too long has no end; 0 for none
	size    int64     // when it was last read
	length  int64     // at the last look
	written time.Time // by what the file system says
	ended   bool      // no whole line was left then
	changed time.Time
	renamed bool // since it was first seen
	gone    bool // from where it can be seen
	seen    bool // in the look that is under way
}

// beforeBytes is how much before the offset is remembered, to notice that a
// file began anew.
const beforeBytes = 256

// errAnew is the error of a file that has other content than before.
var errAnew = errors.New("the file began anew")

// seek has reading go on at an offset.
func (f *file) seek(offset uint64) error {
	f.offset, f.scanned, f.ended = offset, 0, false
	f.before = make([]byte, min(offset, beforeBytes))
	n, err := f.open.ReadAt(f.before, int64(offset)-int64(len(f.before)))
	if n < len(f.before) {
		if errors.Is(err, io.EOF) {
			err = errAnew
		}
		return err
	}
	return nil
}

// check returns errAnew if the file does not have what it had before the offset.
func (f *file) check(size int64) error {
	if uint64(size) < max(f.offset, f.scanned) {
		return errAnew
	}
	for _, part := range []struct {
		bytes []byte
		at    int64
	}{{f.head, 0}, {f.before, int64(f.offset) - int64(len(f.before))}} {
		same, err := sameAt(f.open, part.bytes, part.at)
		if err != nil {
			return err
		}
		if !same {
			return errAnew
		}
	}
	return nil
}

// read reads what comes next into the buffer, and checks then that it belongs
// to what came before: at no time between can the file have begun anew. It is
// empty at the end.
func (f *file) read(buffer []byte, now time.Time) ([]byte, error) {
	info, err := f.open.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != f.size || !info.ModTime().Equal(f.written) || f.changed.IsZero() {
		f.changed, f.ended = now, false
	} else if f.ended {
		return nil, nil
	}
	n, err := f.open.ReadAt(buffer, int64(max(f.offset, f.scanned)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if info, err = f.open.Stat(); err != nil {
		return nil, err
	}
	if err := f.check(info.Size()); err != nil {
		return nil, err
	}
	f.size, f.written = info.Size(), info.ModTime()
	f.ended = int64(max(f.offset, f.scanned))+int64(n) >= f.size
	return buffer[:n], nil
}

// advance passes over bytes that have been handed out.
func (f *file) advance(text []byte, to uint64) {
	f.offset, f.scanned = to, 0
	f.before = append(f.before, text[max(0, len(text)-beforeBytes):]...)
	if over := len(f.before) - beforeBytes; over > 0 {
		f.before = append(f.before[:0], f.before[over:]...)
	}
}

// atEnd says whether nothing can be read until the file changes.
func (f *file) atEnd(now time.Time, idle time.Duration) bool {
	return f.ended && now.Sub(f.changed) >= idle
}

// lines splits what was read into whole lines, at most so many, and passes over
// them. The last line of a file that is finished may have no end.
func (f *file) lines(read []byte, most int, o *Options, finished bool) ([]Line, error) {
	var list []Line
	used := 0
	at, passed := max(f.offset, f.scanned), f.scanned > 0
	if finished && len(read) == 0 && passed {
		return []Line{{Text: f.longBegin(), Offset: f.offset, Long: true}}, f.seek(at)
	}
	for used < len(read) && len(list) < most {
		end := bytes.IndexByte(read[used:], '\n')
		next := used + end + 1
		if end < 0 {
			if !finished {
				break
			}
			end, next = len(read)-used, len(read)
		}
		l := Line{Text: bytes.TrimSuffix(read[used:used+end], []byte{'\r'}), Offset: at + uint64(used)}
		if f.scanned > 0 {
			l.Offset, l.Text, l.Long = f.offset, f.longBegin(), true
			f.scanned = 0
		} else if len(l.Text) > o.MaxLineBytes {
			l.Text, l.Long = l.Text[:min(len(l.Text), keptBytes)], true
		}
		list = append(list, l)
		used = next
	}
	switch {
	case len(list) > 0:
		f.ended = f.ended && bytes.IndexByte(read[used:], '\n') < 0
		if ended := f.ended; passed { // what was before it is not in the buffer
			err := f.seek(at + uint64(used))
			f.ended = ended
			return list, err
		}
		f.advance(read[:used], at+uint64(used))
	case len(read) > o.MaxLineBytes || f.scanned > 0 && len(read) > 0: // a line without an end so far
		f.scanned = at + uint64(len(read))
	}
	return list, nil
}

// longBegin is the beginning of the line at the offset, which is too long to be
// kept.
func (f *file) longBegin() []byte {
	begin := make([]byte, keptBytes)
	n, err := f.open.ReadAt(begin, int64(f.offset))
	if err != nil && !errors.Is(err, io.EOF) {
		n = 0 // what it began with is for people, and they have the offset
	}
	return begin[:n]
}

// stem is the name of a file up to its first dot or dash: what the names of its
// rotated copies begin with.
func stem(path string) string {
	name := filepath.Base(path)
	for i := 1; i < len(name); i++ {
		if name[i] == '.' || name[i] == '-' {
			return name[:i]
		}
	}
	return name
}
