package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The scripts of testdata/parse: a body goes in, and what comes out is a line
// for each good record and each error, with its position in the request.
//
//	events [lines] [now=TIME] [elements=N] [errors=N]
//	items [id=ID]
//	users [id=ID]
//
// "lines" sets the content type of JSON Lines. With an id the body is one
// record, as in a PUT. In a body, \t, \xNN and \uNNNN between double angle
// brackets, «\x00», stand for what cannot be written in a script, and «a*300»
// for 300 times a.
func TestParseScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			body := []byte(expand(t, d.Input))
			contentType := "application/json"
			if d.HasArg("lines") {
				contentType = "application/x-ndjson"
			}
			opt := scriptOptions(t, d)
			var id string
			d.MaybeScanArgs(t, "id", &id)
			switch d.Cmd {
			case "events":
				p := ParseBody(body, contentType, opt)
				return describe(p.Events, p.Index, p.Rejected, func(e Event) string { return string(AppendJSON(nil, &e)) })
			case "items":
				if id != "" {
					item, bad := ParseItem(body, id)
					return describeOne(item, bad, itemLine)
				}
				p := ParseItems(body, contentType, opt)
				return describe(p.Items, p.Index, p.Rejected, itemLine)
			case "users":
				if id != "" {
					user, bad := ParseUser(body, id)
					return describeOne(user, bad, userLine)
				}
				p := ParseUsers(body, contentType, opt)
				return describe(p.Users, p.Index, p.Rejected, userLine)
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func scriptOptions(t *testing.T, d *datadriven.TestData) Options {
	var opt Options
	var now string
	if d.MaybeScanArgs(t, "now", &now) {
		var ok bool
		if opt.Now, ok = ParseTime(now); !ok {
			t.Fatalf("now=%s is not a time", now)
		}
	}
	d.MaybeScanArgs(t, "elements", &opt.Limits.Elements)
	d.MaybeScanArgs(t, "errors", &opt.Limits.Errors)
	return opt
}

// expand replaces what is between double angle brackets.
func expand(t testing.TB, s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "«")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		var inner string
		if inner, s, found = strings.Cut(rest, "»"); !found {
			t.Fatalf("« without » in %q", rest)
		}
		if text, count, repeated := strings.Cut(inner, "*"); repeated {
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatalf("«%s»: %v", inner, err)
			}
			b.WriteString(strings.Repeat(text, n))
			continue
		}
		text, err := strconv.Unquote(`"` + inner + `"`)
		if err != nil {
			t.Fatalf("«%s»: %v", inner, err)
		}
		b.WriteString(text)
	}
}

