package problem

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"millrace/event"
)

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name string
		p    *Problem
		want string
	}{
		{"status", New(404, "no %s", "route"),
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"no route"}`},
		{"field", BadField("n", "a number", "x\x00"),
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"n: expected a number, got x\\u0000",` +
				`"errors":[{"field":"n","expected":"a number","got":"x\\u0000"}]}`},
		{"events", BadFields(FromEvents([]event.FieldError{{Index: 0, Expected: "JSON", Got: "{"}, {Index: 7, Field: "value", Expected: "a number", Got: "x"}})...),
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"expected JSON, got { (and 1 more)",` +
				`"errors":[{"index":0,"field":"","expected":"JSON","got":"{"},{"index":7,"field":"value","expected":"a number","got":"x"}]}`},
		{"nothing known", BadFields(),
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"the request is not as expected"}`},
	} {
		w := httptest.NewRecorder()
		c.p.Write(w)
		if got := strings.TrimSpace(w.Body.String()); got != c.want || w.Code != c.p.Status || w.Header().Get("Content-Type") != ContentType {
			t.Errorf("%s: %d %s\n%s\nwant\n%s", c.name, w.Code, w.Header(), got, c.want)
		}
		if !json.Valid(w.Body.Bytes()) || c.p.Error() == "" {
			t.Errorf("%s: not JSON, or no error text", c.name)
		}
	}
}

func TestRetryAfterIsWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", time.Second: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		w := httptest.NewRecorder()
		New(429, "later").RetryAfter(d).Write(w)
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%v: Retry-After %q, want %q", d, got, want)
		}
	}
}

// Whatever a client sends, what is told of it is short, printable UTF-8.
func TestExcerptIsShortAndPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "text") {
			in = rapid.String().Draw(t, "string")
		}
		got := Excerpt(in)
		if got == "" || !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxExcerpt+20 || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("excerpt of %q: %q", in, got)
		}
	})
	if got := Excerpt("plain"); got != "plain" {
		t.Errorf("plain text is told as %q", got)
	}
}
