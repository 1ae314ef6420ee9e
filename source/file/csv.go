package file

import (
	"bytes"
	"fmt"
	"strconv"

	"millrace/event"
	"millrace/internal/csvline"
	"millrace/source"
)

// openCSV reads the header, and with it whether the rows are events, items or
// users.
func (r *reader) openCSV(texts lines) error {
	header, fault, err := r.header(texts)
	if err != nil {
		return err
	}
	split := csvline.Row{Separator: csvline.Separator(header)}
	if !isText(header) {
		return errNoText
	}
	if fault != nil || !split.Split(header) {
		return fmt.Errorf("%w: the header %q cannot be read", ErrColumns, got(header))
	}
	found := columns{}
	if !r.opt.NoHeader {
		found = findColumns(split.Fields)
	}
	if err := found.mapped(split.Fields, r.opt); err != nil {
		return err
	}
	has := func(field string) bool { return found.at(field) >= 0 }
	if !has("user") && has("session") {
		found["user"] = found["session"]
	}
	names := split.Fields
	split.Fields = nil // the header is not kept
	table := table{Row: split, width: len(names), columns: found}
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
	csvline.Row
	width   int
	columns columns
}

// read splits a line. It is false, without a fault, for a blank one.
func (t *table) read(line []byte) (bool, *event.FieldError) {
	if len(line) == 0 {
		return false, nil
	}
	if !t.Split(line) {
		return false, fault("", "fields in quotes that close on their line, with doubled quotes in them", line)
	}
	if len(t.Fields) != t.width {
		return false, &event.FieldError{Expected: count(t.width, "field"), Got: count(len(t.Fields), "field")}
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
	text := t.Fields[n]
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
