package file

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"millrace/event"
	"millrace/source"
)

const space = " \t\r\n"

// jsonEvents reads lines as event.ParseEvent does, and catalogue changes.
type jsonEvents struct {
	opt   event.Options
	event event.Event
}

func (d *jsonEvents) decode(line []byte, into *source.Record) (fault *event.FieldError) {
	if line = bytes.Trim(line, space); len(line) == 0 {
		return nil
	}
	if isChange(line) {
		into.Change, fault = parseChange(line)
		return fault
	}
	if d.event, fault = event.ParseEvent(line, d.opt); fault == nil {
		into.Event = &d.event
	}
	return fault
}

// jsonItems reads lines as items of the catalogue.
type jsonItems struct{}

func (jsonItems) decode(line []byte, into *source.Record) *event.FieldError {
	if line = bytes.Trim(line, space); len(line) == 0 {
		return nil
	}
	item, fault := event.ParseItem(line, "")
	if fault == nil {
		into.Change = &event.Change{Kind: event.PutItem, Item: &item}
	}
	return fault
}

// jsonUsers reads lines as users of the catalogue.
type jsonUsers struct{}

func (jsonUsers) decode(line []byte, into *source.Record) *event.FieldError {
	if line = bytes.Trim(line, space); len(line) == 0 {
		return nil
	}
	user, fault := event.ParseUser(line, "")
	if fault == nil {
		into.Change = &event.Change{Kind: event.PutUser, User: &user}
	}
	return fault
}

// change is a catalogue change as a line of JSON: one of the members.
type change struct {
	PutItem    jsontext.Value `json:"put_item,omitzero"`
	DeleteItem jsontext.Value `json:"delete_item,omitzero"`
	PutUser    jsontext.Value `json:"put_user,omitzero"`
	DeleteUser jsontext.Value `json:"delete_user,omitzero"`
}

const expectedChange = `{"put_item":{…}}, {"put_user":{…}}, {"delete_item":id} or {"delete_user":id}`

// isChange tells a change from an event by the name of its first member.
func isChange(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte{'{'})
	name := bytes.TrimLeft(rest, space)
	return ok && (bytes.HasPrefix(name, []byte(`"put_`)) || bytes.HasPrefix(name, []byte(`"delete_`)))
}

func parseChange(line []byte) (*event.Change, *event.FieldError) {
	var c change
	if err := json.Unmarshal(line, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, fault("", expectedChange, line)
	}
	given := 0
	for _, member := range []jsontext.Value{c.PutItem, c.DeleteItem, c.PutUser, c.DeleteUser} {
		if member != nil {
			given++
		}
	}
	if given != 1 {
		return nil, fault("", "one of "+expectedChange, line)
	}
	switch {
	case c.PutItem != nil:
		item, fault := event.ParseItem(c.PutItem, "")
		return &event.Change{Kind: event.PutItem, Item: &item}, fault
	case c.DeleteItem != nil:
		item, fault := event.ParseItem(fmt.Appendf(nil, `{"item_id":%s}`, c.DeleteItem), "")
		return &event.Change{Kind: event.DeleteItem, Item: &item}, fault
	case c.PutUser != nil:
		user, fault := event.ParseUser(c.PutUser, "")
		return &event.Change{Kind: event.PutUser, User: &user}, fault
	}
	user, fault := event.ParseUser(fmt.Appendf(nil, `{"user_id":%s}`, c.DeleteUser), "")
	return &event.Change{Kind: event.DeleteUser, User: &user}, fault
}

// ErrRecord is wrapped by AppendJSON for a record that has no form in JSON.
var ErrRecord = errors.New("record cannot be written")

// AppendJSON appends a record as a line of JSON without its end, in the form
// that this package reads. The error wraps ErrRecord for bad records and for
// the changes that only the engine makes.
func AppendJSON(dst []byte, r source.Record) ([]byte, error) {
	var c change
	var err error
	switch {
	case r.Event != nil:
		return event.AppendJSON(dst, r.Event), nil
	case r.Change == nil:
		return dst, fmt.Errorf("row %d: %w: neither event nor change", r.Row, ErrRecord)
	}
	switch r.Change.Kind {
	case event.PutItem:
		c.PutItem, err = stdjson.Marshal(r.Change.Item.JSON())
	case event.PutUser:
		c.PutUser, err = stdjson.Marshal(r.Change.User.JSON())
	case event.DeleteItem:
		c.DeleteItem, err = jsontext.AppendQuote(nil, r.Change.Item.ID)
	case event.DeleteUser:
		c.DeleteUser, err = jsontext.AppendQuote(nil, r.Change.User.ID)
	default:
		err = fmt.Errorf("a change of kind %d", r.Change.Kind)
	}
	if err != nil {
		return dst, fmt.Errorf("row %d: %w: %w", r.Row, ErrRecord, err)
	}
	line, err := json.Marshal(c)
	if err != nil {
		return dst, fmt.Errorf("row %d: %w: %w", r.Row, ErrRecord, err)
	}
	return append(dst, line...), nil
}

// openArray sees whether the input is an array of objects or of arrays, rather
// than lines. A line that is the array of an event begins with an id.
func (r *reader) openArray() {
	opened := false
	for n := 1; ; n++ {
		begin, _ := r.input.text.Peek(n)
		if len(begin) < n {
			return // too short, or nothing but white space: lines, which meet the error
		}
		switch c := begin[n-1]; {
		case bytes.IndexByte([]byte(space), c) >= 0:
		case !opened && c == '[':
			opened = true
		case opened && (c == '{' || c == '[' || c == ']'):
			r.texts = newArray(r.input.text)
			return
		default:
			return
		}
	}
}

// array splits a JSON array into its elements. After a fault in its structure
// nothing can be read.
type array struct {
	decoder *jsontext.Decoder
	limit   *limited
	err     error
}

func newArray(text io.Reader) *array {
	limit := &limited{r: text}
	return &array{decoder: jsontext.NewDecoder(limit, jsontext.AllowDuplicateNames(true)), limit: limit}
}

var errElement = fmt.Errorf("element over %d bytes", maxLine)

// limited reads a bounded number of bytes for every element, so that one that
// does not end fills no memory. The decoder reads ahead by no more than it
// holds already, so elements up to maxLine fit.
type limited struct {
	r    io.Reader
	left int
}

// Read fails with errElement when the element has used up its bytes.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errElement
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func (a *array) next() ([]byte, *event.FieldError, error) {
	if a.err != nil {
		return nil, nil, a.err
	}
	a.limit.left = 4 * maxLine
	if a.decoder.StackDepth() == 0 {
		if _, err := a.decoder.ReadToken(); err != nil {
			return a.stop(err)
		}
	}
	if a.decoder.PeekKind() == ']' {
		if _, err := a.decoder.ReadToken(); err != nil {
			return a.stop(err)
		}
		_, err := a.decoder.ReadToken()
		if err == nil {
			err = errors.New("something after the array")
		}
		return a.stop(err)
	}
	element, err := a.decoder.ReadValue()
	if err != nil {
		return a.stop(err)
	}
	return element, nil, nil
}

// stop ends the array: well, or with a fault and what was not understood.
// Errors of the input itself are passed on.
func (a *array) stop(err error) ([]byte, *event.FieldError, error) {
	a.err = io.EOF
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil, io.EOF
	case errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errElement):
		rest := a.decoder.UnreadBuffer()
		return rest, &event.FieldError{Expected: "a JSON array to its end", Got: got([]byte(err.Error()))}, nil
	}
	a.err = err
	return nil, nil, err
}
