// Package problem is how the HTTP API says that something went wrong: the
// problem details of RFC 9457, with the list of the fields that were not as
// expected where there is one.
package problem

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"millrace/event"
)

// ContentType is the media type of a problem.
const ContentType = "application/problem+json"

// Problem is the body of every answer with a status of 400 or more, and an
// error. It is written once and not changed afterwards.
type Problem struct {
	Type   string  `json:"type" doc:"Always about:blank: the status says what kind of problem it is."`
	Title  string  `json:"title" doc:"The text of the status."`
	Status int     `json:"status" doc:"The status of the answer."`
	Detail string  `json:"detail,omitempty" doc:"What went wrong, in words."`
	Errors []Field `json:"errors,omitempty" doc:"The fields that were not as expected."`

	header http.Header
}

// Field is one thing that was not as expected.
type Field struct {
	Index    *int   `json:"index,omitempty" doc:"Position in the list that was sent, from 0; absent where there was none."`
	Field    string `json:"field" doc:"Name of the parameter or of the member of the body, empty for the whole of it."`
	Expected string `json:"expected" doc:"What would have been right, in words."`
	Got      string `json:"got" doc:"What was found: an excerpt of printable text, about 100 characters at most."`
}

// New is a problem with a status and what went wrong in words.
func New(status int, format string, args ...any) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: fmt.Sprintf(format, args...),
	}
}

// BadField is a 400 about one parameter or member of a body. Of what was
// found, an excerpt is told.
func BadField(field, expected, got string) *Problem {
	return BadFields(Field{Field: field, Expected: expected, Got: Excerpt(got)})
}

// BadFields is a 400 about some parameters or members of a body.
func BadFields(fields ...Field) *Problem {
	p := New(http.StatusBadRequest, "%s", summary(fields))
	p.Errors = fields
	return p
}

// FromEvents turns what the parsers of package event found into fields.
func FromEvents(errs []event.FieldError) []Field {
	fields := make([]Field, len(errs))
	for i := range errs {
		e := &errs[i]
		fields[i] = Field{Index: &e.Index, Field: e.Field, Expected: e.Expected, Got: e.Got}
	}
	return fields
}

// summary says the first of some field errors in one sentence.
func summary(fields []Field) string {
	if len(fields) == 0 {
		return "the request is not as expected"
	}
	f := fields[0]
	text := "expected " + f.Expected + ", got " + f.Got
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if n := len(fields) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// With is the problem with a header that goes with its answer.
func (p *Problem) With(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Add(name, value)
	return p
}

// RetryAfter is the problem with the time after which to try again, in whole
// seconds and at least one.
func (p *Problem) RetryAfter(d time.Duration) *Problem {
	seconds := max(1, int((d+time.Second-1)/time.Second))
	return p.With("Retry-After", strconv.Itoa(seconds))
}

// Error is what went wrong, in one line.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}

// GetStatus is the status of the answer, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are the headers of the answer, for huma.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is the media type of a problem, whatever was negotiated, for
// huma.
func (p *Problem) ContentType(string) string { return ContentType }

// JSON is the problem as it is sent.
func (p *Problem) JSON() []byte {
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers always encode
		body = []byte(`{"status":500}`)
	}
	return append(body, '\n')
}

// Write answers a request with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	body := p.JSON()
	h := w.Header()
	for name, values := range p.header {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// maxExcerpt is how many characters of a bad value are told.
const maxExcerpt = 100

// Excerpt is the beginning of a text, fit for a message and a log: valid
// UTF-8, and what can not be printed written as an escape. Nothing is
// "nothing".
func Excerpt(text string) string {
	if text == "" {
		return "nothing"
	}
	var b strings.Builder
	room := maxExcerpt
	for rest := text; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		shown := rest[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			shown = fmt.Sprintf(`\x%02x`, rest[0])
		case !unicode.IsPrint(r):
			shown = fmt.Sprintf(`\u%04x`, r)
		}
		if room -= utf8.RuneCountInString(shown); room < 0 {
			fmt.Fprintf(&b, "… (%d bytes)", len(text))
			break
		}
		b.WriteString(shown)
		rest = rest[size:]
	}
	return b.String()
}
