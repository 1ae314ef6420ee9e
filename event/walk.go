package event

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A builder makes records of the elements that a walker reads. It is given
// the parts of one element at a time.
type builder interface {
	// begin starts a new record, in place of the last one if that was not kept.
	begin()
	// reserve makes room for about n records.
	reserve(n int)
	// name says which field the next value is for; it is a JSON string. After
	// the first error the element gets no other call.
	name(v jsontext.Value) *FieldError
	// value sets that field.
	value(v jsontext.Value) *FieldError
	// end completes a record of members, and says what is missing.
	end() *FieldError
	// tuple makes the record of an array of scalars.
	tuple(v []jsontext.Value) *FieldError
	// keep adds the record to those that are kept.
	keep()
	// truncate forgets all but the first n records that were kept.
	truncate(n int)
	// expected says in words what an element should be.
	expected() string
}

// A walker reads the elements of a request's body: one JSON value, several in
// a row, an array of them, or one a line. What is broken costs as little of
// the rest as the structure allows; event/README.md has the rules.
type walker struct {
	body   []byte
	lines  bool // no value goes on beyond its line
	limits Limits
	out    builder

	decoder jsontext.Decoder
	input   bytes.Buffer
	scalars [3]jsontext.Value // memory for the values of a tuple
	base    int               // where in the body the decoder's input begins
	limit   int               // where it ends

	pos     int  // where to read on
	at      int  // where the current value of the outermost level begins
	broken  int  // where the part begins that an error is about
	inList  bool // the current value is an array of elements from the first one on
	sawLine bool // a value ended on the line that it began on
	wasted  int  // bytes read in vain beyond the lines of broken values
	alone   bool // lines are read one by one

	lineAt     int  // where the first value of the current line begins
	beforeLine mark // what had come of the elements before it

	result
}

// byteOrderMark may come before a body: some programs write it before UTF-8.
var byteOrderMark = []byte("\ufeff")

var walkers = sync.Pool{New: func() any { return new(walker) }}

// Duplicate names and UTF-8 are checked where they matter, so that they cost
// one element and not the structure.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// isLines says whether a content type promises one value a line.
func isLines(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	_, subtype, _ := strings.Cut(kind, "/")
	switch strings.TrimPrefix(subtype, "x-") {
	case "ndjson", "jsonl", "jsonlines", "json-lines":
		return true
	}
	return false
}

// walk reads the elements of a whole body into b.
func walk(body []byte, contentType string, limits Limits, b builder) result {
	w := walkers.Get().(*walker)
	defer w.release()
	w.start(body, limits, b)
	w.lines = isLines(contentType)
	w.pos = len(body) - len(bytes.TrimPrefix(body, byteOrderMark))
	for w.pos < len(body) {
		if w.alone {
			w.line()
		} else {
			w.stream()
		}
	}
	if w.index == 0 && len(bytes.TrimSpace(body)) == 0 {
		w.reject(nil, missing("", b.expected()))
	}
	return w.result
}

// walkOne reads a body that is one element into b.
func walkOne(body []byte, b builder) *FieldError {
	w := walkers.Get().(*walker)
	defer w.release()
	body = bytes.TrimPrefix(body, byteOrderMark)
	w.start(body, Limits{}, b)
	w.read(0, len(body))
	if w.nextValue(); w.at == len(body) {
		return missing("", b.expected())
	}
	bad, err := w.record()
	if err != nil {
		return syntaxError(syntaxReason(err), body)
	}
	switch _, err = w.decoder.ReadToken(); {
	case errors.Is(err, io.EOF):
		return bad
	case err == nil:
		return unexpected("", "one element and no more", body)
	}
	return syntaxError(syntaxReason(err), body)
}

// start makes the walker ready for a body.
func (w *walker) start(body []byte, limits Limits, b builder) {
	w.body, w.limits, w.out = body, limits.orDefaults(), b
	w.pos, w.at, w.broken, w.wasted = 0, 0, 0, 0
	w.lines, w.sawLine, w.alone = false, false, false
	w.scalars = [3]jsontext.Value{}
	w.result = result{}
}

