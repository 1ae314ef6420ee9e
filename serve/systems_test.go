package serve_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/serve"
	"millrace/serve/api"
	"millrace/serve/servetest"
)

// A system of others that does not work is named, and degrades health: lists
// are answered, so that it stays a 200.
func TestHealthNamesSystems(t *testing.T) {
	var broken error
	parts := servetest.New().Parts()
	parts.Systems = []api.System{
		{Name: "kafka", Err: func() error { return broken }},
		{Name: "other", Err: func() error { return nil }},
	}
	s, err := serve.New(serve.Options{Parts: parts, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		err                    error
		status, reason, metric string
	}{
		{nil, "ok", "", `millrace_unavailable{component="kafka"} 0`},
		{errors.New("nobody listens"), "degraded", "nobody listens", `millrace_unavailable{component="kafka"} 1`},
	} {
		broken = c.err
		code, body := get("/v1/health")
		var health api.Health
		if err := json.Unmarshal([]byte(body), &health); err != nil {
			t.Fatal(err)
		}
		system := health.Components.Systems["kafka"]
		if code != http.StatusOK || health.Status != c.status || health.Reason != c.reason || system.Reason != c.reason ||
			health.Components.Systems["other"].Status != "ok" {
			t.Errorf("%d %s, want %s", code, body, c.status)
		}
		if _, text := get("/metrics"); !strings.Contains(text, c.metric) {
			t.Errorf("%s is not among the metrics", c.metric)
		}
	}
}
