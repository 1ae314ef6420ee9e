package event

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Options are the rules that are not the same for every request.
type Options struct {
	Types  *Types // the configured event types, nil for DefaultTypes
	Now    Time   // the wall clock: later times are refused beyond MaxAhead; 0 for no such check
	Limits Limits
	// Mapping is for records that were not written for Millrace; nil for none.
	Mapping *Mapping
}

// Mapping says how records make events that were not written for Millrace.
type Mapping struct {
	// Names are names of fields besides the usual ones, each with the field
	// that it means, one of FieldNames; an empty one means that it is ignored.
	Names map[string]string
	// Type is the event_type of records that have none; empty is view.
	Type string
	// Time is the timestamp of records that have none; 0 means that they are
	// bad.
	Time Time
	// IgnoreUnknown ignores fields that are none of an event's.
	IgnoreUnknown bool
	// TypeNames are event types in other words, each with the type that it
	// means.
	TypeNames map[string]string
	// TimeUnit is what a timestamp counts that is a number; UnitBySize tells
	// seconds from milliseconds as ParseTime does.
	TimeUnit TimeUnit
}

// Field is the field that a name means, one of FieldNames, or "" for one that
// is ignored; known is false for one that must not be there.
func (m *Mapping) Field(name string) (field string, known bool) {
	switch f := (eventShape{&Options{Mapping: m}}).field([]byte(name)); f {
	case -1:
		return "", false
	case ignoredField:
		return "", true
	default:
		return eventNames[f], true
	}
}

// FieldNames are the names of an event's fields.
func FieldNames() []string { return slices.Clone(eventNames) }

func (o *Options) types() *Types {
	if o.Types == nil {
		return defaultTypes
	}
	return o.Types
}

// Parsed is what a request holds: its good events, each with its position in
// the request, and what was refused.
type Parsed struct {
	Events []Event
	Index  []int // of each event, its position in the request
	Rejected
}

// ParseBody reads the events of a request's body: an event, an array of
// events, or events one after the other, such as JSON Lines. An event is an
// object, or the array [user_id, item_id, timestamp], which is a view. A bad
// element costs its neighbours nothing where the structure can be followed;
// event/README.md has the rules. The content type matters only if it is one of
// JSON Lines: then no event goes on beyond its line. Events share no memory
// with body; Bad does.
func ParseBody(body []byte, contentType string, opt Options) Parsed {
	events, r := parseAll[Event](body, contentType, opt.Limits, eventShape{&opt})
	return Parsed{Events: events, Index: r.good, Rejected: r.Rejected}
}

// ParseEvent reads one event, an element of a body. The index of its error
// is 0.
func ParseEvent(line []byte, opt Options) (Event, *FieldError) {
	return parseOne[Event](line, eventShape{&opt})
}

// The fields of an event, by their numbers in fieldSet and eventNames.
const (
	eventUser = iota
	eventItem
	eventType
	eventTime
	eventValue
	eventID
	eventSession
	eventRequest
	eventMetadata
)

var eventNames = []string{
	eventUser:     "user_id",
	eventItem:     "item_id",
	eventType:     "event_type",
	eventTime:     "timestamp",
	eventValue:    "value",
	eventID:       "event_id",
	eventSession:  "session_id",
	eventRequest:  "request_id",
	eventMetadata: "metadata",
}

// eventShape is the shape of an event.
type eventShape struct{ opt *Options }

func (eventShape) begin(*Event) {}

func (eventShape) expected() string {
	return "an event: a JSON object, or [user_id, item_id, timestamp]"
}

func (eventShape) names() []string { return eventNames }

// tuple is the form of an event that the seeds' browse topic has.
func (eventShape) tuple() []int { return []int{eventUser, eventItem, eventTime} }

// field knows a field by its own name and by those that are common elsewhere,
// and by those of the mapping, which go first.
func (s eventShape) field(name []byte) int {
	m := s.opt.Mapping
	if m == nil {
		return usualField(name)
	}
	field, mapped := m.Names[string(name)]
	switch {
	case mapped && field == "":
		return ignoredField
	case mapped:
		return slices.Index(eventNames, field)
	}
	if f := usualField(name); f >= 0 || !m.IgnoreUnknown {
		return f
	}
	return ignoredField
}

