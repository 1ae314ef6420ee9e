package event

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// element draws one element of a body, good or bad, that does not break the
// structure around it, and is on one line.
var element = rapid.OneOf(
	rapid.Map(rapid.Custom(validEvent), func(e Event) string { return string(AppendJSON(nil, &e)) }),
	rapid.SampledFrom([]string{
		`["u1","i1",1700000000]`, `[1, 2, "2023-11-14T22:13:20Z"]`,
		`{ "userId" : 1 , "itemId" : "\u0069" , "timestamp" : 1.7e9 }`,
		`{}`, `{"user_id":"u"}`, `{"user_id":"u","item_id":"i","timestamp":0}`, `{"a":[{"b":[]}]}`, `["u","i"]`,
		`{"user_id":"u","item_id":"i","timestamp":1700000000,"metadata":{"a":1,"a":2}}`,
		"{\"user_id\":\"\xff\",\"item_id\":\"i\",\"timestamp\":1700000000}",
	}),
)

func validEvent(t *rapid.T) Event {
	id := rapid.StringMatching(`[ -~é世"\\<]{1,8}`)
	optional := rapid.OneOf(rapid.Just(""), id)
	e := Event{
		ID:       optional.Draw(t, "event_id"),
		User:     id.Draw(t, "user_id"),
		Item:     id.Draw(t, "item_id"),
		Type:     rapid.SampledFrom(DefaultTypes().Names()).Draw(t, "event_type"),
		HasValue: rapid.Bool().Draw(t, "has value"),
		Time:     Time(rapid.Int64Range(1, int64(farAhead)-1).Draw(t, "timestamp")),
		Session:  optional.Draw(t, "session_id"),
		Request:  optional.Draw(t, "request_id"),
	}
	if e.HasValue {
		e.Value = rapid.Float64().Draw(t, "value")
	}
	if rapid.Bool().Draw(t, "has metadata") {
		e.Metadata = []byte(`{"page":"home","list":[1,{"a":null}]}`)
	}
	return e
}

func TestValidEventsAreAcceptedAsTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := validEvent(t)
		if bad := Validate(&e, Options{}); bad != nil {
			t.Fatalf("%+v: %v", e, bad)
		}
		text := AppendJSON(nil, &e)
		got, bad := ParseEvent(text, Options{})
		if bad != nil || !sameEvent(got, e) {
			t.Fatalf("%s was read as %+v, error %v, want %+v", text, got, bad, e)
		}
	})
}

// The same elements come out of every form of a body, and a broken line takes
// none of them away.
func TestAllFormsOfABodyAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// In an array of its own, one tuple would be the elements of the body.
		elements := rapid.SliceOfN(element, 2, 6).Draw(t, "elements")
		want := ParseBody([]byte("["+strings.Join(elements, ",")+"]"), "", Options{})
		if n := len(want.Events) + len(want.Bad); n != len(elements) {
			t.Fatalf("%d elements in the array, want %d: %+v", n, len(elements), want.Errors)
		}
		pretty := "[\n  " + strings.Join(elements, "\n ,\n  ") + "\n]\n"
		var split []byte
		for _, e := range elements {
			var err error
			if split, err = jsontext.AppendFormat(split, []byte(e), lenient, jsontext.Multiline(true), jsontext.PreserveRawStrings(true)); err != nil {
				t.Fatal(err)
			}
		}
		for _, form := range []struct{ name, body, contentType string }{
			{"pretty array", pretty, "application/json"},
			{"lines", strings.Join(elements, "\n"), "application/x-ndjson"},
			{"lines, not promised", strings.Join(elements, "\r\n") + "\r\n", "text/plain"},
			{"in a row", strings.Join(elements, ""), ""},
			{"over lines", string(split), ""},
		} {
			got := ParseBody([]byte(form.body), form.contentType, Options{})
			sameParsed(t, form.name, got, want, 0, len(elements))
		}

		at := rapid.IntRange(0, len(elements)).Draw(t, "broken at")
		broken := rapid.SampledFrom([]string{`{"user_id":`, `["u",`, `}`, `nonsense`, `{"a":"b`, `"`, `1,2`, `[1,{]`, `{"a" 1}`}).Draw(t, "broken")
		lines := strings.Join(append(append(append([]string{}, elements[:at]...), broken), elements[at:]...), "\n")
		got := ParseBody([]byte(lines), "application/jsonl; charset=utf-8", Options{})
		if len(got.Events)+len(got.Bad) != len(elements)+1 {
			t.Fatalf("%d elements of %d lines: %+v", len(got.Events)+len(got.Bad), len(elements)+1, got.Errors)
		}
		sameParsed(t, "before the broken line", got, want, 0, at)
		sameParsed(t, "after the broken line", shift(got, at), want, at, len(elements))
	})
}