// release gives the walker back, without what it read and made.
func (w *walker) release() {
	w.start(nil, Limits{}, nil)
	w.read(0, 0)
	walkers.Put(w)
}

// read makes the decoder read a part of the body.
func (w *walker) read(from, to int) {
	w.base, w.limit = from, to
	w.input = *bytes.NewBuffer(w.body[from:to])
	w.decoder.Reset(&w.input, lenient)
}

// stream reads values of the outermost level from pos on, until the body ends
// or one is broken.
func (w *walker) stream() {
	w.read(w.pos, len(w.body))
	for {
		w.nextValue()
		if w.at == len(w.body) {
			w.pos = w.at
			return
		}
		before := w.mark()
		if err := w.value(); err != nil {
			w.resume(before, err)
			return
		}
		if !w.spansLines(w.at, w.offset()) {
			w.sawLine = true
		} else if w.lines {
			w.readAlone()
			return
		}
	}
}

// nextValue goes on to the next value of the outermost level.
func (w *walker) nextValue() {
	from := w.offset()
	w.at = from
	for w.at < w.limit && isSpace(w.body[w.at]) {
		w.at++
	}
	if from == w.base || w.spansLines(from, w.at) {
		w.lineAt, w.beforeLine = w.at, w.mark()
	}
}

func (w *walker) spansLines(from, to int) bool { return bytes.IndexByte(w.body[from:to], '\n') >= 0 }

// resume finds where to go on after a value of a stream that is broken. An
// array of elements keeps those before the error and loses the rest, unless
// whole lines before it show that the body is JSON Lines. Otherwise the rest
// of the line is lost that the value begins on: the next line may be whole.
func (w *walker) resume(before mark, err error) {
	end := w.lineEnd(w.at)
	beyond := w.base + syntaxOffset(err) - end
	switch {
	case errors.Is(err, errFull):
		w.stop()
	case w.lines:
		w.readAlone()
	case w.inList && !w.sawLine:
		w.rejectSyntax(w.broken, len(w.body), syntaxReason(err))
		w.pos = len(w.body)
	case beyond <= 0:
		w.rejectLine(end, syntaxReason(err))
	default:
		w.rewind(before)
		w.broken = w.at
		w.rejectLine(end, syntaxReason(err)+" on a later line")
		// To read on in vain from line after line would take quadratic time.
		w.wasted += beyond
		w.alone = w.wasted > len(w.body)
	}
}

// readAlone goes back to the beginning of the current line, to read on line by
// line.
func (w *walker) readAlone() {
	w.rewind(w.beforeLine)
	w.alone = true
	w.pos = w.lineAt
}

// line reads the values of the line at pos, which end with it.
func (w *walker) line() {
	end := w.lineEnd(w.pos)
	w.read(w.pos, end)
	w.pos = end + 1
	for {
		if w.nextValue(); w.at == end {
			return
		}
		switch err := w.value(); {
		case errors.Is(err, errFull):
			w.stop()
			return
		case err != nil:
			w.rejectLine(end, syntaxReason(err))
			return
		}
	}
}

// rejectLine refuses the rest of the current line, or, if nothing good was on
// it, the whole line as one.
func (w *walker) rejectLine(end int, reason string) {
	if len(w.good) == w.beforeLine.good {
		w.rewind(w.beforeLine)
		w.broken = w.lineAt
	}
	w.rejectSyntax(w.broken, end, reason)
	w.pos = end + 1
}

