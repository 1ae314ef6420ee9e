package event

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"millrace/event/wire"
)

// addScripts adds the bodies of the scripts in testdata/parse that a command
// has to a fuzz test's corpus.
func addScripts(f *testing.F, command string) {
	paths, err := filepath.Glob("testdata/parse/*")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no scripts, error %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "\n"+command)[1:] {
			_, body, _ := strings.Cut(block, "\n")
			body, _, _ = strings.Cut(body, "----")
			f.Add([]byte(expand(f, body)), false)
			f.Add([]byte(expand(f, body)), true)
		}
	}
}

func linesType(lines bool) string {
	if lines {
		return "application/x-ndjson"
	}
	return ""
}

// checkRejected checks what is true of the answer to any body: every element
// is either good or refused, in order, and what is said of the refused ones is
// a part of the body and fit to print.
func checkRejected(t *testing.T, body []byte, good []int, r Rejected) {
	t.Helper()
	if len(r.Errors) != len(r.Bad) {
		t.Fatalf("%d errors of %d bad elements", len(r.Errors), len(r.Bad))
	}
	next, bad := 0, 0
	for next < len(good)+len(r.Bad) {
		switch {
		case bad < len(r.Bad) && r.Bad[bad].Index == next:
			bad++
		case next-bad < len(good) && good[next-bad] == next:
		default:
			t.Fatalf("element %d is missing: good ones %v, bad ones %+v", next, good, r.Errors)
		}
		next++
	}
	for i, b := range r.Bad {
		if b.Error != r.Errors[i] || b.Error.Index != b.Index {
			t.Fatalf("error %+v of the element %+v", r.Errors[i], b)
		}
		if !bytes.Contains(body, b.Raw) {
			t.Fatalf("%q is not a part of the body", b.Raw)
		}
		for _, s := range []string{b.Error.Field, b.Error.Got, b.Error.Expected} {
			if !utf8.ValidString(s) || len(s) > 800 || strings.ContainsAny(s, "\n\x00") {
				t.Fatalf("not fit to print: %q", s)
			}
		}
		if b.Error.Expected == "" || b.Error.Got == "" {
			t.Fatalf("an error says nothing: %+v", b.Error)
		}
	}
}

// checkEvent checks what is true of every event that was accepted.
func checkEvent(t *testing.T, e Event) {
	t.Helper()
	if bad := Validate(&e, Options{}); bad != nil {
		t.Fatalf("accepted %+v, and then: %v", e, bad)
	}
	text := AppendJSON(nil, &e)
	again, bad := ParseEvent(text, Options{})
	if bad != nil || !sameEvent(again, e) {
		t.Fatalf("%+v is %s as JSON, and back %+v, error %v", e, text, again, bad)
	}
	r := wire.NewReader(AppendEvent(nil, &e))
	if ReadEvent(r, &again, nil); r.Err() != nil || r.Len() != 0 || !sameEvent(again, e) {
		t.Fatalf("%+v comes back as %+v, error %v", e, again, r.Err())
	}
}

func FuzzParseBody(f *testing.F) {
	addScripts(f, "events")
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		before := bytes.Clone(body)
		p := ParseBody(body, linesType(lines), Options{Limits: Limits{Elements: 1000}})
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		checkRejected(t, body, p.Index, p.Rejected)
		if len(p.Index) != len(p.Events) {
			t.Fatalf("%d positions of %d events", len(p.Index), len(p.Events))
		}
		for _, e := range p.Events {
			checkEvent(t, e)
		}
		if lines {
			checkLinesAreIndependent(t, body, p)
		}
	})
}

// checkLinesAreIndependent checks that a body of JSON Lines is no more and no
// less than its lines.
func checkLinesAreIndependent(t *testing.T, body []byte, p Parsed) {
	t.Helper()
	if len(p.Events)+len(p.Bad) >= 1000 || len(bytes.TrimSpace(body)) == 0 {
		return // the rest was not read, or there is nothing
	}
	events, errors := 0, 0
	for line := range bytes.Lines(bytes.TrimPrefix(body, byteOrderMark)) {
		if len(bytes.Trim(line, " \t\r\n")) == 0 || bytes.HasPrefix(line, byteOrderMark) {
			continue
		}
		one := ParseBody(line, linesType(true), Options{})
		for _, e := range one.Events {
			if events == len(p.Events) || !sameEvent(e, p.Events[events]) {
				t.Fatalf("the line %q has the event %+v, which its body has not", line, e)
			}
			events++
		}
		errors += len(one.Bad)
	}
	if bytes.Contains(body[min(len(body), 3):], byteOrderMark) {
		return // it is no harm before a body, and an error before a line
	}
	if events != len(p.Events) || errors != len(p.Bad) {
		t.Fatalf("%d events and %d errors in the body, %d and %d in its lines", len(p.Events), len(p.Bad), events, errors)
	}
}

