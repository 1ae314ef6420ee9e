package format

import (
	"bytes"
	"context"

	"millrace/event"
	"millrace/source"
)

// Counters are the kinds of the values CONTENT_ID:KIND that the likes service
// writes, each with the type of event that it is nearest to.
var Counters = map[string]string{
	"likes":     event.TypeLike,
	"favorites": event.TypeLike,
	"comments":  event.TypeClick,
	"reads":     event.TypeView,
}

// AnonymousPrefix begins the user of an event that no user is known of: one
// anonymous user for each item, which therefore never has two items, so that
// such events make items hot and associate nothing.
const AnonymousPrefix = "anonymous:"

const expectedCounter = "CONTENT_ID:KIND with the kind likes, favorites, comments or reads"

// NewCounter makes the Decoder of values CONTENT_ID:KIND. Their user is the
// record's key, or an anonymous one where it has none; their time is the
// record's.
func NewCounter(types *event.Types) Decoder { return &counterDecoder{types} }

type counterDecoder struct{ types *event.Types }

// Decode implements Decoder.
func (d *counterDecoder) Decode(_ context.Context, r *Record, now event.Time, into *event.Event) (*source.Bad, error) {
	at := bytes.LastIndexByte(r.Value, ':')
	kind := ""
	if at >= 0 {
		kind = Counters[string(r.Value[at+1:])]
	}
	if kind == "" {
		return &source.Bad{Err: event.Unexpected("", expectedCounter, r.Value)}, nil
	}
	e := event.Event{Item: string(r.Value[:at]), Type: kind, Time: r.Time, User: string(r.Key)}
	if e.User == "" {
		e.User = AnonymousPrefix + e.Item
	}
	if fault := event.Validate(&e, event.Options{Types: d.types, Now: now}); fault != nil {
		return refused(fault)
	}
	*into = e
	return nil, nil
}
