package forward_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/serve/forward"
)

// TestPassesRequestsOn: what the engine sees of a request, and what the client
// sees of its answer.
func TestPassesRequestsOn(t *testing.T) {
	var seen *http.Request
	var body string
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/health" {
			_, _ = io.WriteString(w, `{"status":"ok","blocks":17}`)
			return
		}
		b, _ := io.ReadAll(r.Body)
		seen, body = r.Clone(context.Background()), string(b)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "taken")
	}))
	defer engine.Close()
	e, err := forward.New(engine.URL, "the engine's key", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := httptest.NewRequest(http.MethodPost, "http://front.example/v1/events?wait=durable&source=a%2Fb", strings.NewReader("an event"))
	r.Header.Set("Authorization", "Bearer the client's")
	r.Header.Set("Origin", "http://front.example")
	r.Header.Set("Content-Type", "application/x-ndjson")
	w := httptest.NewRecorder()
	e.Handler(nil).ServeHTTP(w, r)
	if w.Code != http.StatusAccepted || w.Body.String() != "taken" {
		t.Errorf("answered with %d %s", w.Code, w.Body)
	}
	if seen.URL.String() != "/v1/events?wait=durable&source=a%2Fb" || body != "an event" || seen.Host != strings.TrimPrefix(engine.URL, "http://") {
		t.Errorf("the engine got %s %s with %q", seen.Host, seen.URL, body)
	}
	h := seen.Header
	if h.Get("X-API-Key") != "the engine's key" || h.Get("Authorization") != "" || h.Get("Origin") != "" || h.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the engine got the headers %v", h)
	}
	if n, err := e.Blocks(t.Context()); n != 17 || err != nil {
		t.Errorf("blocks %d, %v", n, err)
	}
}

// TestWaits: a good answer is held back until it shows here, a bad one is not.
func TestWaits(t *testing.T) {
	status := http.StatusOK
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer engine.Close()
	e, err := forward.New(engine.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, c := range []struct {
		engine, want int
		err          error
	}{
		{http.StatusOK, http.StatusOK, nil},
		{http.StatusOK, http.StatusServiceUnavailable, errors.New("not yet")},
		{http.StatusTooManyRequests, http.StatusTooManyRequests, errors.New("nobody asks")},
	} {
		status = c.engine
		w := httptest.NewRecorder()
		e.Handler(func(context.Context) error { return c.err }).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/events", nil))
		if w.Code != c.want || c.want == http.StatusServiceUnavailable && (!strings.Contains(w.Body.String(), "not yet") || w.Header().Get("Retry-After") == "") {
			t.Errorf("%d with %v: %d %s", c.engine, c.err, w.Code, w.Body)
		}
	}
}

// TestNobodyThere: an engine that is away is a problem in words, and is found
// again.
func TestNobodyThere(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	address := strings.TrimPrefix(engine.URL, "http://")
	engine.Close()
	e, err := forward.New("http://"+address, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	w := httptest.NewRecorder()
	e.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/events", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "the engine does not answer") || strings.Contains(w.Body.String(), address) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for began := time.Now(); e.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("nobody notices that the engine is away")
		}
	}
	if !errors.Is(e.Err(), forward.ErrEngine) {
		t.Error(e.Err())
	}
}
