package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"

	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"millrace/event"
)

// protobufPlan reads the fields of a message that an event has, and passes over
// the others. What is wanted is few and scalar, so it is read off the wire.
type protobufPlan struct {
	name    string
	fields  map[protoreflect.FieldNumber]*protobufField
	near    [32]*protobufField // those of the low numbers
	implied *protobufField     // the type, if its zero is not written but means something
	object  *protobufField     // that is the metadata and not text, nil if none is
}

// protobufField is a field of a message and what it means.
type protobufField struct {
	descriptor protoreflect.FieldDescriptor
	meaning    field
	kind       protoreflect.Kind
	wire       protowire.Type
	read       func(f *protobufField, v wireValue, b *builder) error
	prefix     string // that the names of an enum's values have
}

// wireValue is a value as it is on the wire: bits or bytes.
type wireValue struct {
	bits  uint64
	bytes []byte
}

// Messages that stand for one value.
const (
	timestampMessage = "google.protobuf.Timestamp"
	decimalMessage   = "confluent.type.Decimal"
	wrappersPrefix   = "google.protobuf."
	wrappersSuffix   = "Value"
	structMessage    = "google.protobuf.Struct"
)

func newProtobufField(d protoreflect.FieldDescriptor, meaning field) (*protobufField, error) {
	f := &protobufField{descriptor: d, meaning: meaning, kind: d.Kind(), read: readScalar}
	message := d.Message()
	switch {
	case meaning == metadataField && (d.IsMap() || message != nil && !d.IsList()):
		f.read = nil // they are gathered
		return f, nil
	case d.IsList() || d.IsMap():
		return nil, errors.New("a list or a map")
	case message == nil:
		f.wire = wireType(f.kind)
		if e := d.Enum(); e != nil {
			f.prefix = upperSnake(string(e.Name())) + "_"
		}
		return f, nil
	case d.Kind() == protoreflect.GroupKind:
		return nil, errors.New("a group")
	}
	f.wire = protowire.BytesType
	switch name := string(message.FullName()); {
	case name == timestampMessage:
		f.read = readTimestamp
	case name == decimalMessage:
		f.read = readDecimal
	case strings.HasPrefix(name, wrappersPrefix) && strings.HasSuffix(name, wrappersSuffix) && message.Fields().Len() == 1:
		inner, err := newProtobufField(message.Fields().Get(0), meaning)
		if err != nil {
			return nil, err
		}
		f.read = inner.readWrapped
	default:
		return nil, fmt.Errorf("a message %s", name)
	}
	return f, nil
}

// upperSnake is the name of an enum as the names of its values begin.
func upperSnake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(c))
	}
	return b.String()
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

func (p *protobufPlan) add(f *protobufField) {
	number := f.descriptor.Number()
	p.fields[number] = f
	if int(number) < len(p.near) {
		p.near[number] = f
	}
	if f.descriptor.Enum() != nil && !f.descriptor.HasPresence() && f.meaning == typeField {
		p.implied = f
	}
	if f.read == nil {
		p.object = f
	}
}

func (p *protobufPlan) field(number protoreflect.FieldNumber) *protobufField {
	if int(number) < len(p.near) {
		return p.near[number]
	}
	return p.fields[number]
}

// decode implements decoding.
func (p *protobufPlan) decode(value []byte, b *builder) error {
	var object []byte
	implied := p.implied
	for rest := value; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return fmt.Errorf("%s: byte %d: %w", p.name, len(value)-len(rest), protowire.ParseError(n))
		}
		tagged := rest
		rest = rest[n:]
		f := p.field(number)
		v, n := consume(number, wire, rest)
		if n < 0 {
			return fmt.Errorf("%s: field %d at byte %d: %w", p.name, number, len(value)-len(rest), protowire.ParseError(n))
		}
		rest = rest[n:]
		switch {
		case f == nil:
		case f == p.object:
			object = append(object, tagged[:len(tagged)-len(rest)]...)
		case wire != f.wire:
			return fmt.Errorf("%s.%s: wire type %d, want %d of %s", p.name, f.descriptor.Name(), wire, f.wire, f.kind)
		default:
			if f == implied {
				implied = nil
			}
			if err := f.read(f, v, b); err != nil {
				return fmt.Errorf("%s.%s: %w", p.name, f.descriptor.Name(), err)
			}
		}
	}
	if implied != nil {
		b.enum(implied, 0)
	}
	if object != nil {
		return p.object.gather(object, b)
	}
	return nil
}

// consume reads a value off the wire; n < 0 is an error of protowire.
func consume(number protowire.Number, wire protowire.Type, from []byte) (v wireValue, n int) {
	switch wire {
	case protowire.VarintType:
		v.bits, n = protowire.ConsumeVarint(from)
	case protowire.Fixed32Type:
		var bits uint32
		bits, n = protowire.ConsumeFixed32(from)
		v.bits = uint64(bits)
	case protowire.Fixed64Type:
		v.bits, n = protowire.ConsumeFixed64(from)
	case protowire.BytesType:
		v.bytes, n = protowire.ConsumeBytes(from)
	default:
		n = protowire.ConsumeFieldValue(number, wire, from)
	}
	return v, n
}