// shift takes the element at a position out.
func shift(p Parsed, at int) Parsed {
	var out Parsed
	for i, index := range p.Index {
		if index > at {
			index--
		}
		out.Index, out.Events = append(out.Index, index), append(out.Events, p.Events[i])
	}
	for _, bad := range p.Bad {
		if bad.Index == at {
			continue
		}
		if bad.Index > at {
			bad.Index--
		}
		bad.Error.Index = bad.Index
		out.Bad = append(out.Bad, bad)
	}
	return out
}

// sameParsed compares the elements from one position to another.
func sameParsed(t *rapid.T, what string, got, want Parsed, from, to int) {
	t.Helper()
	events := func(p Parsed) (list []string) {
		for i, index := range p.Index {
			if from <= index && index < to {
				list = append(list, string(AppendEvent([]byte{byte(index)}, &p.Events[i])))
			}
		}
		return list
	}
	errors := func(p Parsed) (list []string) {
		for _, bad := range p.Bad {
			if from <= bad.Index && bad.Index < to {
				list = append(list, bad.Error.Error())
			}
		}
		return list
	}
	if g, w := strings.Join(events(got), "\n"), strings.Join(events(want), "\n"); g != w {
		t.Fatalf("%s: events %q, want %q", what, g, w)
	}
	if g, w := errors(got), errors(want); len(g) != len(w) || what != "over lines" && strings.Join(g, "\n") != strings.Join(w, "\n") {
		t.Fatalf("%s: errors %q, want %q", what, g, w)
	}
}

// hostileBodies are parts that, over and over, begin a value that does not
// end. Reading on from every line would take time in the square of the length.
var hostileBodies = []string{
	"[\n", "{\"a\":\n", "[1,\n", "[[1,\n", "{\"a\":[\n", "[\"u\",\n", "\"\n", "[{\n", "{\"a\":1,\n", "[{}\n", "{\n\"a\":1}\n{\"\n",
	"[", "{\"a\":", "1,", "1\n", "[]\n", "{}", "{}\n", ",", "\\", "\x00", "\n", "{\"user_id\":\"\n",
	"{\"" + strings.Repeat("a", 400) + "\":\n",
	`["u","i",1],`, "[\"u\",\"i\",1700000000]\n", `{"user_id":"u","x":0}`,
}

func TestHostileBodiesAreCheap(t *testing.T) {
	const size = 4 << 20
	for _, part := range hostileBodies {
		for _, contentType := range []string{"", "application/x-ndjson"} {
			body := bytes.Repeat([]byte(part), size/len(part))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			p := ParseBody(body, contentType, Options{Limits: Limits{Errors: 2000}})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			// It takes tens of milliseconds; in quadratic time, it would take minutes.
			if took > 5*time.Second {
				t.Errorf("%d bytes of %.20q as %q took %v", len(body), part, contentType, took)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20+16*size {
				t.Errorf("%d bytes of %.20q as %q allocated %d bytes for %d events and %d errors",
					len(body), part, contentType, got, len(p.Events), len(p.Bad))
			}
		}
	}
}

func TestLongIdsAndNumbersAreCheap(t *testing.T) {
	long := strings.Repeat("9", 8<<20)
	for _, body := range []string{
		`{"user_id":"` + long + `","item_id":1,"timestamp":1}`,
		`{"user_id":` + long + `,"item_id":1,"timestamp":1}`,
		`{"user_id":1,"item_id":1,"timestamp":` + long + `}`,
		`{"user_id":1,"item_id":1,"timestamp":1e` + long + `}`,
		`{"user_id":1,"item_id":1,"timestamp":1,"value":1e` + long + `}`,
		`{"user_id":1,"item_id":1,"timestamp":1,"metadata":{"a":"` + long + `"}}`,
		`{"user_id":1,"item_id":1,"timestamp":1,"` + long + `":1}`,
	} {
		p := ParseBody([]byte(body), "", Options{})
		if len(p.Bad) != 1 || len(p.Errors[0].Got) > 200 || len(p.Errors[0].Field) > 200 {
			t.Errorf("%.60s...: %d events, errors %.300v", body, len(p.Events), p.Errors)
		}
	}
}

func TestParsingTakesFewAllocations(t *testing.T) {
	body := benchmarkBody("\n")
	allocs := testing.AllocsPerRun(10, func() { ParseBody(body, "", Options{}) })
	if perEvent := allocs / 2000; perEvent > 3.1 { // user, item and event id
		t.Errorf("%v allocations an event, want 3", perEvent)
	}
}
