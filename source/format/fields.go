package format

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"millrace/event"
	"millrace/source"
)

// field is a field of an event.
type field uint8

// The fields of an event, in the order of event.FieldNames.
const (
	userField field = iota
	itemField
	typeField
	timeField
	valueField
	idField
	sessionField
	requestField
	metadataField
)

var fieldNames = event.FieldNames()

// What is expected of a field whose value is of another kind.
const (
	expectedID     = "a string or a whole number"
	expectedType   = "the name of an event type"
	expectedNumber = "a finite number"
	expectedTime   = "a time: a timestamp, RFC 3339, or a number"
	expectedObject = "a JSON object, as text, a map or a record"
)

// rules are what the values of a topic's fields are read by.
type rules struct {
	types       *event.Types
	mapping     *event.Mapping
	defaultType string
	recordTime  bool
}

func newRules(m Mapping, types *event.Types) *rules {
	if types == nil {
		types = event.DefaultTypes()
	}
	r := &rules{types: types, mapping: m.Options(types).Mapping, defaultType: m.EventType, recordTime: m.RecordTime}
	if r.defaultType == "" {
		r.defaultType = event.TypeView
	}
	return r
}

// builder makes an event of the values of its fields, whatever they were
// written in. The first fault counts.
type builder struct {
	*rules
	event event.Event
	fault *event.FieldError
}

func (b *builder) begin(r *rules) { *b = builder{rules: r} }

func (b *builder) refuse(f field, expected string, found []byte) {
	if b.fault == nil {
		b.fault = event.Unexpected(fieldNames[f], expected, found)
	}
}

// text sets a field to text, which may be that of a number.
func (b *builder) text(f field, v []byte) {
	switch f {
	case typeField:
		b.typeName(v)
	case timeField:
		if len(v) == 0 {
			return
		}
		var ok bool
		if b.event.Time, ok = event.ParseTimeIn(string(v), b.mapping.TimeUnit); !ok {
			b.refuse(f, expectedTime, v)
		}
	case valueField:
		b.numberText(v)
	case metadataField:
		b.object(v)
	default:
		b.id(f, string(v))
	}
}

func (b *builder) numberText(v []byte) {
	if len(v) == 0 {
		return
	}
	number, err := strconv.ParseFloat(string(v), 64)
	// Neither names of numbers nor hexadecimal: "inf", "nan", "0x1p2".
	if err != nil || strings.Trim(string(v), "+-.0123456789eE") != "" {
		b.refuse(valueField, expectedNumber, v)
		return
	}
	b.number(valueField, number)
}

func (b *builder) typeName(v []byte) {
	if len(v) == 0 {
		return
	}
	if name := b.mapping.TypeNames[string(v)]; name != "" {
		v = []byte(name)
	}
	name, known := b.types.Canonical(v)
	if !known {
		name, known = b.types.Canonical([]byte(strings.ToLower(string(v))))
	}
	if !known {
		b.refuse(typeField, "one of "+strings.Join(b.types.Names(), ", "), v)
	}
	b.event.Type = name
}

// id sets a field that is an id; an empty one is none.
func (b *builder) id(f field, v string) {
	switch f {
	case userField:
		b.event.User = v
	case itemField:
		b.event.Item = v
	case idField:
		b.event.ID = v
	case sessionField:
		b.event.Session = v
	case requestField:
		b.event.Request = v
	}
}

// whole sets a field to a whole number.
func (b *builder) whole(f field, v int64) {
	switch f {
	case typeField:
		b.refuse(f, expectedType, strconv.AppendInt(nil, v, 10))
	case timeField:
		var ok bool
		if b.event.Time, ok = b.mapping.TimeUnit.At(v); !ok {
			b.refuse(f, expectedTime, strconv.AppendInt(nil, v, 10))
		}
	case valueField:
		b.number(f, float64(v))
	case metadataField:
		b.refuse(f, expectedObject, strconv.AppendInt(nil, v, 10))
	default:
		b.id(f, strconv.FormatInt(v, 10))
	}
}