func usualField(name []byte) int {
	switch string(name) {
	case "user_id", "userId":
		return eventUser
	case "item_id", "itemId", "content_id", "contentId", "movie_id", "movieId":
		return eventItem
	case "event_type", "eventType", "action", "behavior":
		return eventType
	case "timestamp", "event_time", "eventTime", "ts":
		return eventTime
	case "value", "rating", "score":
		return eventValue
	case "event_id", "eventId":
		return eventID
	case "session_id", "sessionId":
		return eventSession
	case "request_id", "requestId":
		return eventRequest
	case "metadata", "properties":
		return eventMetadata
	}
	return -1
}

func (s eventShape) set(e *Event, field int, v jsontext.Value, r *fieldReader) (err *FieldError) {
	name := eventNames[field]
	switch field {
	case eventUser:
		e.User, err = r.id(name, v)
	case eventItem:
		e.Item, err = r.id(name, v)
	case eventType:
		e.Type, err = s.typeName(v, r)
	case eventTime:
		if e.Time, err = s.time(name, v, r); err == nil && isAhead(e.Time, s.opt.Now) {
			err = unexpected(name, expectedPast, v)
		}
	case eventValue:
		e.Value, err = r.number(name, v)
		e.HasValue = err == nil
	case eventID:
		e.ID, err = r.optionalID(name, v)
	case eventSession:
		e.Session, err = r.optionalID(name, v)
	case eventRequest:
		e.Request, err = r.optionalID(name, v)
	case eventMetadata:
		e.Metadata, err = r.metadata(name, v, MaxMetadataBytes)
	}
	return err
}

// time reads the timestamp, in the unit of the mapping if it is a number.
func (s eventShape) time(name string, v jsontext.Value, r *fieldReader) (Time, *FieldError) {
	m := s.opt.Mapping
	if m == nil || m.TimeUnit == UnitBySize {
		return r.time(name, v)
	}
	if text := bytes.Trim(v, `"`); len(text) <= maxTimestampBytes {
		if t, ok := m.TimeUnit.parse(text); ok {
			return t, nil
		}
		if _, isNumber := numberTime(text); isNumber { // out of range in this unit
			return 0, unexpected(name, expectedTime, v)
		}
	}
	return r.time(name, v)
}

func (s eventShape) typeName(v jsontext.Value, r *fieldReader) (string, *FieldError) {
	if v[0] == '"' {
		mapped := s.opt.Mapping != nil && len(s.opt.Mapping.TypeNames) > 0
		if name, known := s.opt.types().Canonical(v[1 : len(v)-1]); known && !mapped && !strings.Contains(name, `\`) {
			return name, nil
		}
		text, ok := r.unquote(v)
		if m := s.opt.Mapping; m != nil && ok {
			if name := m.TypeNames[string(text)]; name != "" {
				text = []byte(name)
			}
		}
		if name, known := s.opt.types().Canonical(text); ok && known {
			return name, nil
		}
		// Java's enums, which the seeds' UserEvent has, are in capitals.
		if name, known := s.opt.types().Canonical(bytes.ToLower(text)); ok && known {
			return name, nil
		}
	}
	return "", unexpected(eventNames[eventType], s.opt.types().expected(), v)
}

func (s eventShape) end(e *Event) *FieldError {
	switch {
	case e.User == "":
		return missing(eventNames[eventUser], expectedID)
	case e.Item == "":
		return missing(eventNames[eventItem], expectedID)
	case e.Time == 0 && s.opt.Mapping != nil && s.opt.Mapping.Time != 0:
		e.Time = s.opt.Mapping.Time
		if err := checkTime(eventNames[eventTime], e.Time, s.opt.Now); err != nil {
			return err
		}
	case e.Time == 0:
		return missing(eventNames[eventTime], expectedTime)
	}
	if e.Type == "" {
		var ok bool
		name := TypeView
		if s.opt.Mapping != nil && s.opt.Mapping.Type != "" {
			name = s.opt.Mapping.Type
		}
		if e.Type, ok = s.opt.types().Canonical([]byte(name)); !ok {
			return missing(eventNames[eventType], s.opt.types().expected())
		}
	}
	return nil
}

// parseAll reads the elements of a body.
func parseAll[T any](body []byte, contentType string, limits Limits, s shape[T]) ([]T, result) {
	b := recordBuilder[T]{shape: s}
	r := walk(body, contentType, limits, &b)
	return b.records[:b.kept:b.kept], r
}

// parseOne reads a body that is one element.
func parseOne[T any](body []byte, s shape[T]) (T, *FieldError) {
	var none T
	b := recordBuilder[T]{shape: s}
	if bad := walkOne(body, &b); bad != nil {
		return none, bad
	}
	return *b.record(), nil
}
