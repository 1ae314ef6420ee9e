package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/serve/api"
	"millrace/serve/servetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { http.DefaultClient.CloseIdleConnections() }))
}

func TestListen(t *testing.T) {
	for _, c := range []struct {
		address string
		keys    []string
		want    error
	}{
		{"127.0.0.1:0", nil, nil},
		{"0.0.0.0:0", nil, ErrNeedsKey},
		{":0", nil, ErrNeedsKey},
		{"0.0.0.0:0", []string{"a-good-key"}, nil},
		{"0.0.0.0:0", []string{""}, ErrKey},
		{"nonsense", nil, ErrAddress},
		{"127.0.0.1:99999", nil, ErrAddress},
	} {
		w := servetest.New()
		s, err := New(Options{Parts: w.Parts(), Listen: c.address, Keys: c.keys})
		if err == nil {
			if err = s.Listen(); err == nil {
				if _, _, e := net.SplitHostPort(s.Addr()); e != nil {
					t.Errorf("%s: address %q", c.address, s.Addr())
				}
				err = s.listener.Close()
			}
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s with keys %q: %v, want %v", c.address, c.keys, err, c.want)
		}
	}
	first := running(t, Options{Parts: servetest.New().Parts()})
	second, err := New(Options{Parts: servetest.New().Parts(), Listen: first.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Serve(); !errors.Is(err, ErrListen) {
		t.Errorf("an address that is taken: %v, want ErrListen", err)
	}
}

// From the moment that the address is taken somebody answers: first that the
// server is starting, then, over the same connections, the server.
func TestStarting(t *testing.T) {
	w := servetest.New()
	o := Options{Listen: "127.0.0.1:0", Keys: []string{"a-good-key"}, Parts: api.Parts{Version: "test"}}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr()
	r, err := http.Get(url + "/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	var health api.Health
	err = json.NewDecoder(r.Body).Decode(&health)
	r.Body.Close()
	if err != nil || r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") != "1" ||
		health.Status != "starting" || health.Reason == "" || health.Version != "test" || health.Components.Log.Status != "unavailable" {
		t.Errorf("health: %d %v %+v, %v", r.StatusCode, r.Header, health, err)
	}
	r, err = http.Post(url+"/v1/events", "application/json", strings.NewReader(strings.Repeat(goodEvent, 100_000)))
	if err == nil && r.Header.Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	expectProblem(t, r, err, http.StatusServiceUnavailable, "the server is starting")

	o.Parts, o.Listener = w.Parts(), l
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil || s.Addr() != l.Addr() {
		t.Fatalf("%v, address %s, want %s", err, s.Addr(), l.Addr())
	}
	r, err = http.Get(url + "/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("health of the server: %d", r.StatusCode)
	}
	r, err = http.Get(url + "/v1/stats")
	expectProblem(t, r, err, http.StatusUnauthorized, "an API key is needed")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(); err != nil {
		t.Errorf("serve after a shutdown: %v", err)
	}
}

// A shutdown lets requests that are under way finish, ends streams at once,
// and takes no more.
func TestShutdown(t *testing.T) {
	w := servetest.New()
	w.Stuck = make(chan struct{})
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	url := "http://" + s.Addr()

	stream, err := http.Get(url + "/v1/stats/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "data: {") {
		t.Fatalf("first line of the stream: %q", lines.Text())
	}
	var stats api.Stats
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &stats); err != nil || stats.Shards != 2 {
		t.Errorf("stats %+v, error %v", stats, err)
	}

	answered := make(chan int, 1)
	go func() {
		r, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(goodEvent))
		if err != nil {
			answered <- 0
			return
		}
		r.Body.Close()
		answered <- r.StatusCode
	}()
	<-w.Held // the event waits for the log
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	for lines.Scan() { // until the stream has ended
	}
	select {
	case err := <-down:
		t.Errorf("shut down before the event was answered: %v", err)
	default:
	}
	close(w.Stuck)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the event that was under way is answered with %d", status)
	}
	if err := <-down; err != nil {
		t.Errorf("shut down: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("it still listens")
		c.Close()
	}
}

// A client that asks for the stream's headers does not wait for its end.
func TestStreamHasHeaders(t *testing.T) {
	s := running(t, Options{Parts: servetest.New().Parts()})
	r, err := http.Head("http://" + s.Addr() + "/v1/stats/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if kind := r.Header.Get("Content-Type"); r.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Errorf("status %d, content type %q", r.StatusCode, kind)
	}
}

// A shutdown that may not wait cuts off.
func TestShutdownInAHurry(t *testing.T) {
	w := servetest.New()
	w.Stuck = make(chan struct{})
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	url := "http://" + s.Addr()
	cut := make(chan error, 1)
	go func() {
		r, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(goodEvent))
		if err == nil {
			r.Body.Close()
		}
		cut <- err
	}()
	<-w.Held
	hurry, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(hurry); !errors.Is(err, context.Canceled) {
		t.Errorf("shut down: %v, want context.Canceled", err)
	}
	if err := <-cut; err == nil {
		t.Error("an event that was never durable is acknowledged")
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// logs takes what is logged.
type logs struct {
	mutex sync.Mutex
	b     bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.b.String()
}

// A handler that panics is a mistake: it is logged with its stack, and the
// client gets an answer and keeps its connection.
func TestPanics(t *testing.T) {
	w, log := servetest.New(), &logs{}
	w.RankPanic = true
	s := running(t, Options{
		Parts: w.Parts(), Logger: slog.New(slog.NewTextHandler(log, nil)),
		Dashboard: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
			panic("in the middle")
		}),
	})
	r, err := http.Get("http://" + s.Addr() + "/v1/users/1/recommendations")
	expectProblem(t, r, err, http.StatusInternalServerError, "should not have happened")
	if text := log.String(); !strings.Contains(text, "ranking") || !strings.Contains(text, "Recommend") {
		t.Errorf("logged: %s", text)
	}
	// An answer that has begun can only be broken off, so that nobody takes it
	// for whole.
	r, err = http.Get("http://" + s.Addr() + "/")
	if err == nil {
		_, err = io.ReadAll(r.Body)
		r.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks like a whole one")
	}
}

func TestDashboardIsMounted(t *testing.T) {
	w := servetest.New()
	s := running(t, Options{
		Parts: w.Parts(), Keys: []string{"a-good-key"},
		Dashboard: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }),
	})
	for _, c := range []struct {
		path, key string
		status    int
	}{
		{"/", "a-good-key", 200},
		{"/dashboard/app.js", "a-good-key", 200},
		{"/app.js", "a-good-key", 404},
		{"/", "", 401},
		{"/dashboard/app.js", "", 401},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+s.Addr()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			r.SetBasicAuth("anybody", c.key)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Errorf("%s with key %q: %d, want %d", c.path, c.key, answer.StatusCode, c.status)
		}
	}
}

