package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/internal/csvline"
	"millrace/source"
)

// content is what an input holds, in the order in which inputs are read.
type content uint8

const (
	items content = iota
	users
	events
)

// String is the name that Layout has for it.
func (c content) String() string {
	return [...]string{items: "items", users: "users", events: "events"}[c]
}

// splitter finds the texts of records in an input: its lines, or the elements
// of a JSON array.
type splitter interface {
	// next is the next text, valid until the next call, or an error; a fault
	// is a text that cannot be had in full.
	next() (text []byte, fault *event.FieldError, err error)
}

// decoder makes records of texts.
type decoder interface {
	// decode sets the Event or the Change of the record, or neither when the
	// text is blank, or says what is wrong. What it sets may be part of the
	// text, and of the decoder.
	decode(text []byte, into *source.Record) *event.FieldError
}

// reader is one file as a source.Reader.
type reader struct {
	place
	kind    kind
	opt     Options
	content content // known once opened

	input    *input
	texts    splitter
	decoder  decoder
	row      uint64
	done     atomic.Int64
	err      error  // after which nothing can be read
	idPrefix []byte // of event ids, for files
	id       []byte // scratch
	record   source.Record
	bad      source.Bad

	described bool // to Options.Describe
}

func newReader(where place, k kind, opt Options) *reader {
	r := &reader{place: where, kind: k, opt: opt, content: events}
	if where.stream == nil {
		r.idPrefix = fmt.Appendf(nil, "%08x:r", uint32(where.hash>>32))
	}
	return r
}

// Name is the name of the file and its fingerprint, "" for a stream.
func (r *reader) Name() string { return r.name() }

// Total is the size of the file in bytes, 0 for a stream.
func (r *reader) Total() int64 { return r.size }

// Done is how many of its bytes have been read.
func (r *reader) Done() int64 { return r.done.Load() }

// open gets the input ready for its first record.
func (r *reader) open() error {
	var err error
	if r.input, err = r.place.open(&r.done); err != nil {
		return err
	}
	byLine := lines{r.input}
	r.texts = byLine
	k := r.kind
	if k == byContent {
		if k, err = r.sniff(); err != nil {
			return err
		}
	}
	switch k {
	case ratingsDat:
		r.decoder = newRatings()
	case moviesDat:
		r.decoder, r.content = movies{}, items
	case usersDat:
		r.decoder, r.content = people{}, users
	case csvFile:
		return r.openCSV(byLine)
	case itemsJSON:
		r.decoder, r.content = jsonItems{}, items
	case usersJSON:
		r.decoder, r.content = jsonUsers{}, users
	case eventsJSON:
		r.decoder = &jsonEvents{opt: r.opt.Event}
	}
	if k == itemsJSON || k == usersJSON || k == eventsJSON {
		r.openArray()
	}
	return nil
}

// describe tells once how the rows are understood: an input is opened to be
// checked, and again to be read.
func (r *reader) describe(l Layout) {
	if r.opt.Describe != nil && !r.described {
		l.Path, r.described = r.path, true
		r.opt.Describe(l)
	}
}

// sniff tells the format of the input by how it begins.
func (r *reader) sniff() (kind, error) {
	switch r.opt.Format {
	case CSV:
		return csvFile, nil
	case JSONLines:
		return eventsJSON, nil
	case Auto:
	default:
		return unknown, fmt.Errorf("%w: %q, expected %q or %q", ErrFormat, r.opt.Format, CSV, JSONLines)
	}
	line, err := r.input.peekLine()
	if err != nil {
		return eventsJSON, ignoreEOF(err) // nothing in it
	}
	if !isText(line) {
		return unknown, errNoText
	}
	line = bytes.TrimSpace(line)
	switch {
	case len(line) == 0 || line[0] == '{' || line[0] == '[':
		return eventsJSON, nil
	case bytes.Count(line, []byte("::")) == 3:
		return ratingsDat, nil
	case bytes.ContainsAny(line, csvline.Separators()):
		return csvFile, nil
	}
	return unknown, fmt.Errorf("%w: it begins with %q, expected JSON or names of columns", ErrFormat, got(line))
}

var errNoText = fmt.Errorf("%w: it is neither text nor compressed with gzip or zstd", ErrFormat)