// lineEnd is where the line ends that the byte at i is on.
func (w *walker) lineEnd(i int) int {
	if n := bytes.IndexByte(w.body[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(w.body)
}

// value reads one value of the outermost level: an element, or an array of
// elements.
func (w *walker) value() error {
	w.broken, w.inList = w.at, false
	if w.decoder.PeekKind() == jsontext.KindBeginArray {
		return w.array()
	}
	return w.element(w.at)
}

// array reads an array of the outermost level. One of up to three scalars and
// nothing else is an element, a tuple; any other is an array of elements.
func (w *walker) array() error {
	if err := w.room(); err != nil {
		return err
	}
	if _, err := w.decoder.ReadToken(); err != nil {
		return err
	}
	w.inList = !isScalar(w.decoder.PeekKind())
	scalars := w.scalars[:0]
	for len(scalars) < cap(scalars) && isScalar(w.decoder.PeekKind()) {
		v, err := w.raw()
		if err != nil {
			return err
		}
		scalars = append(scalars, v)
	}
	switch kind := w.decoder.PeekKind(); {
	case kind == jsontext.KindInvalid:
		_, err := w.decoder.ReadToken()
		return err
	case kind == jsontext.KindEndArray && !w.inList:
		_, err := w.decoder.ReadToken()
		if err == nil {
			w.out.begin()
			w.finish(w.at, w.out.tuple(scalars))
		}
		return err
	}
	for _, v := range scalars {
		w.reject(v, unexpected("", w.out.expected(), v))
	}
	for w.decoder.PeekKind() != jsontext.KindEndArray {
		if err := w.element(w.nextInArray()); err != nil {
			return err
		}
	}
	_, err := w.decoder.ReadToken()
	return err
}

// element reads the element at start, whatever it is, and keeps or rejects it.
func (w *walker) element(start int) error {
	w.broken = start
	if err := w.room(); err != nil {
		return err
	}
	bad, err := w.record()
	if err == nil {
		w.finish(start, bad)
	}
	return err
}

// record reads one element into the builder. The first result is what is wrong
// with an element whose structure could be followed to its end.
func (w *walker) record() (*FieldError, error) {
	w.out.begin()
	switch w.decoder.PeekKind() {
	case jsontext.KindBeginObject:
		return w.object()
	case jsontext.KindBeginArray:
		return w.nested()
	}
	v, err := w.raw()
	if err != nil {
		return nil, err
	}
	return unexpected("", w.out.expected(), v), nil
}

func (w *walker) object() (bad *FieldError, err error) {
	if _, err = w.decoder.ReadToken(); err != nil {
		return nil, err
	}
	for w.decoder.PeekKind() != jsontext.KindEndObject {
		v, err := w.decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		if bad == nil {
			bad = w.out.name(v)
		}
		if v, err = w.decoder.ReadValue(); err != nil {
			return nil, err
		}
		if bad == nil {
			bad = w.out.value(v)
		}
	}
	if _, err = w.decoder.ReadToken(); err != nil {
		return nil, err
	}
	if bad == nil {
		bad = w.out.end()
	}
	return bad, nil
}

// nested reads an array that is an element of an array: a tuple or nothing
// that is known.
func (w *walker) nested() (*FieldError, error) {
	if _, err := w.decoder.ReadToken(); err != nil {
		return nil, err
	}
	start := w.offset() - 1
	scalars, tuple := w.scalars[:0], true
	for {
		kind := w.decoder.PeekKind()
		if kind == jsontext.KindEndArray {
			break
		}
		v, err := w.raw()
		if err != nil {
			return nil, err
		}
		if tuple = tuple && len(scalars) < cap(scalars) && isScalar(kind); tuple {
			scalars = append(scalars, v)
		}
	}
	if _, err := w.decoder.ReadToken(); err != nil {
		return nil, err
	}
	if !tuple {
		return unexpected("", w.out.expected(), w.body[start:w.offset()]), nil
	}
	return w.out.tuple(scalars), nil
}

func isScalar(kind jsontext.Kind) bool {
	switch kind {
	case jsontext.KindNull, jsontext.KindFalse, jsontext.KindTrue, jsontext.KindString, jsontext.KindNumber:
		return true
	}
	return false
}

// raw reads a value as a part of the body, good for as long as that is.
func (w *walker) raw() (jsontext.Value, error) {
	v, err := w.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	end := w.offset()
	return w.body[end-len(v) : end : end], nil
}

// offset is where in the body the decoder has come to.
func (w *walker) offset() int { return w.base + int(w.decoder.InputOffset()) }

// nextInArray is where in the body the next value of an array begins.
func (w *walker) nextInArray() int {
	i := w.offset()
	for i < w.limit && (isSpace(w.body[i]) || w.body[i] == ',') {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
