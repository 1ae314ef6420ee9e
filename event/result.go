package event

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// A BadInput is an element that was refused, for the dead letters.
type BadInput struct {
	Index int        // position of the element in the request
	Raw   []byte     // the element as it was sent, a part of the request's body
	Error FieldError // what is wrong with it
}

// Rejected is what was refused of a request, in its order. The two lists are
// of the same elements.
type Rejected struct {
	Errors []FieldError
	Bad    []BadInput
}

// Limits bound what one request can hold and cost. Zero means the default.
type Limits struct {
	Elements int // elements read, DefaultElements by default
	Errors   int // elements refused, DefaultErrors by default
}

// The default limits. What comes after the last element within a limit is
// reported as one error.
const (
	DefaultElements = 200_000
	DefaultErrors   = 10_000
)

func (l Limits) orDefaults() Limits {
	if l.Elements <= 0 {
		l.Elements = DefaultElements
	}
	if l.Errors <= 0 {
		l.Errors = DefaultErrors
	}
	return l
}

// result is what came of the elements so far.
type result struct {
	index int   // of the next element
	good  []int // indices of the kept elements
	Rejected
}

// mark remembers what had come of the elements, to rewind to.
type mark struct{ index, good, bad int }

func (w *walker) mark() mark { return mark{w.index, len(w.good), len(w.Bad)} }

func (w *walker) rewind(m mark) {
	w.index = m.index
	w.good = w.good[:m.good]
	w.Errors, w.Bad = w.Errors[:m.bad], w.Bad[:m.bad]
	w.out.truncate(m.good)
}

// errFull is the error of a walk that came to a limit.
var errFull = errors.New("limit of elements or errors")

// room says whether one more element may be read.
func (w *walker) room() error {
	if w.index >= w.limits.Elements || len(w.Bad) >= w.limits.Errors {
		return errFull
	}
	return nil
}

// stop refuses the rest of the body, which is beyond the limits.
func (w *walker) stop() {
	bad := FieldError{Expected: "at most " + plural(w.limits.Elements, "element") + " in a request"}
	if w.index < w.limits.Elements {
		bad.Expected = "fewer than " + plural(w.limits.Errors, "bad element") + " in a request"
	}
	bad.Got = "more, beginning with " + excerpt(w.body[w.broken:])
	w.reject(w.body[w.broken:], &bad)
	w.pos = len(w.body)
}

// finish keeps or refuses the element that began at start and ends where the
// decoder is.
func (w *walker) finish(start int, bad *FieldError) {
	if bad != nil {
		w.reject(w.body[start:w.offset()], bad)
		return
	}
	if w.good == nil {
		size := max(w.offset()-start, minElementBytes)
		n := min(len(w.body)/size+1, w.limits.Elements)
		w.good = make([]int, 0, n)
		w.out.reserve(n)
	}
	w.out.keep()
	w.good = append(w.good, w.index)
	w.index++
}

// minElementBytes is about the shortest element: a guess of how many elements
// a body has is not drawn from a shorter one.
const minElementBytes = 24

func (w *walker) reject(raw []byte, bad *FieldError) {
	bad.Index = w.index
	w.Errors = append(w.Errors, *bad)
	w.Bad = append(w.Bad, BadInput{Index: w.index, Raw: raw[:len(raw):len(raw)], Error: *bad})
	w.index++
}

// rejectSyntax refuses a part of the body that is not JSON.
func (w *walker) rejectSyntax(from, to int, reason string) {
	raw := bytes.TrimRight(w.body[from:to], " \t\r\n")
	w.reject(raw, syntaxError(reason, raw))
}

func syntaxError(reason string, raw []byte) *FieldError {
	if len(raw) > 0 {
		reason += ", in " + excerpt(raw)
	}
	return &FieldError{Expected: "valid JSON", Got: reason}
}

// syntaxReason says what is wrong with JSON that the decoder refused, but not
// where: that can be as long as the body.
func syntaxReason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "an early end"
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return s.Err.Error()
	}
	return err.Error()
}

// syntaxOffset is how far the decoder had read when it met the error.
func syntaxOffset(err error) int {
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return int(s.ByteOffset)
	}
	return 0
}
