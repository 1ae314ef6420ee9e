package serve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/serve/problem"
	"millrace/serve/servetest"
)

// routes are the paths of the OpenAPI document and some that are none; {} is
// where an id goes.
var routes = []string{
	"/", "/v1", "/v1/health", "/v1/stats", "/v1/checkpoints", "/v1/deadletters", "/v1/savepoints", "/v1/savepoints/{}", "/v1/savepoints/{}/restore", "/v1/restores", "/v1/restores/{}", "/v1/events", "/v1/items", "/v1/items/{}",
	"/v1/items/{}/neighbors", "/v1/recommendations:batch", "/v1/sessions/recommendations", "/v1/sources/{}", "/v1/trending", "/v1/cohorts/{}/preferences",
	"/v1/users", "/v1/users/{}", "/v1/users/{}/profile", "/v1/users/{}/recommendations", "/v1/users/{}/{}", "/metrics", "/openapi.json",
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"}

var queries = []string{
	"n", "offset", "category", "exclude", "explain", "recipe", "wait", "source", "position", "cursor", "cohort", "half_life", "x",
}

var values = []string{
	"", "0", "1", "-1", "1000", "1001", "NaN", "Inf", "1e9", "99999999999999999999", "seen", "none", "true", "durable", "applied",
	"1h", "Drama", "age:25-34", "%00", "%ff", "%zz", "a%2Fb", "..", "\x00", "é", "+", "&", "=", ";", "AAAAAAAAAAE",
}

var bodies = []string{
	"", " ", "{}", "[]", "[[]]", "null", "1", `"x"`, "{", "]", "\x00\xff", "\ufeff{}", `{"a":1,"a":2}`,
	`{"user_id":1,"item_id":6,"timestamp":1700000000}`, `[1,2,1700000000]`, `{"user_id":1,"item_id":6,"timestamp":-1,"value":1e999}`,
	`{"items":[1,"2"],"n":5}`, `{"items":null}`, `{"items":[{}],"n":-1}`, `{"user_ids":[1],"n":1}`, `{"user_ids":[],"offset":1e99}`,
	`{"name":"before"}`, `{"name":"A b"}`, `{"allow_non_restored_state":true}`, `{"title":"x","categories":["a"],"created":"2000-01-01"}`, `{"item_id":1,"title":7}`, `{"user_id":"u","age":1e3,"gender":"F"}`,
	"{\"item_id\":1}\n{\"item_id\":2}\n", "{\"user_id\":1}\n\n{\"user_id\":", `{"user_id":"\ud800"}`,
}

// request draws a request: sensible parts put together without sense.
func request(t *rapid.T) *http.Request {
	pick := func(label string, list []string) string {
		return rapid.OneOf(rapid.SampledFrom(list), rapid.SampledFrom(list), rapid.String()).Draw(t, label)
	}
	method := rapid.SampledFrom(methods).Draw(t, "method")
	path := rapid.SampledFrom(routes).Draw(t, "route")
	for strings.Contains(path, "{}") {
		path = strings.Replace(path, "{}", url.PathEscape(pick("id", values)), 1)
	}
	path += rapid.SampledFrom([]string{"", "", "", "", "/", "/..", "//", "/x"}).Draw(t, "tail")
	target := &url.URL{Path: path}
	if parsed, err := url.ParseRequestURI(path); err == nil {
		target = parsed
	}
	var query []string
	for range rapid.IntRange(0, 3).Draw(t, "parameters") {
		query = append(query, pick("name", queries)+rapid.SampledFrom([]string{"=", "=", "=", ""}).Draw(t, "equals")+pick("value", values))
	}
	target.RawQuery = strings.Join(query, "&")
	body := pick("body", bodies)
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", strings.NewReader(body))
	r.Method, r.URL, r.RequestURI = method, target, target.RequestURI()
	for _, name := range []string{"Content-Type", "Content-Encoding", "Accept", "Origin", "Authorization"} {
		v := rapid.SampledFrom([]string{"", "", "", "gzip", "application/json", "application/x-ndjson", "a+;b", "text/plain; q=x", "Basic x", "null"}).Draw(t, name)
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	if rapid.Bool().Draw(t, "chunked") {
		r.ContentLength = -1
	}
	return r
}

// answered demands that a request is answered, and not by a mistake of the
// server.
func answered(t interface{ Fatalf(string, ...any) }, h http.Handler, r *http.Request) {
	what := fmt.Sprintf("%s %s", r.Method, r.URL)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	switch {
	case w.Code >= 500:
		t.Fatalf("%s: %d %s", what, w.Code, w.Body)
	case w.Code >= 400 && w.Header().Get("Content-Type") != problem.ContentType:
		t.Fatalf("%s: %d is no problem: %s", what, w.Code, w.Body)
	case w.Code >= 300 && w.Code < 400:
		t.Fatalf("%s: redirected to %s", what, w.Header().Get("Location"))
	}
	if left, _ := io.Copy(io.Discard, r.Body); left != 0 && r.Method != http.MethodConnect {
		t.Fatalf("%s: %d bytes of the body were left, which breaks the connection", what, left)
	}
}

func TestGarbageIsNeverAMistakeOfTheServer(t *testing.T) {
	w := servetest.New()
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 5 {
			answered(t, s.Handler(), request(t))
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/users/1/recommendations?n=5", "", "")
	f.Add("POST", "/v1/events?wait=applied", "application/json", `{"user_id":1,"item_id":6,"timestamp":1700000000}`)
	f.Add("PUT", "/v1/items/%2e%2e", "", `{"title":"x"}`)
	f.Add("GET", "/v1/trending?half_life=1h&category=%zz", "", "")
	w := servetest.New()
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || strings.HasPrefix(u.Path, "/v1/stats/stream") {
			t.Skip("net/http lets no such request in, or the stream has no end")
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", strings.NewReader(body))
		r.Method, r.URL, r.RequestURI = method, u, target
		r.Header.Set("Content-Type", contentType)
		answered(t, s.Handler(), r)
	})
}
