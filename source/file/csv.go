package file

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"millrace/event"
	"millrace/source"
)

// separators are what may stand between the fields of a CSV file. The header
// tells which it is: the one that occurs most, the first of equals.
const separators = ",\t;|"

func separator(header []byte) byte {
	best := separators[0]
	for _, c := range []byte(separators) {
		if bytes.Count(header, []byte{c}) > bytes.Count(header, []byte{best}) {
			best = c
		}
	}
	return best
}

// row splits lines into fields as RFC 4180 has it, except that a record is one
// line: a field in quotes may hold separators and doubled quotes, but no line
// break.
type row struct {
	separator byte
	fields    [][]byte
	scratch   []byte // of fields in quotes
}

// split sets fields to those of the line; they are parts of the line or of
// scratch. It is false when a quote does not close or is followed by text.
func (r *row) split(line []byte) bool {
	r.fields = r.fields[:0]
	if bytes.IndexByte(line, '"') >= 0 {
		return r.splitQuoted(line)
	}
	for {
		end := bytes.IndexByte(line, r.separator)
		if end < 0 {
			r.fields = append(r.fields, line)
			return true
		}
		r.fields = append(r.fields, line[:end])
		line = line[end+1:]
	}
}

func (r *row) splitQuoted(line []byte) bool {
	r.scratch = slices.Grow(r.scratch[:0], len(line)) // so that fields in it stay where they are
	for {
		if len(line) == 0 || line[0] != '"' {
			field, rest, more := bytes.Cut(line, []byte{r.separator})
			if bytes.IndexByte(field, '"') >= 0 {
				return false
			}
			r.fields = append(r.fields, field)
			if !more {
				return true
			}
			line = rest
			continue
		}
		begin := len(r.scratch)
		for line = line[1:]; ; line = line[1:] {
			end := bytes.IndexByte(line, '"')
			if end < 0 {
				return false
			}
			r.scratch = append(r.scratch, line[:end]...)
			if line = line[end+1:]; len(line) == 0 || line[0] != '"' {
				break
			}
			r.scratch = append(r.scratch, '"')
		}
		r.fields = append(r.fields, r.scratch[begin:len(r.scratch):len(r.scratch)])
		switch {
		case len(line) == 0:
			return true
		case line[0] != r.separator:
			return false
		}
		line = line[1:]
	}
}

// openCSV reads the header, and with it whether the rows are events, items or
// users.
func (r *reader) openCSV(texts lines) error {
	header, fault, err := r.header(texts)
	if err != nil {
		return err
	}
	split := row{separator: separator(header)}
	if !isText(header) {
		return errNoText
	}
	if fault != nil || !split.split(header) {
		return fmt.Errorf("%w: the header %q cannot be read", ErrColumns, got(header))
	}
	found := columns{}
	if !r.opt.NoHeader {
		found = findColumns(split.fields)
	}
	if err := found.mapped(split.fields, r.opt); err != nil {
		return err
	}
	has := func(field string) bool { return found.at(field) >= 0 }
	if !has("user") && has("session") {
		found["user"] = found["session"]
	}
	names := split.fields
	split.fields = nil // the header is not kept
	table := table{row: split, width: len(names), columns: found}
	switch {
	case has("user") && has("item") && has("time"):
		r.content, r.decoder = events, newCSVEvents(table, r.opt, found.defaultType(names, r.opt))
	case has("item") && !has("user") && (has("title") || has("categories")):
		r.content, r.decoder = items, newCSVItems(table, names)
	case has("user") && !has("item") && (has("age") || has("gender") || has("labels") || has("occupation")):
		r.content, r.decoder = users, &csvUsers{table}
	default:
		return found.missing(header)
	}
	r.describe(found.layout(names, r.content, r.opt))
	return nil
}

// header is the first line that is not blank, a copy. Without a header it is
// left to be read again.
func (r *reader) header(texts lines) ([]byte, *event.FieldError, error) {
	if r.opt.NoHeader {
		line, err := r.input.peekLine()
		return bytes.Clone(line), nil, err
	}
	for {
		line, fault, err := texts.next()
		if err != nil {
			return nil, nil, err
		}
		r.row++
		if len(bytes.TrimSpace(line)) > 0 {
			return bytes.Clone(line), fault, nil
		}
	}
}

// table is the rows of a CSV file.
type table struct {
	row
	width   int
	columns columns
}

// read splits a line. It is false, without a fault, for a blank one.
func (t *table) read(line []byte) (bool, *event.FieldError) {
	if len(line) == 0 {
		return false, nil
	}
	if !t.split(line) {
		return false, fault("", "fields in quotes that close on their line, with doubled quotes in them", line)
	}
	if len(t.fields) != t.width {
		return false, &event.FieldError{Expected: count(t.width, "field"), Got: count(len(t.fields), "field")}
	}
	return true, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// field is the text of a field, nil when there is no column for it.
func (t *table) field(name string) []byte { return t.column(t.columns.at(name)) }

// column is the text in a column without white space around it, nil for -1.
func (t *table) column(n int) []byte {
	if n < 0 {
		return nil
	}
	text := t.fields[n]
	if len(text) > 0 && (text[0] <= ' ' || text[len(text)-1] <= ' ') {
		return bytes.TrimSpace(text)
	}
	return text
}

// csvEvents reads the rows of a CSV file as events.
type csvEvents struct {
	table
	at                            struct{ user, item, time, kind, value, session, request, id int }
	users, items, types, sessions names
	kinds                         map[string]string
	kind                          string // of rows without one
	event                         event.Event
}

func newCSVEvents(t table, opt Options, defaultType string) *csvEvents {
	d := &csvEvents{
		table: t, users: newNames(), items: newNames(), types: newNames(), sessions: newNames(),
		kinds: opt.TypeNames, kind: defaultType,
	}
	c := t.columns
	d.at.user, d.at.item, d.at.time, d.at.kind = c.at("user"), c.at("item"), c.at("time"), c.at("type")
	d.at.value, d.at.session, d.at.request, d.at.id = c.at("value"), c.at("session"), c.at("request"), c.at("id")
	return d
}

func (d *csvEvents) decode(line []byte, into *source.Record) *event.FieldError {
	if ok, fault := d.read(line); !ok {
		return fault
	}
	stamp := d.column(d.at.time)
	at, ok := event.ParseTime(string(stamp))
	if !ok {
		return fault("timestamp", expectedTime, stamp)
	}
	e := &d.event
	*e = event.Event{User: d.users.of(d.column(d.at.user)), Item: d.items.of(d.column(d.at.item)), Type: d.kind, Time: at}
	if text := d.column(d.at.value); len(text) > 0 {
		if e.Value, e.HasValue = number(text); !e.HasValue {
			return fault("value", expectedNumber, text)
		}
	}
	if text := d.column(d.at.kind); len(text) > 0 {
		e.Type = d.types.of(text)
		if name, ok := d.kinds[e.Type]; ok {
			e.Type = name
		}
	}
	if text := d.column(d.at.session); len(text) > 0 {
		e.Session = d.sessions.of(text)
	}
	e.Request = string(d.column(d.at.request))
	e.ID = string(d.column(d.at.id))
	into.Event = e
	return nil
}