// maxExactWhole is the end of the whole numbers that doubles hold all of.
const maxExactWhole = 1 << 53

// number sets a field to a number that may have a fraction.
func (b *builder) number(f field, v float64) {
	switch {
	case f == valueField && !math.IsNaN(v) && !math.IsInf(v, 0):
		b.event.Value, b.event.HasValue = v, true
	case f == timeField && !math.IsNaN(v) && math.Abs(v) < maxExactWhole:
		b.text(f, strconv.AppendFloat(nil, v, 'f', -1, 64))
	case f != typeField && f != metadataField && f != timeField && v == math.Trunc(v) && math.Abs(v) < maxExactWhole:
		b.id(f, strconv.FormatInt(int64(v), 10))
	default:
		b.refuse(f, expectedOf(f), strconv.AppendFloat(nil, v, 'g', -1, 64))
	}
}

// maxDecimalBits bounds the decimals that are taken apart: far beyond what any
// field can hold.
const maxDecimalBits = 4096

// decimal sets a field to a number of any precision.
func (b *builder) decimal(f field, v *big.Rat) {
	switch {
	case v.Num().BitLen() > maxDecimalBits || v.Denom().BitLen() > maxDecimalBits:
		b.refuse(f, expectedOf(f), []byte("a decimal of "+strconv.Itoa(v.Num().BitLen())+" bits"))
	case f == valueField:
		number, _ := v.Float64()
		b.number(f, number)
	case f == timeField:
		b.text(f, []byte(v.FloatString(9)))
	case f != typeField && f != metadataField && v.IsInt():
		b.id(f, v.Num().String())
	default:
		b.refuse(f, expectedOf(f), []byte(v.FloatString(9)))
	}
}

// moment sets a field to a time; only a timestamp can be one.
func (b *builder) moment(f field, t event.Time) {
	if f != timeField {
		b.refuse(f, expectedOf(f), []byte("the time "+t.String()))
		return
	}
	b.event.Time = t
}

// object sets the metadata to a JSON object.
func (b *builder) object(v []byte) {
	if len(v) == 0 {
		return
	}
	compact, fault := event.CompactMetadata(v)
	if fault != nil && b.fault == nil {
		b.fault = fault
	}
	b.event.Metadata = compact
}

// other refuses a value of a kind that the field cannot have.
func (b *builder) other(f field, found string) { b.refuse(f, expectedOf(f), []byte(found)) }

func expectedOf(f field) string {
	switch f {
	case typeField:
		return expectedType
	case timeField:
		return expectedTime
	case valueField:
		return expectedNumber
	case metadataField:
		return expectedObject
	}
	return expectedID
}

// end is the event, or what is wrong with the record.
func (b *builder) end(r *Record, now event.Time, into *event.Event) *source.Bad {
	if b.fault == nil {
		e := &b.event
		if e.Type == "" {
			e.Type = b.defaultType
		}
		if e.Time == 0 && b.recordTime {
			e.Time = r.Time
		}
		if e.Time == 0 {
			b.fault = event.Unexpected(fieldNames[timeField], expectedTime, nil)
		} else {
			b.fault = event.Validate(e, event.Options{Types: b.types, Now: now})
		}
	}
	if b.fault != nil {
		return &source.Bad{Err: b.fault}
	}
	*into = b.event
	return nil
}

// meant is the field of an event that a field of a schema means by its name or
// one of its aliases, the name first; known is false for one that must not be
// there.
func (r *rules) meant(names ...string) (f field, isField, known bool) {
	for _, name := range names {
		meaning, ok := r.mapping.Field(name)
		known = known || ok
		if at := slices.Index(fieldNames, meaning); at >= 0 {
			return field(at), true, true
		}
		if _, ignored := r.mapping.Names[name]; ignored {
			break
		}
	}
	return 0, false, known
}
