package event

import (
	"math"
	"strings"
	"testing"
)

func goodEvent() Event {
	return Event{
		ID: "e", User: "u", Item: "i", Type: "rating", Value: 4, HasValue: true,
		Time: 1_700_000_000_000, Session: "s", Request: "r", Metadata: []byte(`{"a":1}`),
	}
}

func TestValidate(t *testing.T) {
	opt := Options{Now: 1_700_000_000_000}
	for _, c := range []struct {
		name  string
		spoil func(*Event)
		field string // "" when still good
	}{
		{"as it is", func(*Event) {}, ""},
		{"no optional fields", func(e *Event) { *e = Event{User: "u", Item: "i", Type: "view", Time: 1} }, ""},
		{"empty metadata", func(e *Event) { e.Metadata = []byte{} }, ""},
		{"five minutes ahead", func(e *Event) { e.Time += MaxAhead }, ""},
		{"a value that is not one", func(e *Event) { e.Value, e.HasValue = math.NaN(), false }, ""},
		{"no user", func(e *Event) { e.User = "" }, "user_id"},
		{"no item", func(e *Event) { e.Item = "" }, "item_id"},
		{"long user", func(e *Event) { e.User = strings.Repeat("u", MaxIDBytes+1) }, "user_id"},
		{"control in item", func(e *Event) { e.Item = "a\tb" }, "item_id"},
		{"C1 control in item", func(e *Event) { e.Item = "a\u0085b" }, "item_id"},
		{"invalid UTF-8", func(e *Event) { e.Session = "\xff" }, "session_id"},
		{"long event id", func(e *Event) { e.ID = strings.Repeat("e", MaxIDBytes+1) }, "event_id"},
		{"control in request", func(e *Event) { e.Request = "\x7f" }, "request_id"},
		{"no type", func(e *Event) { e.Type = "" }, "event_type"},
		{"unknown type", func(e *Event) { e.Type = "stare" }, "event_type"},
		{"NaN", func(e *Event) { e.Value = math.NaN() }, "value"},
		{"infinite", func(e *Event) { e.Value = math.Inf(-1) }, "value"},
		{"no time", func(e *Event) { e.Time = 0 }, "timestamp"},
		{"before all time", func(e *Event) { e.Time = MinTime }, "timestamp"},
		{"after all time", func(e *Event) { e.Time = MaxTime }, "timestamp"},
		{"ahead of the clock", func(e *Event) { e.Time += MaxAhead + 1 }, "timestamp"},
		{"metadata not an object", func(e *Event) { e.Metadata = []byte(`[1]`) }, "metadata"},
		{"metadata not JSON", func(e *Event) { e.Metadata = []byte(`{"a":`) }, "metadata"},
		{"metadata not compact", func(e *Event) { e.Metadata = []byte(`{"a": 1}`) }, "metadata"},
		{"metadata twice", func(e *Event) { e.Metadata = []byte(`{}{}`) }, "metadata"},
		{"much metadata", func(e *Event) { e.Metadata = []byte(`{"a":"` + strings.Repeat("x", MaxMetadataBytes) + `"}`) }, "metadata"},
	} {
		e := goodEvent()
		c.spoil(&e)
		bad := Validate(&e, opt)
		switch {
		case bad == nil && c.field != "":
			t.Errorf("%s: accepted, want an error of %s", c.name, c.field)
		case bad != nil && bad.Field != c.field:
			t.Errorf("%s: %v, want an error of %q", c.name, bad, c.field)
		}
	}
}

func TestValidateCatalogue(t *testing.T) {
	many := make([]string, MaxListed+1)
	for i := range many {
		many[i] = string(rune('À' + i))
	}
	for _, c := range []struct {
		item  Item
		field string
	}{
		{Item{ID: "i"}, ""},
		{Item{ID: "i", Title: "Heat", Categories: many[:MaxListed], Tags: []string{"a"}, Created: 1, Metadata: []byte("{}")}, ""},
		{Item{}, "item_id"},
		{Item{ID: "i", Title: strings.Repeat("t", MaxTitleBytes+1)}, "title"},
		{Item{ID: "i", Categories: many}, "categories"},
		{Item{ID: "i", Categories: []string{"a", "b", "a"}}, "categories[2]"},
		{Item{ID: "i", Tags: []string{"a", ""}}, "tags[1]"},
		{Item{ID: "i", Created: -1}, "created"},
		{Item{ID: "i", Metadata: []byte("null")}, "metadata"},
	} {
		bad := ValidateItem(&c.item)
		if (bad == nil) != (c.field == "") || bad != nil && bad.Field != c.field {
			t.Errorf("%+v: %v, want an error of %q", c.item, bad, c.field)
		}
	}
	for _, c := range []struct {
		user  User
		field string
	}{
		{User{ID: "u"}, ""},
		{User{ID: "u", Age: MaxAge, Gender: "f", Labels: many[:MaxListed]}, ""},
		{User{}, "user_id"},
		{User{ID: "u", Age: -1}, "age"},
		{User{ID: "u", Age: MaxAge + 1}, "age"},
		{User{ID: "u", Gender: "F"}, "gender"},
		{User{ID: "u", Gender: "female"}, "gender"},
		{User{ID: "u", Gender: "f\n"}, "gender"},
		{User{ID: "u", Labels: []string{"\xff"}}, "labels[0]"},
	} {
		bad := ValidateUser(&c.user)
		if (bad == nil) != (c.field == "") || bad != nil && bad.Field != c.field {
			t.Errorf("%+v: %v, want an error of %q", c.user, bad, c.field)
		}
	}
}

func TestExcerpt(t *testing.T) {
	for _, c := range []struct{ found, want string }{
		{"", ""},
		{"plain", "plain"},
		{"é\u00a0\n\x00\xff\u200b", `é\u00a0\u000a\u0000\xff\u200b`},
		{strings.Repeat("é", 100), strings.Repeat("é", 100)},
		{strings.Repeat("é", 101), strings.Repeat("é", 100) + "… (202 bytes)"},
		{strings.Repeat("\n", 1000), strings.Repeat(`\u000a`, 16) + "… (1000 bytes)"},
	} {
		if got := excerpt([]byte(c.found)); got != c.want {
			t.Errorf("excerpt of %q is %q, want %q", c.found, got, c.want)
		}
	}
}

func TestFieldErrorSaysAllInOneLine(t *testing.T) {
	bad := &FieldError{Index: 3, Field: "value", Expected: "a finite number", Got: `"4"`}
	if got, want := bad.Error(), `element 3, value: expected a finite number, got "4"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	const want = `{"index":3,"field":"value","expected":"a finite number","got":"\"4\""}`
	if got := mustJSON(bad); got != want {
		t.Errorf("as JSON %s, want %s", got, want)
	}
}