// isText tells whether a line can be meant to be read: it has no control
// characters but tabs.
func isText(line []byte) bool {
	return !bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' && c != '\r' })
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// reset closes the input again, to begin anew.
func (r *reader) reset() error {
	err := r.release()
	r.decoder, r.texts, r.row = nil, nil, 0
	r.done.Store(0)
	return err
}

// release closes the input, if it is open.
func (r *reader) release() error {
	if r.input == nil {
		return nil
	}
	in := r.input
	r.input = nil
	if err := in.close(); err != nil {
		return fmt.Errorf("closing %s: %w", r.path, err)
	}
	return nil
}

// Close closes the file. Of streams only a named pipe is closed.
func (r *reader) Close() error {
	if r.err == nil {
		r.err = fmt.Errorf("reading %s: %w", r.path, fs.ErrClosed)
	}
	err := r.release()
	if r.owned != nil {
		err = errors.Join(err, r.owned.Close())
		r.owned = nil
	}
	return err
}

// text is the text of the next record.
func (r *reader) text() ([]byte, *event.FieldError, error) {
	if r.err != nil {
		return nil, nil, r.err
	}
	if r.texts == nil {
		if err := r.open(); err != nil {
			return nil, nil, r.stop(err)
		}
	}
	text, fault, err := r.texts.next()
	if err != nil {
		return nil, nil, r.stop(err)
	}
	r.row++
	return text, fault, nil
}

// stop ends the reading for good, with an error or io.EOF.
func (r *reader) stop(err error) error {
	if closed := r.release(); errors.Is(err, io.EOF) && closed != nil {
		err = closed
	}
	if !errors.Is(err, io.EOF) {
		err = fmt.Errorf("reading %s after row %d: %w", r.path, r.row, err)
	}
	r.err = err
	return err
}

// Next is the next record: blank lines are passed over.
func (r *reader) Next() (source.Record, error) {
	for {
		text, fault, err := r.text()
		if err != nil {
			return source.Record{}, err
		}
		r.record = source.Record{Row: r.row}
		if fault == nil {
			fault = r.decoder.decode(text, &r.record)
		}
		if e := r.record.Event; fault == nil && e != nil {
			if e.ID == "" {
				e.ID = r.eventID(text)
			}
			fault = r.validate(e)
		}
		if fault != nil {
			r.bad = source.Bad{Raw: text[:min(len(text), source.MaxBadBytes)], Err: fault}
			r.record = source.Record{Bad: &r.bad, Row: r.row}
		}
		if r.record != (source.Record{Row: r.row}) {
			return r.record, nil
		}
	}
}

func (r *reader) validate(e *event.Event) *event.FieldError {
	if _, parsed := r.decoder.(*jsonEvents); parsed {
		return nil // it was validated with its parsing
	}
	return event.Validate(e, r.opt.Event)
}

// eventID is the event_id of a row that has none of its own. For a file it is
// of the fingerprint and the row, so that an import that is run again adds
// nothing. A stream has no fingerprint: there it is of the text and the row.
func (r *reader) eventID(text []byte) string {
	r.id = append(r.id[:0], r.idPrefix...)
	if r.stream != nil {
		r.id = fmt.Appendf(r.id, "%016x:r", xxhash.Sum64(text))
	}
	r.id = strconv.AppendUint(r.id, r.row, 10)
	return string(r.id)
}

// Skip reads the texts of records without parsing them.
func (r *reader) Skip(row uint64) error {
	for r.row < row {
		if r.texts == nil && r.err == nil {
			// A header counts as a row, and opening reads it.
			if err := r.open(); err != nil {
				return ignoreEOF(r.stop(err))
			}
			continue
		}
		if _, _, err := r.text(); err != nil {
			return ignoreEOF(err)
		}
	}
	return nil
}

// Ready tells whether a stream has another line to read. Files always have, and
// an array is taken as one that was written in one go.
func (r *reader) Ready() bool {
	_, byLine := r.texts.(lines)
	if r.stream == nil || r.err != nil || !byLine && r.texts != nil {
		return true
	}
	if r.input == nil {
		return false
	}
	seen, err := r.input.text.Peek(r.input.text.Buffered())
	return err == nil && bytes.IndexByte(seen, '\n') >= 0
}

// lines splits an input into lines.
type lines struct{ in *input }

func (l lines) next() ([]byte, *event.FieldError, error) {
	text, long, err := l.in.line()
	if err == nil && long {
		return text, fault("", fmt.Sprintf("a line of at most %d bytes", maxLine), text), nil
	}
	return text, nil, err
}
