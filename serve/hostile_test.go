package serve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"millrace/serve/api"
	"millrace/serve/problem"
	"millrace/serve/servetest"
	"millrace/serve/strict"
)

// running starts a server on a free port and stops it with the test.
func running(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// expectProblem demands a problem with a status and a detail that says what
// was expected.
func expectProblem(t *testing.T, r *http.Response, err error, status int, says string) {
	t.Helper()
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	var p problem.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("status %d, not a problem: %.200s", r.StatusCode, body)
	}
	if kind := r.Header.Get("Content-Type"); kind != problem.ContentType {
		t.Errorf("content type %q, want %q", kind, problem.ContentType)
	}
	if r.StatusCode != status || p.Status != status || p.Title == "" || !strings.Contains(p.Detail, says) {
		t.Errorf("status %d: %.300s\nwant %d and %q", r.StatusCode, body, status, says)
	}
}

// endless is a body of spaces that never ends, as far as anybody reads.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.left))
	for i := range p[:n] {
		p[i] = ' '
	}
	e.left -= int64(n)
	return n, nil
}

func zipped(t *testing.T, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const goodEvent = `{"user_id":1,"item_id":6,"timestamp":1700000000}`

// Bodies that are too large are answered, however they come, to clients that
// send all before they read; and the connection goes on.
func TestLargeBodies(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	url := "http://" + s.Addr()
	const large = 64 << 20
	for _, c := range []struct {
		name, method, path string
		body               io.Reader
		length             int64 // -1: chunked
		encoding           string
	}{
		{"announced", "POST", "/v1/events", &endless{large}, large, ""},
		{"chunked", "POST", "/v1/events", &endless{large}, -1, ""},
		{"one byte too many", "POST", "/v1/events", &endless{16<<20 + 1}, -1, ""},
		{"gzip bomb", "POST", "/v1/events", bytes.NewReader(zipped(t, &endless{large})), -1, "gzip"},
		{"items", "POST", "/v1/items", &endless{large}, -1, ""},
		{"users", "POST", "/v1/users", &endless{large}, -1, ""},
		{"item", "PUT", "/v1/items/6", &endless{large}, large, ""},
		{"user", "PUT", "/v1/users/6", &endless{large}, -1, ""},
		{"session", "POST", "/v1/sessions/recommendations", &endless{large}, -1, ""},
		{"batch", "POST", "/v1/recommendations:batch", &endless{large}, -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest(c.method, url+c.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = c.length
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			answer, err := http.DefaultClient.Do(r)
			expectProblem(t, answer, err, http.StatusRequestEntityTooLarge, "expected at most 16777216")
		})
	}
	// Bodies on routes that have none, and routes that are none, are no reason
	// to drop the connection either.
	for path, status := range map[string]int{"/v1/nothing": http.StatusNotFound, "/v1/health": http.StatusMethodNotAllowed} {
		answer, err := http.Post(url+path, "application/json", &endless{large})
		expectProblem(t, answer, err, status, "")
	}
}

// Garbage of 64 MiB, many times, takes no memory that stays.
func TestLargeBodiesTakeNoMemory(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	post := func() {
		answer, err := http.Post("http://"+s.Addr()+"/v1/events", "application/json", &endless{64 << 20})
		expectProblem(t, answer, err, http.StatusRequestEntityTooLarge, "at most")
	}
	post()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 5 {
		post()
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}

// Together, bodies can not take more memory than they are given: the ones for
// which there is no room are told to come back.
func TestBodiesInFlightAreBounded(t *testing.T) {
	w := servetest.New()
	parts := w.Parts()
	parts.MaxBodyBytes, parts.MaxBodiesBytes = 1<<20, 3<<19
	s := running(t, Options{Parts: parts})
	url := "http://" + s.Addr()
	// One request has sent 300 kB, which takes a buffer of a megabyte.
	held, release := io.Pipe()
	first := make(chan error, 1)
	go func() {
		r, err := http.Post(url+"/v1/events", "application/json", held)
		if err == nil {
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", r.StatusCode)
			}
		}
		first <- err
	}()
	if _, err := release.Write([]byte(strings.Repeat(" ", 300<<10))); err != nil {
		t.Fatal(err)
	}
	for inFlight(t, url) <= 1<<20 { // until they have arrived
		select {
		case err := <-first:
			t.Fatalf("the request that has room ended: %v", err)
		default:
			runtime.Gosched()
		}
	}
	// The other needs more than is left.
	answer, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(strings.Repeat(" ", 900<<10)+goodEvent))
	if err == nil && answer.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	expectProblem(t, answer, err, http.StatusTooManyRequests, "in flight")
	if _, err := io.WriteString(release, goodEvent); err != nil {
		t.Fatal(err)
	}
	release.Close()
	if err := <-first; err != nil {
		t.Errorf("the request that had room: %v", err)
	}
}

