package event

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A shape says how a record of some kind is made of JSON. Its fields have
// numbers.
type shape[T any] interface {
	// expected says in words what an element should be.
	expected() string
	// names are the names of the fields, by number.
	names() []string
	// field is the number of the field that a member's name means,
	// ignoredField, or -1.
	field(name []byte) int
	// tuple is the fields of a record that is written as an array, or nil.
	tuple() []int
	// begin sets what a record has before any field is set.
	begin(*T)
	// set sets a field to a value that is not null.
	set(record *T, field int, v jsontext.Value, r *fieldReader) *FieldError
	// end sets what has a default, and says what is missing.
	end(*T) *FieldError
}

// ignoredField stands for every field whose value does not matter: it may come
// more than once. It is the highest bit that a fieldSet has.
const ignoredField = 15

// A recordBuilder is the builder of the records of one shape.
type recordBuilder[T any] struct {
	shape   shape[T]
	records []T
	kept    int // how many of them; one more may be in the making
	field   int // that the next value is for
	seen    fieldSet
	reader  fieldReader
}

// fieldSet has a bit for each field of a record that was given.
type fieldSet uint16

func (b *recordBuilder[T]) expected() string { return b.shape.expected() }

func (b *recordBuilder[T]) begin() {
	var empty T
	if len(b.records) == b.kept {
		b.records = append(b.records, empty)
	} else {
		b.records[b.kept] = empty
	}
	b.seen = 0
	b.shape.begin(b.record())
}

// record is the one that is being built: in place, after those that are kept.
func (b *recordBuilder[T]) record() *T { return &b.records[b.kept] }

func (b *recordBuilder[T]) reserve(n int) { b.records = slices.Grow(b.records, n) }

func (b *recordBuilder[T]) keep() { b.kept++ }

func (b *recordBuilder[T]) truncate(n int) { b.kept, b.records = n, b.records[:n] }

func (b *recordBuilder[T]) name(v jsontext.Value) *FieldError {
	// No name of a field has a byte that could be an escape.
	if b.field = b.shape.field(v[1 : len(v)-1]); b.field < 0 {
		text, ok := b.reader.unquote(v)
		if b.field = b.shape.field(text); !ok || b.field < 0 {
			return unexpected(excerpt(text), "a known field: "+strings.Join(b.shape.names(), ", "), v)
		}
	}
	if b.field == ignoredField && bytes.IndexByte(v, '\\') >= 0 {
		text, _ := b.reader.unquote(v)
		b.field = b.shape.field(text)
	}
	if b.field == ignoredField {
		return nil
	}
	bit := fieldSet(1) << b.field
	if b.seen&bit != 0 {
		return unexpected(b.shape.names()[b.field], "the field once", slices.Concat([]byte("a second one, "), v))
	}
	b.seen |= bit
	return nil
}

func (b *recordBuilder[T]) value(v jsontext.Value) *FieldError {
	if b.field == ignoredField {
		return nil
	}
	return b.set(b.field, v)
}

// set sets a field; null leaves it as if it had not been given.
func (b *recordBuilder[T]) set(field int, v jsontext.Value) *FieldError {
	if v[0] == 'n' {
		return nil
	}
	return b.shape.set(b.record(), field, v, &b.reader)
}

func (b *recordBuilder[T]) tuple(v []jsontext.Value) *FieldError {
	fields := b.shape.tuple()
	if fields == nil || len(v) != len(fields) {
		return &FieldError{Expected: b.expected(), Got: "an array of " + plural(len(v), "value")}
	}
	for i, field := range fields {
		if bad := b.set(field, v[i]); bad != nil {
			return bad
		}
	}
	return b.end()
}

func (b *recordBuilder[T]) end() *FieldError { return b.shape.end(b.record()) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