// readScalar sets a field to a scalar. A later value takes the place of an
// earlier one, and the zero of a field that has no presence is no value: it is
// what the field has when nobody has set it.
func readScalar(f *protobufField, v wireValue, b *builder) error {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		b.text(f.meaning, v.bytes)
		return nil
	case protoreflect.EnumKind:
		b.enum(f, protoreflect.EnumNumber(int32(v.bits)))
		return nil
	case protoreflect.BoolKind:
		b.other(f.meaning, strconv.FormatBool(v.bits != 0))
		return nil
	}
	if v.bits == 0 && !f.descriptor.HasPresence() && !isWrapped(f) {
		return nil
	}
	switch f.kind {
	case protoreflect.FloatKind:
		b.number(f.meaning, shortest(math.Float32frombits(uint32(v.bits))))
	case protoreflect.DoubleKind:
		b.number(f.meaning, math.Float64frombits(v.bits))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if v.bits > math.MaxInt64 {
			b.decimal(f.meaning, new(big.Rat).SetInt(new(big.Int).SetUint64(v.bits)))
			return nil
		}
		b.whole(f.meaning, int64(v.bits))
	case protoreflect.Sint32Kind:
		b.whole(f.meaning, int64(int32(protowire.DecodeZigZag(v.bits&math.MaxUint32))))
	case protoreflect.Sint64Kind:
		b.whole(f.meaning, protowire.DecodeZigZag(v.bits))
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		b.whole(f.meaning, int64(int32(v.bits)))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		b.whole(f.meaning, int64(uint32(v.bits)))
	default:
		b.whole(f.meaning, int64(v.bits))
	}
	return nil
}

// isWrapped says whether a field is the one of a wrapper, such as Int64Value,
// whose zero is a value.
func isWrapped(f *protobufField) bool {
	return strings.HasPrefix(string(f.descriptor.FullName()), wrappersPrefix)
}

// enum sets a field to the name of an enum's value, without what the names of
// all of them begin with. One that is UNSPECIFIED is none.
func (b *builder) enum(f *protobufField, number protoreflect.EnumNumber) {
	value := f.descriptor.Enum().Values().ByNumber(number)
	if value == nil {
		b.other(f.meaning, fmt.Sprintf("number %d, which %s does not have", number, f.descriptor.Enum().FullName()))
		return
	}
	name := string(value.Name())
	if _, ok := b.mapping.TypeNames[name]; !ok {
		name = strings.TrimPrefix(name, f.prefix)
	}
	if name == "UNSPECIFIED" || name == "UNKNOWN" && number == 0 {
		b.event.Type = ""
		return
	}
	b.text(f.meaning, []byte(name))
}

// readWrapped sets a field to what a wrapper holds, such as Int64Value.
func (f *protobufField) readWrapped(_ *protobufField, v wireValue, b *builder) error {
	inner := wireValue{}
	err := readFields(v.bytes, func(number protowire.Number, wire protowire.Type, v wireValue) {
		if number == f.descriptor.Number() && wire == f.wire {
			inner = v
		}
	})
	if err != nil {
		return err
	}
	return f.read(f, inner, b)
}

// readFields calls with the fields of a small message.
func readFields(message []byte, with func(protowire.Number, protowire.Type, wireValue)) error {
	for rest := message; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		v, m := consume(number, wire, rest[n:])
		if m < 0 {
			return protowire.ParseError(m)
		}
		with(number, wire, v)
		rest = rest[n+m:]
	}
	return nil
}

// The seconds that a Timestamp may have: of the years 1 to 9999.
const (
	minSeconds = -62_135_596_800
	maxSeconds = 253_402_300_799
)

// readTimestamp sets a field to a Timestamp.
func readTimestamp(f *protobufField, v wireValue, b *builder) error {
	var seconds, nanos int64
	err := readFields(v.bytes, func(number protowire.Number, wire protowire.Type, v wireValue) {
		switch {
		case number == 1 && wire == protowire.VarintType:
			seconds = int64(v.bits)
		case number == 2 && wire == protowire.VarintType:
			nanos = int64(int32(v.bits))
		}
	})
	if err != nil {
		return err
	}
	if seconds < minSeconds || seconds > maxSeconds || nanos < 0 || nanos > 999_999_999 {
		b.refuse(f.meaning, expectedOf(f.meaning), fmt.Appendf(nil, "a Timestamp of %d seconds and %d nanos", seconds, nanos))
		return nil
	}
	b.moment(f.meaning, event.Time(seconds)*event.Second+event.Time(nanos/1_000_000))
	return nil
}

// readDecimal sets a field to a Decimal.
func readDecimal(f *protobufField, v wireValue, b *builder) error {
	var value []byte
	scale := 0
	err := readFields(v.bytes, func(number protowire.Number, wire protowire.Type, v wireValue) {
		switch {
		case number == 1 && wire == protowire.BytesType:
			value = v.bytes
		case number == 3 && wire == protowire.VarintType:
			scale = int(int32(v.bits))
		}
	})
	if err != nil {
		return err
	}
	if len(value) > maxDecimalBits/8 || scale < -maxDecimalBits/8 || scale > maxDecimalBits/8 {
		b.other(f.meaning, fmt.Sprintf("a decimal of %d bytes with scale %d", len(value), scale))
		return nil
	}
	b.decimal(f.meaning, avro.RatFromBytes(value, scale))
	return nil
}

// gather sets the metadata to a map or message, of all its parts on the wire.
func (f *protobufField) gather(parts []byte, b *builder) error {
	parent := dynamicpb.NewMessage(f.descriptor.ContainingMessage())
	if err := (proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true, RecursionLimit: 100}).Unmarshal(parts, parent); err != nil {
		return fmt.Errorf("%s: %w", f.descriptor.Name(), err)
	}
	text, err := protojson.MarshalOptions{AllowPartial: true, UseProtoNames: true}.Marshal(parent)
	if err != nil {
		b.other(f.meaning, err.Error())
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("%s: %w", f.descriptor.Name(), err)
	}
	b.object(members[string(f.descriptor.Name())])
	return nil
}
