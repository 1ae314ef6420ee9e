package event

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxMetadataBytes is the most metadata of an event, in bytes of compact JSON.
const MaxMetadataBytes = 4 << 10

// A FieldError says what is wrong with one element of a request: which
// element, which of its fields, what was expected there and what was found.
type FieldError struct {
	Index    int    `json:"index"`    // position of the element in the request, from 0
	Field    string `json:"field"`    // name of the field, "" for the element as a whole
	Expected string `json:"expected"` // in words
	Got      string `json:"got"`      // an excerpt of printable text, about 100 characters at most
}

// Error says all of it in one line.
func (e *FieldError) Error() string {
	where := "element " + strconv.Itoa(e.Index)
	if e.Field != "" {
		where += ", " + e.Field
	}
	return where + ": expected " + e.Expected + ", got " + e.Got
}

// maxGotRunes is how much of a bad value an error repeats.
const maxGotRunes = 100

// excerpt is the beginning of what was found, fit for a message and a log:
// valid UTF-8, what cannot be printed written as an escape.
func excerpt(found []byte) string {
	var b strings.Builder
	room := maxGotRunes
	for rest := found; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		shown := string(r)
		switch {
		case r == utf8.RuneError && size == 1:
			shown = fmt.Sprintf(`\x%02x`, rest[0])
		case !unicode.IsPrint(r):
			shown = fmt.Sprintf(`\u%04x`, r)
		}
		if room -= utf8.RuneCountInString(shown); room < 0 {
			fmt.Fprintf(&b, "… (%d bytes)", len(found))
			break
		}
		b.WriteString(shown)
		rest = rest[size:]
	}
	return b.String()
}

// nothing is what was found where a field is missing.
const nothing = "nothing"

// Unexpected is the error of a field that was read elsewhere: what was expected
// of it and, as an excerpt fit for a message, what was found.
func Unexpected(field, expected string, found []byte) *FieldError {
	if len(found) == 0 {
		return missing(field, expected)
	}
	return unexpected(field, expected, found)
}

func unexpected(field, expected string, found []byte) *FieldError {
	return &FieldError{Field: field, Expected: expected, Got: excerpt(found)}
}

func missing(field, expected string) *FieldError {
	return &FieldError{Field: field, Expected: expected, Got: nothing}
}

const (
	expectedText     = "a string of at most %d bytes of UTF-8 without control characters"
	expectedWhole    = "a whole number from 0 to %d"
	expectedMetadata = "a JSON object without repeated names, at most %d bytes when compact"
	expectedValue    = "a finite number"
	expectedTime     = "a time after 1970 and before 2200: RFC 3339, or a number of seconds (below 1e11) or milliseconds"
)

var (
	expectedID     = fmt.Sprintf("a string or a whole number, 1 to %d bytes of UTF-8 without control characters", MaxIDBytes)
	expectedLabel  = fmt.Sprintf("a string or a whole number, 1 to %d bytes of UTF-8 without control characters", MaxLabelBytes)
	expectedAge    = fmt.Sprintf(expectedWhole, MaxAge)
	expectedLabels = fmt.Sprintf("an array of at most %d strings", MaxListed)
	expectedPast   = fmt.Sprintf("a time at most %d minutes ahead of the server's clock", MaxAhead/Minute)
)

// Validate says what is wrong with an event that was not parsed from JSON, or
// nil: the rules are those of ParseEvent.
func Validate(e *Event, opt Options) *FieldError {
	for _, id := range []struct {
		field    int
		value    string
		optional bool
	}{
		{eventUser, e.User, false},
		{eventItem, e.Item, false},
		{eventID, e.ID, true},
		{eventSession, e.Session, true},
		{eventRequest, e.Request, true},
	} {
		if id.value == "" && id.optional {
			continue
		}
		if err := checkID(eventNames[id.field], id.value); err != nil {
			return err
		}
	}
	if types := opt.types(); !types.Has(e.Type) {
		return foundText(eventNames[eventType], types.expected(), e.Type)
	}
	if e.HasValue && (math.IsNaN(e.Value) || math.IsInf(e.Value, 0)) {
		return foundText(eventNames[eventValue], expectedValue, strconv.FormatFloat(e.Value, 'g', -1, 64))
	}
	if err := checkTime(eventNames[eventTime], e.Time, opt.Now); err != nil {
		return err
	}
	return checkMetadata(eventNames[eventMetadata], e.Metadata, MaxMetadataBytes)
}

// expected lists the names of the types, for a message.
func (t *Types) expected() string { return "one of " + t.list }

// foundText is the error of a field whose text is not what was expected.
func foundText(field, expected, text string) *FieldError {
	if text == "" {
		return missing(field, expected)
	}
	return unexpected(field, expected, []byte(text))
}

// IsID reports whether a text can be the id of a user or an item.
func IsID(id string) bool { return checkID("", id) == nil }

func checkID(field, id string) *FieldError {
	if id == "" || len(id) > MaxIDBytes || !isPlainText(id) {
		return foundText(field, expectedID, id)
	}
	return nil
}

// checkTime checks an event's time, against the clock too unless now is 0.
func checkTime(field string, t, now Time) *FieldError {
	if !inRange(t) {
		return &FieldError{Field: field, Expected: expectedTime, Got: t.String()}
	}
	if isAhead(t, now) {
		return &FieldError{Field: field, Expected: expectedPast, Got: t.String()}
	}
	return nil
}

// isAhead says whether t is too far ahead of the wall clock, if that is given.
func isAhead(t, now Time) bool { return now != 0 && t > now+MaxAhead }

// checkText checks text that may be empty.
func checkText(field, text string, max int) *FieldError {
	if len(text) > max || !isPlainText(text) {
		return foundText(field, fmt.Sprintf(expectedText, max), text)
	}
	return nil
}

// checkLabels checks categories, tags or labels: no empty one, none twice.
func checkLabels(field string, labels []string) *FieldError {
	if len(labels) > MaxListed {
		return &FieldError{Field: field, Expected: expectedLabels, Got: plural(len(labels), "string")}
	}
	for i, label := range labels {
		if label == "" || len(label) > MaxLabelBytes || !isPlainText(label) {
			return foundText(fmt.Sprintf("%s[%d]", field, i), expectedLabel, label)
		}
		if slices.Contains(labels[:i], label) {
			return foundText(fmt.Sprintf("%s[%d]", field, i), "each one once", label)
		}
	}
	return nil
}

// CompactMetadata is an event's metadata as it is kept: a JSON object without
// white space between its parts, in memory of its own.
func CompactMetadata(object []byte) ([]byte, *FieldError) {
	text := bytes.TrimSpace(object)
	return new(fieldReader).metadata(eventNames[eventMetadata], text, MaxMetadataBytes)
}

// checkMetadata checks metadata that is there: a compact JSON object.
func checkMetadata(field string, metadata []byte, max int) *FieldError {
	if len(metadata) == 0 {
		return nil
	}
	compact, err := new(fieldReader).compactObject(field, metadata, max)
	if err != nil {
		return err
	}
	if string(compact) != string(metadata) {
		return unexpected(field, "a JSON object without white space between its parts", metadata)
	}
	return nil
}
