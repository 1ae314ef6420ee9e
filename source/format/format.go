// Package format makes events of the values that records of a message broker
// have: the contract that JSON, Avro and Protobuf meet, and the mapping from
// the fields of such a value to those of an event, which all of them share.
package format

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/event"
	"millrace/source"
)

// Record is one record of a topic as a Decoder is given it. Its bytes are
// valid during the call only.
type Record struct {
	Topic string
	Key   []byte
	Value []byte
	Time  event.Time // of the record itself, as the broker has it; 0 = not known
}

// Decoder makes events of the records of one topic. Its methods may be called
// concurrently.
type Decoder interface {
	// Decode makes the event of a record, whose strings stay valid; a bad
	// record gives a Bad, whose Raw need not be set. now is the wall clock that
	// events must not be far ahead of, as event.Options has it. The error is for
	// what is not the record's fault and passes, such as a schema registry that
	// does not answer: the same record is to be decoded again later.
	Decode(ctx context.Context, r *Record, now event.Time, into *event.Event) (*source.Bad, error)
}

// Names of the formats that a topic can be configured with.
const (
	JSON     = "json"     // one JSON object, or [user_id, item_id, timestamp]
	Avro     = "avro"     // an Avro record, of a schema in a registry or a file
	Protobuf = "protobuf" // a Protobuf message, of a schema in a registry or a file
	Counter  = "counter"  // the seeds' CONTENT_ID:KIND, see Counters
)

// What becomes of fields that are none of an event's.
const (
	UnknownIgnore = "ignore"
	UnknownReject = "reject"
)

// Mapping says how the fields of a topic's values make an event.
type Mapping struct {
	// EventType is the type of events whose record names none; empty is view.
	EventType string `yaml:"event_type"`
	// Fields are names of fields besides the usual ones, each with the field of
	// an event that it means: uid: user_id. An empty one means none.
	Fields map[string]string `yaml:"fields"`
	// UnknownFields says what becomes of fields that are none of an event's:
	// ignore (the default) or reject.
	UnknownFields string `yaml:"unknown_fields"`
	// RecordTime gives events whose record names no timestamp the time of the
	// record itself. Without it such records are bad.
	RecordTime bool `yaml:"record_time"`
	// TypeNames are event types in other words, each with the type that it
	// means: addtocart: cart.
	TypeNames map[string]string `yaml:"type_names"`
	// TimeUnit is what timestamps count that are numbers: s, ms, us or ns;
	// empty tells seconds from milliseconds by their size.
	TimeUnit string `yaml:"time_unit"`
}

// timeUnits are the units that TimeUnit may name.
var timeUnits = map[string]event.TimeUnit{
	"": event.UnitBySize, "s": event.UnitSeconds, "ms": event.UnitMilliseconds, "us": event.UnitMicroseconds, "ns": event.UnitNanoseconds,
}

// ErrMapping is the error of a mapping that cannot be used.
var ErrMapping = errors.New("invalid mapping")

// Validate says what is wrong with a mapping, given the configured types.
func (m *Mapping) Validate(types *event.Types) error {
	if m.EventType != "" && !types.Has(m.EventType) {
		return fmt.Errorf("%w: event_type: want one of %s, got %q", ErrMapping, strings.Join(types.Names(), ", "), m.EventType)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		if field := m.Fields[name]; name == "" || field != "" && !slices.Contains(event.FieldNames(), field) {
			return fmt.Errorf("%w: fields: %s: want one of %s, got %q", ErrMapping, name, strings.Join(event.FieldNames(), ", "), field)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.TypeNames)) {
		if !types.Has(m.TypeNames[name]) {
			return fmt.Errorf("%w: type_names: %s: want one of %s, got %q", ErrMapping, name, strings.Join(types.Names(), ", "), m.TypeNames[name])
		}
	}
	if _, ok := timeUnits[m.TimeUnit]; !ok {
		return fmt.Errorf("%w: time_unit: want s, ms, us or ns, got %q", ErrMapping, m.TimeUnit)
	}
	switch m.UnknownFields {
	case "", UnknownIgnore, UnknownReject:
		return nil
	}
	return fmt.Errorf("%w: unknown_fields: want %s or %s, got %q", ErrMapping, UnknownIgnore, UnknownReject, m.UnknownFields)
}

// Options are those that records which this mapping is for are parsed with.
func (m *Mapping) Options(types *event.Types) event.Options {
	return event.Options{Types: types, Mapping: &event.Mapping{
		Names: m.Fields, Type: m.EventType, IgnoreUnknown: m.UnknownFields != UnknownReject,
		TypeNames: m.TypeNames, TimeUnit: timeUnits[m.TimeUnit],
	}}
}

// refused is the outcome of a record that is no event.
func refused(fault *event.FieldError) (*source.Bad, error) { return &source.Bad{Err: fault}, nil }
