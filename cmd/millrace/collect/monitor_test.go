package collect

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/event"
	"millrace/source/line"
)

// TestMonitor: health is bad while the server is waited for and says why, and
// metrics count lines by what became of them.
func TestMonitor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("user_id=ann item_id=tent event_type=view timestamp=1760000000\nuser_id=ann\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reserved, err := net.Listen("tcp", "127.0.0.1:0") // an address where nobody answers yet
	if err != nil {
		t.Fatal(err)
	}
	address := reserved.Addr().String()
	if err := reserved.Close(); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	remote, err := NewRemote("http://"+address, "", logger)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	config := Default()
	config.PollInterval = 10 * time.Millisecond
	config.Files = []Files{{Paths: []string{path}, Config: line.Config{Form: "keyvalue"}}}
	if err := config.Validate(event.DefaultTypes()); err != nil {
		t.Fatal(err)
	}
	c, err := New(config, event.DefaultTypes(), remote, logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, false) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	own := filepath.Join(t.TempDir(), "none")
	if _, err := c.monitor(own, logger); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("an address that is none: %v", err)
	}
	handler, err := c.handler()
	if err != nil {
		t.Fatal(err)
	}
	asked := httptest.NewServer(handler)
	defer asked.Close()
	await(t, asked.URL+"/v1/health", http.StatusServiceUnavailable, `"status":"waiting"`, address)

	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound) // no position is known
		}
		_, _ = io.WriteString(w, "{}")
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	await(t, asked.URL+"/v1/health", http.StatusOK, `"status":"ok"`)
	await(t, asked.URL+"/metrics", http.StatusOK, `millrace_collect_lines_total{outcome="event"} 1`, `millrace_collect_lines_total{outcome="bad"} 1`,
		"millrace_collect_files 1", "millrace_collect_behind_bytes 0")
}

// await waits until an address answers as it should.
func await(t *testing.T, url string, status int, parts ...string) {
	t.Helper()
	var last string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		last = answer.Status + "\n" + string(body)
		right := answer.StatusCode == status
		for _, p := range parts {
			right = right && strings.Contains(last, p)
		}
		if right {
			return
		}
	}
	t.Fatalf("%s answers %s\nwant %d with %q", url, last, status, parts)
}
