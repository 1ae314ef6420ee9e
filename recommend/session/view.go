package session

import (
	"encoding/json"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
)

// View is the answer kept ready for each user. It is immutable.
type View struct {
	// Open is the session that is going on, nil if there is none. Of several
	// that are open, because events came out of order, it is the last.
	Open *Open
	// ClosedSessions is how many of the user's sessions have ended.
	ClosedSessions int64
	// ClosedLength is the sum of their lengths, in milliseconds.
	ClosedLength event.Duration
}

// Open is a session that is going on.
type Open struct {
	Start  event.Time // of its first event
	Last   event.Time // of its last event so far
	Events int64      // impressions too
	Items  []string   // met last first, each once
}

// Length is from the first to the last event, in milliseconds.
func (o *Open) Length() event.Duration { return o.Last - o.Start }

// AverageLength is the mean length of the sessions that have ended, in whole
// milliseconds; 0 if none has.
func (v *View) AverageLength() event.Duration {
	if v.ClosedSessions == 0 {
		return 0
	}
	return v.ClosedLength / event.Duration(v.ClosedSessions)
}

// viewVersion is the version of the view's byte form, its first byte.
const viewVersion = 1

// MarshalJSON writes the view for people; "open" is null without one.
func (v *View) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Open           *Open          `json:"open"`
		ClosedSessions int64          `json:"closed_sessions"`
		ClosedLength   event.Duration `json:"closed_length_ms"`
		AverageLength  event.Duration `json:"average_length_ms"`
	}{v.Open, v.ClosedSessions, v.ClosedLength, v.AverageLength()})
}

// MarshalJSON writes the session with its length.
func (o *Open) MarshalJSON() ([]byte, error) {
	items := o.Items
	if items == nil {
		items = []string{}
	}
	return json.Marshal(struct {
		Start  event.Time     `json:"start"`
		Last   event.Time     `json:"last"`
		Length event.Duration `json:"length_ms"`
		Events int64          `json:"events"`
		Items  []string       `json:"items"`
	}{o.Start, o.Last, o.Length(), o.Events, items})
}

// AppendBinary appends the view's byte form. It never fails.
func (v *View) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, viewVersion)
	dst = wire.AppendVarint(dst, v.ClosedSessions)
	dst = wire.AppendVarint(dst, int64(v.ClosedLength))
	dst = wire.AppendBool(dst, v.Open != nil)
	if o := v.Open; o != nil {
		dst = wire.AppendVarint(dst, int64(o.Start))
		dst = wire.AppendVarint(dst, int64(o.Length()))
		dst = wire.AppendVarint(dst, o.Events)
		dst = wire.AppendStrings(dst, o.Items)
	}
	return dst, nil
}

// DecodeView reads what AppendBinary wrote. Its errors are event.ErrVersion
// and wire.ErrCorrupt.
func DecodeView(b []byte) (*View, error) {
	r := wire.NewReader(b)
	if version := r.Byte(); r.Err() == nil && version != viewVersion {
		return nil, fmt.Errorf("decode session view: version %d: %w", version, event.ErrVersion)
	}
	v := &View{ClosedSessions: r.Varint(), ClosedLength: event.Duration(r.Varint())}
	if r.Bool() {
		o := &Open{Start: event.Time(r.Varint())}
		o.Last = o.Start + event.Time(r.Varint())
		o.Events = r.Varint()
		o.Items = r.Strings()
		v.Open = o
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("decode session view: %w", err)
	}
	return v, nil
}
