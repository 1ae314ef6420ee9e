package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"millrace/event"
	"millrace/source"
)

// ErrColumn says that a column is missing or holds what its field can not be.
var ErrColumn = errors.New("the query does not fit")

// row is a row as the driver gives it.
type row struct {
	columns []string
	values  []any
	updated any // as it is given to the next statement
}

// value is the value of a field; ok is false where there is no such column, or
// NULL in it.
func (r *row) value(q *Query, field string) (v any, ok bool) {
	return r.named(q.column(field))
}

func (r *row) named(column string) (v any, ok bool) {
	for i, name := range r.columns {
		if strings.EqualFold(name, column) && column != "" {
			return r.values[i], r.values[i] != nil
		}
	}
	return nil, false
}

// id is the id as it is given to the next statement: a text as one, since
// bytes would be compared as bytes and not as the column's collation has it.
func (r *row) id(q *Query) any {
	v, _ := r.value(q, fieldID)
	if b, ok := v.([]byte); ok && utf8.Valid(b) {
		return string(b)
	}
	return v
}

// arrays reads the arrays of PostgreSQL.
var arrays = pgtype.NewMap()

// typed makes of what drivers give as text what its column's type says.
func typed(v any, columnType string) any {
	if v == nil {
		return nil
	}
	switch name := strings.ToUpper(columnType); {
	case name == "JSON" || name == "JSONB":
		return json.RawMessage(text(v))
	case name == "DECIMAL" || name == "NUMERIC":
		return json.Number(text(v))
	case strings.HasPrefix(name, "_"): // an array's type is named so
		var parts []*string
		if arrays.SQLScanner(&parts).Scan(text(v)) != nil {
			return v
		}
		list := make([]string, 0, len(parts))
		for _, part := range parts {
			if part != nil {
				list = append(list, *part)
			}
		}
		return list
	}
	return v
}

// text is a value as text.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case json.RawMessage:
		return string(v)
	case []string:
		list, _ := json.Marshal(v) // texts always have a JSON form
		return string(list)
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

func (r *row) text(q *Query, field string) string {
	v, _ := r.value(q, field)
	return text(v)
}

// list is an array, a JSON array of texts, or a text with separators.
func (r *row) list(q *Query, field string) []string {
	whole := strings.TrimSpace(r.text(q, field))
	var list []string
	if strings.HasPrefix(whole, "[") && json.Unmarshal([]byte(whole), &list) == nil {
		return list
	}
	for _, part := range strings.Split(whole, q.Separator) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// truth is whether a mark is set: true, a number other than 0, or a time, as of
// a deletion.
func (r *row) truth(q *Query, field string) bool {
	v, ok := r.value(q, field)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case bool:
		return v
	case time.Time:
		return !v.IsZero()
	}
	switch t := strings.ToLower(text(v)); t {
	case "", "0", "f", "false", "n", "no", "\x00":
		return false
	}
	return true
}

// moment is a time: of the driver, in milliseconds or seconds, or as text.
func (r *row) moment(q *Query, field string) (event.Time, error) {
	v, ok := r.value(q, field)
	if !ok {
		return 0, nil
	}
	if t, ok := v.(time.Time); ok {
		return event.FromGo(t), nil
	}
	t := text(v)
	if n, err := strconv.ParseInt(t, 10, 64); err == nil {
		if n < 100_000_000_000 { // milliseconds of 1973: these are seconds
			n *= 1000
		}
		return event.Time(n), nil
	}
	at, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return 0, fmt.Errorf("%w: column %s: want a time, got %.40q", ErrColumn, q.column(field), t)
	}
	return event.FromGo(at), nil
}

// item makes an item of a row.
func (r *row) item(q *Query) (*event.Item, *source.Bad) {
	created, err := r.moment(q, fieldCreated)
	if err != nil {
		return nil, r.bad(&event.FieldError{Field: fieldCreated, Expected: "a time", Got: r.text(q, fieldCreated)})
	}
	item := &event.Item{
		ID: r.text(q, fieldID), Title: r.text(q, fieldTitle), Categories: r.list(q, fieldCategories), Tags: r.list(q, fieldTags),
		Hidden: r.truth(q, fieldHidden), Created: created, Metadata: r.metadata(q),
	}
	if bad := event.ValidateItem(item); bad != nil {
		return nil, r.bad(bad)
	}
	return item, nil
}

// metadata is a JSON object of columns, in their order.
func (r *row) metadata(q *Query) []byte {
	var b bytes.Buffer
	for _, name := range q.Metadata {
		v, ok := r.named(name)
		if !ok {
			continue
		}
		switch v.(type) {
		case []byte, string, time.Time:
			v = text(v)
			// MariaDB's type for JSON is text.
			if t := text(v); (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && json.Valid([]byte(t)) {
				v = json.RawMessage(t)
			}
		}
		value, err := json.Marshal(v)
		if err != nil {
			continue // NaN, or what is no number, which JSON has not
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(name) + ":")
		b.Write(value)
	}
	if b.Len() == 0 {
		return nil
	}
	return append(append([]byte{'{'}, b.Bytes()...), '}')
}

// user makes a user of a row.
func (r *row) user(q *Query) (*event.User, *source.Bad) {
	user := &event.User{ID: r.text(q, fieldID), Gender: event.Gender(r.text(q, fieldGender)), Labels: r.list(q, fieldLabels)}
	if age := r.text(q, fieldAge); age != "" {
		n, err := strconv.Atoi(age)
		if err != nil {
			return nil, r.bad(&event.FieldError{Field: fieldAge, Expected: "a whole number", Got: age})
		}
		user.Age = n
	}
	if bad := event.ValidateUser(user); bad != nil {
		return nil, r.bad(bad)
	}
	return user, nil
}

// bad is a row that is no record, for the dead letters.
func (r *row) bad(err *event.FieldError) *source.Bad {
	all := map[string]string{}
	for i, name := range r.columns {
		all[name] = text(r.values[i])
	}
	raw, _ := json.Marshal(all) // texts always have a JSON form
	return &source.Bad{Raw: raw[:min(len(raw), source.MaxBadBytes)], Err: err}
}