// describe writes records and errors in the order of their positions.
func describe[T any](records []T, index []int, r Rejected, line func(T) string) string {
	var b strings.Builder
	for i, n := 0, 0; i < len(records) || n < len(r.Bad); {
		if n == len(r.Bad) || i < len(records) && index[i] < r.Bad[n].Index {
			fmt.Fprintf(&b, "%d: %s\n", index[i], line(records[i]))
			i++
			continue
		}
		bad := r.Bad[n]
		fmt.Fprintf(&b, "%d! %s\n", bad.Index, strings.TrimPrefix(bad.Error.Error(), fmt.Sprintf("element %d", bad.Index)))
		fmt.Fprintf(&b, "   raw %s\n", shorten(strconv.QuoteToGraphic(string(bad.Raw))))
		n++
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func shorten(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%.60s... (%d bytes)", s, len(s))
	}
	return s
}

func describeOne[T any](record T, bad *FieldError, line func(T) string) string {
	if bad != nil {
		return describe[T](nil, nil, Rejected{Bad: []BadInput{{Error: *bad}}}, line)
	}
	return describe([]T{record}, []int{0}, Rejected{}, line)
}

func itemLine(item Item) string { return mustJSON(item.JSON()) }

func userLine(user User) string { return mustJSON(user.JSON()) }

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestParseEventTakesOneEvent(t *testing.T) {
	const good = `{"user_id":"u","item_id":"i","timestamp":1700000000}`
	for _, c := range []struct{ line, want string }{
		{good, ""},
		{" " + good + "\r\n", ""},
		{"\ufeff" + good, ""},
		{`["u","i",1700000000]`, ""},
		{good + good, "element 0: expected one element and no more, got " + good},
		{good + " x", "element 0: expected valid JSON, got invalid character 'x' at start of value, in " + good + " x"},
		{"[" + good + "]", "element 0: expected an event: a JSON object, or [user_id, item_id, timestamp], got [" + good + "]"},
		{"", "element 0: expected an event: a JSON object, or [user_id, item_id, timestamp], got nothing"},
		{" \n", "element 0: expected an event: a JSON object, or [user_id, item_id, timestamp], got nothing"},
		{"{", "element 0: expected valid JSON, got an early end, in {"},
	} {
		e, bad := ParseEvent([]byte(c.line), Options{})
		switch {
		case c.want == "" && (bad != nil || e.User != "u" || e.Item != "i" || e.Type != TypeView || e.Time != 1_700_000_000_000):
			t.Errorf("%q is %+v, error %v", c.line, e, bad)
		case c.want != "" && (bad == nil || !strings.HasPrefix(bad.Error(), c.want)):
			t.Errorf("%q: error %v, want %s", c.line, bad, c.want)
		}
	}
}

func TestTypesAreThoseOfTheConfiguration(t *testing.T) {
	types, err := NewTypes(map[string]float64{"stare": 1, `a"b`: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, want string }{
		{`{"user_id":"u","item_id":"i","timestamp":1700000000,"event_type":"stare"}`, "stare"},
		{`{"user_id":"u","item_id":"i","timestamp":1700000000,"event_type":"a\"b"}`, `a"b`},
		{`{"user_id":"u","item_id":"i","timestamp":1700000000,"event_type":"view"}`, ""},
		{`{"user_id":"u","item_id":"i","timestamp":1700000000}`, ""}, // no view that could be meant
		{`["u","i",1700000000]`, ""},
	} {
		e, bad := ParseEvent([]byte(c.line), Options{Types: types})
		if e.Type != c.want || (bad == nil) != (c.want != "") {
			t.Errorf("%s has the type %q, error %v, want %q", c.line, e.Type, bad, c.want)
		}
		if bad != nil && (bad.Field != "event_type" || bad.Expected != `one of a"b, stare`) {
			t.Errorf("%s: %v", c.line, bad)
		}
	}
}

// Events share no memory with the body that they came from: a server reads the
// next request into it.
func TestEventsAreIndependentOfTheBody(t *testing.T) {
	body := []byte(`{"event_id":"e","user_id":"u","item_id":1,"event_type":"click","timestamp":1700000000,"session_id":"s",` +
		`"request_id":"\u0072","metadata":{"a":1}}`)
	p := ParseBody(body, "", Options{})
	for i := range body {
		body[i] = '#'
	}
	const want = `{"event_id":"e","user_id":"u","item_id":"1","event_type":"click","timestamp":1700000000000,"session_id":"s",` +
		`"request_id":"r","metadata":{"a":1}}`
	if len(p.Events) != 1 || string(AppendJSON(nil, &p.Events[0])) != want {
		t.Errorf("events %+v, errors %v, want %s", p.Events, p.Errors, want)
	}
}

// An empty array is no item and no user: a PUT of it would wipe what is known.
func TestAnEmptyArrayIsNoRecord(t *testing.T) {
	if _, bad := ParseItem([]byte("[]"), "i1"); bad == nil {
		t.Error("an empty array is taken for an item")
	}
	if _, bad := ParseUser([]byte("[]"), "u1"); bad == nil {
		t.Error("an empty array is taken for a user")
	}
}