// inFlight is the memory that bodies hold, as the stats tell it.
func inFlight(t *testing.T, url string) int64 {
	t.Helper()
	r, err := http.Get(url + "/v1/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var stats api.Stats
	if err := json.NewDecoder(r.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats.Queue.BodyBytes
}

// raw sends bytes as they are and gives the first answer.
func raw(t *testing.T, address, request string) (*http.Response, error) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	return http.ReadResponse(bufio.NewReader(c), nil)
}

func TestBrokenBodies(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	head := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
	zip := string(zipped(t, strings.NewReader(goodEvent)))
	for _, c := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"shorter than announced", head + "Content-Length: 100\r\n\r\n" + goodEvent, 400, "unexpected EOF"},
		{"broken chunk", head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "invalid byte in chunk length"},
		{"not gzip", head + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 400, "can not be read"},
		{"empty gzip", head + "Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 400, "expected an event"},
		{"cut gzip", head + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(zip)-4, zip[:len(zip)-4]), 400, "can not be read"},
		{"damaged gzip", head + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s\x00\x00\x00\x00%s", len(zip), zip[:len(zip)-8], zip[len(zip)-4:]), 400, "can not be read"},
		{"brotli", head + "Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", 415, "expected gzip or none"},
		{"two encodings", head + "Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n\r\nx", 415, "expected gzip or none"},
		{"waits to be asked", head + "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 413, "expected at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := raw(t, s.Addr(), c.request)
			expectProblem(t, r, err, c.status, c.says)
		})
	}
	// Not over raw, which half-closes the connection: a client that has gone.
	good, err := http.NewRequest(http.MethodPost, "http://"+s.Addr()+"/v1/events", strings.NewReader(zip))
	if err != nil {
		t.Fatal(err)
	}
	good.Header.Set("Content-Encoding", "GZIP")
	r, err := http.DefaultClient.Do(good)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("good gzip: status %d", r.StatusCode)
	}
}

// A client that keeps its connection open and sends no body has its answer at
// once, where that needs no body.
func TestAnswersBeforeTheBody(t *testing.T) {
	s := running(t, Options{Parts: servetest.New().Parts()})
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"too large, waits to be asked", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 413},
		{"no route, waits to be asked", "POST /v1/nosuch HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 404},
		{"far too large", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n[]", 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if r.StatusCode != c.status {
				t.Errorf("status %d, want %d", r.StatusCode, c.status)
			}
		})
	}
}

// Every element of these lists is refused on its own, with a word about what
// was expected.
func TestBadEvents(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct{ name, body, field, says string }{
		{"year 1", `{"user_id":1,"item_id":6,"timestamp":"0001-01-01T00:00:00Z"}`, "timestamp", "after 1970"},
		{"far future", `{"user_id":1,"item_id":6,"timestamp":"2199-01-01T00:00:00Z"}`, "timestamp", "5 minutes ahead"},
		{"six minutes ahead", `{"user_id":1,"item_id":6,"timestamp":"2024-03-01T12:06:00Z"}`, "timestamp", "5 minutes ahead"},
		{"NaN", `{"user_id":1,"item_id":6,"timestamp":1700000000,"value":NaN}`, "", "valid JSON"},
		{"overflow", `{"user_id":1,"item_id":6,"timestamp":1700000000,"value":1e999}`, "value", "finite number"},
		{"long user", `{"user_id":"` + long + `","item_id":6,"timestamp":1700000000}`, "user_id", "1 to 256 bytes"},
		{"long item", `{"user_id":1,"item_id":"` + long + `","timestamp":1700000000}`, "item_id", "1 to 256 bytes"},
		{"long event id", `{"event_id":"` + long + `","user_id":1,"item_id":6,"timestamp":1700000000}`, "event_id", "1 to 256 bytes"},
		{"empty id", `{"user_id":"","item_id":6,"timestamp":1700000000}`, "user_id", "1 to 256 bytes"},
		{"control character", `{"user_id":"a\u0000b","item_id":6,"timestamp":1700000000}`, "user_id", "control characters"},
		{"list as id", `{"user_id":[1],"item_id":6,"timestamp":1700000000}`, "user_id", "a string or a whole number"},
		{"unknown type", `{"user_id":1,"item_id":6,"timestamp":1700000000,"event_type":"teleport"}`, "event_type", "one of"},
		{"number as type", `{"user_id":1,"item_id":6,"timestamp":1700000000,"event_type":1}`, "event_type", "one of"},
		{"metadata", `{"user_id":1,"item_id":6,"timestamp":1700000000,"metadata":[]}`, "metadata", "JSON object"},
		{"a number", `17`, "", "an event"},
		{"null", `null`, "", "an event"},
		{"deep", strings.Repeat("[", 100_000), "", "expected"},
		{"binary", "\x00\xff\xfe", "", "valid JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := http.Post("http://"+s.Addr()+"/v1/events", "application/json", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			var p problem.Problem
			if err := json.Unmarshal(body, &p); err != nil || answer.StatusCode != http.StatusBadRequest || len(p.Errors) == 0 {
				t.Fatalf("status %d: %.300s", answer.StatusCode, body)
			}
			e := p.Errors[0]
			if e.Field != c.field || !strings.Contains("expected "+e.Expected, c.says) || e.Index == nil || *e.Index != 0 || len(e.Got) > 500 {
				t.Errorf("%.300s\nwant field %q and %q", body, c.field, c.says)
			}
			if len(body) > 4<<10 {
				t.Errorf("an answer of %d bytes", len(body))
			}
		})
	}
	if n := len(w.Letters()); n == 0 {
		t.Error("no dead letters")
	}
}

