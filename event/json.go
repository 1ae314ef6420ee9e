package event

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"millrace/event/wire"
)

// AppendJSON appends an event as JSON, its fields in a fixed order and ids as
// strings; ParseEvent reads the same event from it, if it was valid. The
// timestamp is a number of milliseconds, or RFC 3339 where that number would
// be read as seconds (before March 1973).
func AppendJSON(dst []byte, e *Event) []byte {
	dst = append(dst, '{')
	if e.ID != "" {
		dst = appendMember(dst, eventNames[eventID], e.ID)
	}
	dst = appendMember(dst, eventNames[eventUser], e.User)
	dst = appendMember(dst, eventNames[eventItem], e.Item)
	dst = appendMember(dst, eventNames[eventType], e.Type)
	if e.HasValue && !math.IsNaN(e.Value) && !math.IsInf(e.Value, 0) {
		dst = strconv.AppendFloat(append(dst, `"value":`...), e.Value, 'g', -1, 64)
		dst = append(dst, ',')
	}
	dst = append(dst, `"timestamp":`...)
	if e.Time >= secondsBelow {
		dst = strconv.AppendInt(dst, int64(e.Time), 10)
	} else {
		dst = appendString(dst, e.Time.String())
	}
	dst = append(dst, ',')
	if e.Session != "" {
		dst = appendMember(dst, eventNames[eventSession], e.Session)
	}
	if e.Request != "" {
		dst = appendMember(dst, eventNames[eventRequest], e.Request)
	}
	if len(e.Metadata) > 0 {
		dst = append(append(dst, `"metadata":`...), e.Metadata...)
		dst = append(dst, ',')
	}
	dst[len(dst)-1] = '}'
	return dst
}

// JSONLines are the count stored events of a payload as JSON Lines, each as
// AppendJSON writes it. The error is that of ReadEvent.
func JSONLines(payload []byte, count int) ([]byte, error) {
	var lines []byte
	var e Event
	in := wire.NewReader(payload)
	for range count {
		if ReadEvent(in, &e, nil); in.Err() != nil {
			return nil, in.Err()
		}
		lines = append(AppendJSON(lines, &e), '\n')
	}
	return lines, nil
}

// appendMember appends a member and a comma.
func appendMember(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(appendString(dst, value), ',')
}

func appendString(dst []byte, s string) []byte {
	// The error says that invalid UTF-8 was replaced, which no valid event has.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// ItemJSON is an item as the API writes it. ParseItem reads it back.
type ItemJSON struct {
	ItemID     string          `json:"item_id"`
	Title      string          `json:"title,omitempty"` // absent where there is none
	Categories []string        `json:"categories"`
	Tags       []string        `json:"tags"`
	Hidden     bool            `json:"hidden"`
	Created    string          `json:"created,omitempty"` // RFC 3339, absent when not known
	Metadata   json.RawMessage `json:"metadata,omitempty"`
}

// JSON is the item as the API writes it; lists are never null.
func (i *Item) JSON() ItemJSON {
	j := ItemJSON{
		ItemID:     i.ID,
		Title:      i.Title,
		Categories: append([]string{}, i.Categories...),
		Tags:       append([]string{}, i.Tags...),
		Hidden:     i.Hidden,
		Metadata:   i.Metadata,
	}
	if i.Created != 0 {
		j.Created = i.Created.String()
	}
	return j
}

// UserJSON is a user as the API writes it. ParseUser reads it back.
type UserJSON struct {
	UserID string   `json:"user_id"`
	Age    int      `json:"age,omitempty"` // in years, absent when not known
	Gender string   `json:"gender,omitempty"`
	Labels []string `json:"labels"`
}

// JSON is the user as the API writes it; the list is never null.
func (u *User) JSON() UserJSON {
	return UserJSON{UserID: u.ID, Age: u.Age, Gender: u.Gender, Labels: append([]string{}, u.Labels...)}
}