func FuzzParseItems(f *testing.F) {
	addScripts(f, "items")
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		p := ParseItems(body, linesType(lines), Options{})
		checkRejected(t, body, p.Index, p.Rejected)
		for i := range p.Items {
			item := &p.Items[i]
			if bad := ValidateItem(item); bad != nil {
				t.Fatalf("accepted %+v, and then: %v", item, bad)
			}
			text, err := json.Marshal(item.JSON())
			if err != nil {
				t.Fatal(err)
			}
			again, bad := ParseItem(text, item.ID)
			if item.Metadata != nil { // encoding/json writes < as an escape
				again.Metadata = item.Metadata
			}
			if bad != nil || !reflect.DeepEqual(again, *item) {
				t.Fatalf("%+v is %s as JSON, and back %+v, error %v", item, text, again, bad)
			}
			r := wire.NewReader(AppendChange(nil, &Change{Kind: PutItem, Item: item}))
			if c := ReadChange(r); r.Err() != nil || !reflect.DeepEqual(c.Item, item) {
				t.Fatalf("%+v comes back as %+v, error %v", item, c.Item, r.Err())
			}
		}
	})
}

func FuzzParseUsers(f *testing.F) {
	addScripts(f, "users")
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		p := ParseUsers(body, linesType(lines), Options{})
		checkRejected(t, body, p.Index, p.Rejected)
		for i := range p.Users {
			user := &p.Users[i]
			if bad := ValidateUser(user); bad != nil {
				t.Fatalf("accepted %+v, and then: %v", user, bad)
			}
			text, err := json.Marshal(user.JSON())
			if err != nil {
				t.Fatal(err)
			}
			again, bad := ParseUser(text, user.ID)
			if bad != nil || !reflect.DeepEqual(again, *user) {
				t.Fatalf("%+v is %s as JSON, and back %+v, error %v", user, text, again, bad)
			}
			r := wire.NewReader(AppendChange(nil, &Change{Kind: PutUser, User: user}))
			if c := ReadChange(r); r.Err() != nil || !reflect.DeepEqual(c.User, user) {
				t.Fatalf("%+v comes back as %+v, error %v", user, c.User, r.Err())
			}
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"1", "0.001", "1700000000", "1700000000.5", "1700000000123", "1.7e9", "1e11", "99999999999", "-1",
		"2023-11-14T22:13:20Z", "2023-11-14 22:13:20.123456789+05:30", "2023-11-14t22:13:20", "2199-12-31T23:59:59.999Z",
		"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "NaN", "", "2023-02-30T00:00:00Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseTime(s)
		if !ok {
			return
		}
		if got <= 0 || got >= farAhead {
			t.Fatalf("%q was accepted as %d", s, got)
		}
		if again, ok := ParseTime(got.String()); !ok || again != got {
			t.Fatalf("%q is %v, and then %v", s, got, again)
		}
	})
}

// A number is the id that exact arithmetic says it is.
func FuzzNumberID(f *testing.F) {
	for _, s := range []string{"0", "-0", "1", "1.0", "1e3", "10e-1", "0.001e3", "-7", "1.5", "1e-3", "1e400", "9007199254740993", "100.00E-2", "0e999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !json.Valid([]byte(s)) || !isNumber([]byte(s)) || len(s) > 40 {
			return
		}
		var want string
		if _, exponent, _ := strings.Cut(strings.ToLower(s), "e"); len(strings.Trim(exponent, "+-")) <= 3 {
			if r, ok := new(big.Rat).SetString(s); ok && r.IsInt() && len(r.Num().String()) <= MaxIDBytes {
				want = r.Num().String()
			}
		} else {
			return
		}
		got, ok := numberID([]byte(s), MaxIDBytes)
		if ok != (want != "") || got != want {
			t.Fatalf("%s is the id %q, %v, want %q", s, got, ok, want)
		}
	})
}