func TestLongPathsAndQueries(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		path string
		says string
	}{
		{"/v1/items/" + long, "1 to 256 bytes"},
		{"/v1/users/" + long + "/recommendations", "1 to 256 bytes"},
		{"/v1/users/" + long + "/profile", "1 to 256 bytes"},
		{"/v1/sources/" + long, "1 to 256 bytes"},
		{"/v1/users/1/recommendations?category=" + long, "1 to 256 bytes"},
		{"/v1/users/1/recommendations?" + long + "=1", "a known parameter"},
		{"/v1/users/1/recommendations?" + strings.Repeat("a=1&", 20_000), "a known parameter"},
		{"/v1/deadletters?cursor=" + long, "cursor"},
	} {
		r, err := http.Get("http://" + s.Addr() + c.path)
		expectProblem(t, r, err, http.StatusBadRequest, c.says)
	}
}

// A log that does not get on holds a request up only as long as its client
// waits.
func TestClientThatGivesUp(t *testing.T) {
	w := servetest.New()
	w.Stuck = make(chan struct{})
	defer close(w.Stuck)
	s := running(t, Options{Parts: w.Parts()})
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		<-w.Held // the event waits for the log
		giveUp()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr()+"/v1/events", strings.NewReader(goodEvent))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := http.DefaultClient.Do(r); err == nil {
		t.Errorf("an answer %d before the event was durable", answer.StatusCode)
		answer.Body.Close()
	}
	if len(w.Events()) != 0 {
		t.Error("the event was stored")
	}
}

// A client that waits for ever is told to come back.
func TestLogThatDoesNotGetOn(t *testing.T) {
	w := servetest.New()
	w.Stuck = make(chan struct{})
	defer close(w.Stuck)
	parts := w.Parts()
	parts.MaxWait = time.Millisecond
	s := running(t, Options{Parts: parts})
	r, err := http.Post("http://"+s.Addr()+"/v1/events", "application/json", strings.NewReader(goodEvent))
	expectProblem(t, r, err, http.StatusServiceUnavailable, "store events")
}

func TestTooManyBatchRows(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{Parts: w.Parts()})
	ids := strings.TrimSuffix(strings.Repeat("1,", strict.MaxIDs), ",")
	for _, c := range []struct{ path, body, says string }{
		{"/v1/recommendations:batch", `{"user_ids":[` + ids + `],"n":1000}`, "100000"},
		{"/v1/recommendations:batch", `{"user_ids":[1,` + ids + `]}`, "at most 1000 ids, got more"},
		{"/v1/sessions/recommendations", `{"items":[1,` + ids + `]}`, "at most 1000 ids, got more"},
	} {
		r, err := http.Post("http://"+s.Addr()+c.path, "application/json", strings.NewReader(c.body))
		expectProblem(t, r, err, http.StatusBadRequest, c.says)
	}
}
