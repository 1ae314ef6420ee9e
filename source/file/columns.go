package file

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/event"
)

// columns says where the fields of a record are, by the names of fields; what
// is not there is missing from it.
type columns map[string]int

// at is the column of a field, -1 when there is none.
func (c columns) at(field string) int {
	if n, ok := c[field]; ok {
		return n
	}
	return -1
}

// usualNames are the names of columns, in lower case and without anything but
// letters and digits, that are understood without a mapping. The first name of
// a field that a header has is taken.
var usualNames = []struct {
	field string
	names []string
}{
	{"user", []string{"user", "userid", "uid", "visitorid", "customerid"}},
	{"item", []string{"item", "itemid", "movieid", "productid", "contentid"}},
	{"time", []string{"ts", "time", "timestamp", "eventtime", "datetime"}},
	{"value", []string{"w", "value", "rating", "weight", "ratings", "stars"}},
	{"type", []string{"event", "eventtype", "type"}},
	{"session", []string{"session", "sessionid"}},
	{"request", []string{"requestid"}},
	{"id", []string{"eventid"}},
	{"title", []string{"title", "name"}},
	{"categories", []string{"categories", "category", "genres"}},
	{"tags", []string{"tags"}},
	{"created", []string{"created", "createdat"}},
	{"age", []string{"age"}},
	{"gender", []string{"gender"}},
	{"labels", []string{"labels"}},
	{"occupation", []string{"occupation"}},
}

// eventFields are the fields that Options.Map may name.
var eventFields = []string{"user", "item", "time", "type", "value", "session", "request", "id"}

// fields are those that are read of an input with this in it.
func (c content) fields() []string {
	switch c {
	case items:
		return []string{"item", "title", "categories", "tags", "created"}
	case users:
		return []string{"user", "age", "gender", "labels", "occupation"}
	}
	return eventFields
}

// plain is a name of a column in the form of usualNames.
func plain(name []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(string(name)))
}

// findColumns maps fields to the columns of a header by the usual names.
func findColumns(header [][]byte) columns {
	found := columns{}
	for _, usual := range usualNames {
		for _, name := range usual.names {
			at := slices.IndexFunc(header, func(column []byte) bool { return plain(column) == name })
			if at >= 0 {
				found[usual.field] = at
				break
			}
		}
	}
	return found
}

// mapped changes the columns as the options say.
func (c columns) mapped(header [][]byte, opt Options) error {
	for field, column := range opt.Map {
		if !slices.Contains(eventFields, field) {
			return fmt.Errorf("%w: no field %q to map, expected one of %s", ErrColumns, field, strings.Join(eventFields, ", "))
		}
		at := slices.IndexFunc(header, func(name []byte) bool { return string(bytes.TrimSpace(name)) == column })
		if opt.NoHeader {
			n, err := strconv.Atoi(column)
			if err != nil || n < 1 || n > len(header) {
				return fmt.Errorf("%w: %s=%s, expected the number of a column, 1 to %d", ErrColumns, field, column, len(header))
			}
			at = n - 1
		}
		if at < 0 {
			return fmt.Errorf("%w: %s=%s, but the columns are %s", ErrColumns, field, column, bytes.Join(header, []byte(", ")))
		}
		c[field] = at
	}
	return nil
}

// missing is the error of a header that makes neither events nor a catalogue.
func (c columns) missing(header []byte) error {
	var missing []string
	for _, field := range []string{"user", "item", "time"} {
		if c.at(field) < 0 {
			missing = append(missing, field)
		}
	}
	if len(missing) == 2 && c.at("item") >= 0 {
		return fmt.Errorf("%w: the first line, %s, has an item, but neither title nor categories for a catalogue, nor user and time for "+
			"events; say which they are with --map user=COLUMN,time=COLUMN", ErrColumns, got(header))
	}
	if len(missing) < 3 {
		return fmt.Errorf("%w: the first line, %s, has no column that is known as %s of events; say which it is with --map %s=COLUMN",
			ErrColumns, got(header), strings.Join(missing, " or "), strings.Join(missing, "=COLUMN,"))
	}
	return fmt.Errorf("%w: the first line, %s, names none that is known: expected user, item and time for events, item and title or "+
		"categories for a catalogue, or others with --map user=COLUMN,item=COLUMN,time=COLUMN", ErrColumns, got(header))
}

// isRating tells whether a column of values holds ratings, by its name.
func isRating(column []byte) bool {
	name := plain(column)
	return strings.Contains(name, "rating") || name == "stars"
}

// defaultType is the type of the rows that have none.
func (c columns) defaultType(header [][]byte, opt Options) string {
	switch at := c.at("value"); {
	case opt.DefaultType != "":
		return opt.DefaultType
	case at >= 0 && !opt.NoHeader && isRating(header[at]):
		return event.TypeRating
	}
	return event.TypeView
}

// Layout says how the rows of a CSV file are understood.
type Layout struct {
	// Path is that of the file.
	Path string
	// Content is events, items or users.
	Content string
	// Columns are the columns that are read, in the order of their fields.
	Columns []Column
	// Others are the names of the columns that are not read.
	Others []string
	// DefaultType is the type of events that have none, "" for items and users.
	DefaultType string
}

// Column is a column of a CSV file and the field that it holds.
type Column struct{ Field, Name string }

// Has says whether a column holds this field.
func (l *Layout) Has(field string) bool {
	return slices.ContainsFunc(l.Columns, func(c Column) bool { return c.Field == field })
}

// layout describes an input with these columns.
func (c columns) layout(header [][]byte, of content, opt Options) Layout {
	l := Layout{Content: of.String()}
	name := func(at int) string {
		if opt.NoHeader {
			return strconv.Itoa(at + 1)
		}
		return got(bytes.TrimSpace(header[at]))
	}
	read := make([]bool, len(header))
	for _, field := range of.fields() {
		if at := c.at(field); at >= 0 {
			l.Columns = append(l.Columns, Column{field, name(at)})
			read[at] = true
		}
	}
	for at := range header {
		if !read[at] {
			l.Others = append(l.Others, name(at))
		}
	}
	if of == events {
		l.DefaultType = c.defaultType(header, opt)
	}
	return l
}
