package format

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/avro"

	"millrace/event"
)

// avroPlan reads the fields of a record that an event has, as a struct whose
// fields they are, and passes over the others.
type avroPlan struct {
	name    string // of the record
	schema  *avro.Schema
	fields  []avroField
	records sync.Pool // of *avroRecord
}

type avroField struct {
	name    string
	meaning field
}

// avroRecord is memory for one record: a pointer to a struct.
type avroRecord struct {
	pointer any
	fields  reflect.Value
}

// shape makes the struct that records are read into: plain values have a Go
// type of their own, all others are read as what they are.
func (p *avroPlan) shape(fields []avro.SchemaField) {
	list := make([]reflect.StructField, len(fields))
	for i, f := range fields {
		of := reflect.TypeFor[any]()
		if f.Type.LogicalType == "" {
			switch f.Type.Type {
			case "string":
				of = reflect.TypeFor[string]()
			case "int", "long":
				of = reflect.TypeFor[int64]()
			case "float":
				of = reflect.TypeFor[float32]()
			case "double":
				of = reflect.TypeFor[float64]()
			}
		}
		list[i] = reflect.StructField{Name: "F" + strconv.Itoa(i), Type: of, Tag: reflect.StructTag(`avro:"` + f.Name + `"`)}
	}
	shape := reflect.StructOf(list)
	p.records.New = func() any {
		v := reflect.New(shape)
		return &avroRecord{v.Interface(), v.Elem()}
	}
}

// decode implements decoding.
func (p *avroPlan) decode(value []byte, b *builder) error {
	r := p.records.Get().(*avroRecord)
	defer p.records.Put(r)
	rest, err := p.schema.Decode(value, r.pointer)
	if err != nil {
		return avroError(p.name, err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s: %d bytes more than its schema has", p.name, len(rest))
	}
	for i, f := range p.fields {
		switch v := r.fields.Field(i); v.Kind() {
		case reflect.String:
			b.text(f.meaning, []byte(v.String()))
		case reflect.Int64:
			b.whole(f.meaning, v.Int())
		case reflect.Float32:
			b.number(f.meaning, shortest(float32(v.Float())))
		case reflect.Float64:
			b.number(f.meaning, v.Float())
		default:
			b.goValue(f.meaning, v.Interface())
		}
	}
	return nil
}

// goValue sets a field to what Avro makes of a value whose type is not known
// beforehand. A null leaves it as if it was not there.
func (b *builder) goValue(f field, v any) {
	switch v := v.(type) {
	case nil:
	case string:
		b.text(f, []byte(v))
	case int32:
		b.whole(f, int64(v))
	case int64:
		b.whole(f, v)
	case float32:
		b.number(f, shortest(v))
	case float64:
		b.number(f, v)
	case time.Time:
		b.moment(f, event.FromGo(v))
	case *big.Rat:
		b.decimal(f, v)
	case []byte:
		if !utf8.Valid(v) {
			b.other(f, fmt.Sprintf("%d bytes that are not UTF-8", len(v)))
			return
		}
		b.text(f, v)
	case [16]byte:
		b.text(f, []byte(uuid(v)))
	case map[string]any:
		if f != metadataField {
			b.other(f, "a record or map")
			return
		}
		text, err := json.Marshal(plainValue(v))
		if err != nil {
			b.other(f, err.Error())
			return
		}
		b.object(text)
	default:
		b.other(f, fmt.Sprintf("a value of Go type %T", v))
	}
}

// shortest is the double that reads as a float does: 4.1, not 4.099999904.
func shortest(v float32) float64 {
	x, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	return x
}

func uuid(v [16]byte) string {
	text := hex.EncodeToString(v[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// plainValue is a value as JSON has it: times as RFC 3339, decimals as numbers,
// bytes in base64.
func plainValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = plainValue(member)
		}
	case []any:
		for i, element := range v {
			v[i] = plainValue(element)
		}
	case float32:
		return plainValue(shortest(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case *big.Rat:
		if v.Num().BitLen() > maxDecimalBits || v.Denom().BitLen() > maxDecimalBits {
			return nil
		}
		digits, _ := v.FloatPrec()
		return json.Number(v.FloatString(digits))
	case [16]byte:
		return uuid(v)
	case time.Duration:
		return v.String()
	case avro.Duration:
		return v.String()
	}
	return v
}