// What became visible is in the stats.
func TestObserve(t *testing.T) {
	w := servetest.New()
	parts := w.Parts()
	var seconds atomic.Int64
	parts.Now = func() time.Time { return servetest.Now.Add(time.Duration(seconds.Load()) * time.Second) }
	s := running(t, Options{Parts: parts})
	s.Observe(600, time.Millisecond, 5*time.Millisecond)
	seconds.Store(1)
	stats := statsOf(t, s)
	if stats.Events.PerSecond1 != 600 || stats.Events.PerSecond60 != 600 || stats.Latency.P99 < 4.9 || stats.Latency.P99 > 5.1 || stats.UptimeS != 1 {
		t.Errorf("%+v", stats)
	}
	s.ForgetRecent()
	if stats := statsOf(t, s); stats.Events.PerSecond60 != 0 || stats.Latency.Max != 0 || stats.UptimeS != 1 {
		t.Errorf("after forgetting: %+v", stats)
	}
}

func statsOf(t *testing.T, s *Server) (stats api.Stats) {
	t.Helper()
	r, err := http.Get("http://" + s.Addr() + "/v1/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats
}

// awaitStarting waits until an address answers that the server is starting.
func awaitStarting(t *testing.T, name, url string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		r, err := http.Get(url + "/v1/stats")
		if err == nil && r.StatusCode == http.StatusServiceUnavailable {
			expectProblem(t, r, err, 503, "the server is starting")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
			return
		}
		if err == nil {
			r.Body.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// A server that is suspended finishes what is under way, ends streams, and
// leaves its address to the next one; meanwhile it is starting.
func TestSuspend(t *testing.T) {
	o := Options{Listen: "127.0.0.1:0"}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.Listener = l
	url := "http://" + l.Addr()
	post := func(answer chan<- int) {
		r, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(goodEvent))
		if err != nil {
			answer <- 0
			return
		}
		r.Body.Close()
		answer <- r.StatusCode
	}
	for _, c := range []struct {
		name string
		ctx  func() context.Context
		want int // the status of the event that is under way
		err  error
	}{
		{"in good order", t.Context, 200, nil},
		{"in a hurry", func() context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}, 0, context.Canceled},
		{"in good order again", t.Context, 200, nil},
	} {
		w := servetest.New()
		w.Stuck = make(chan struct{})
		o.Parts = w.Parts()
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(); err != nil || s.Addr() != l.Addr() {
			t.Fatalf("%s: %v", c.name, err)
		}
		served, event := make(chan error, 1), make(chan int, 1)
		go func() { served <- s.Serve() }()
		stream, err := http.Get(url + "/v1/stats/stream")
		if err != nil || stream.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", c.name, err)
		}
		go post(event)
		<-w.Held
		suspended := make(chan error, 1)
		go func() { suspended <- s.Suspend(c.ctx()) }()
		io.Copy(io.Discard, stream.Body) // it ends
		stream.Body.Close()
		awaitStarting(t, c.name, url)
		if c.want == 200 {
			close(w.Stuck)
		}
		if got := <-event; got != c.want {
			t.Errorf("%s: the event under way is answered with %d, want %d", c.name, got, c.want)
		}
		if err := <-suspended; !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := <-served; err != nil {
			t.Errorf("%s: serve: %v", c.name, err)
		}
	}
}
