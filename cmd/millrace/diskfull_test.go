package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/serve"
	"millrace/serve/api"
	statememory "millrace/state/memory"
)

// ask sends a request and gives the answer's status and body.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// served runs a server until ctx ends, and gives its address and what it ends
// with.
func served(ctx context.Context, t *testing.T, cfg config) (url string, done chan error) {
	t.Helper()
	address := make(chan string, 1)
	done = make(chan error, 1)
	go func() {
		done <- runServer(ctx, cfg, slog.New(slog.DiscardHandler), func(s *serve.Server) error {
			address <- "http://" + s.Addr()
			return nil
		})
	}()
	select {
	case url = <-address:
	case err := <-done:
		t.Fatal(err)
	}
	return url, done
}

// A full disk: events are refused, lists are answered, health says what is
// wrong, and nobody is told a path. When there is room again the server goes
// on by itself, and knows what was stored.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	cfg := defaultConfig()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	cfg.logFS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		// What is written reaches the disk before the sync fails, so that it
		// turns out to be stored.
		if full.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpCreate) {
			return &fs.PathError{Op: "sync", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	}))
	ctx, stop := context.WithCancel(t.Context())
	url, done := served(ctx, t, cfg)
	post := func(body, query string) (int, string) { return ask(t, http.MethodPost, url+"/v1/events"+query, body) }
	const one, two = `{"event_id":"1","user_id":"u","item_id":"i","timestamp":1700000000}`, `{"event_id":"2","user_id":"u","item_id":"j","timestamp":1700000001}`
	const imported = `{"user_id":"u","item_id":"k","timestamp":1700000002}`
	if status, body := post(one, ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}

	full.Store(true)
	for _, query := range []string{"", "?source=shop&position=1"} {
		status, body := post(two, query)
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "the disk is full") || strings.Contains(body, cfg.Data) || strings.Contains(body, ".log") {
			t.Errorf("an event on a full disk: %d %s", status, body)
		}
	}
	var health api.Health
	status, body := ask(t, http.MethodGet, url+"/v1/health", "")
	if err := json.Unmarshal([]byte(body), &health); err != nil || status != http.StatusServiceUnavailable || health.Status != "degraded" ||
		health.Components.Log.Status != "unavailable" || !strings.Contains(health.Reason, "the disk is full") || strings.Contains(body, cfg.Data) {
		t.Errorf("health on a full disk: %d %s", status, body)
	}
	if status, body := ask(t, http.MethodGet, url+"/v1/users/u/recommendations", ""); status != http.StatusOK {
		t.Errorf("recommendations on a full disk: %d %s", status, body)
	}
	if status, body := ask(t, http.MethodGet, url+"/metrics", ""); status != http.StatusOK || !strings.Contains(body, `millrace_unavailable{component="log"} 1`) {
		t.Errorf("metrics on a full disk: %d %.300s", status, body)
	}

	full.Store(false)
	for began := time.Now(); status != http.StatusOK; status, body = ask(t, http.MethodGet, url+"/v1/health", "") {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the server does not recover: %s", body)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if status, body := post(two, ""); status != http.StatusOK || !strings.Contains(body, `"duplicates":1`) {
		t.Errorf("an event that was stored although it was refused: %d %s", status, body)
	}
	for _, want := range []string{`"accepted":1`, `"duplicates":1`} { // the batch did not get as far as the disk
		if status, body := post(imported, "?source=shop&position=1&wait=applied"); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("a batch of an import: %d %s, want %s", status, body, want)
		}
	}
	if _, body := ask(t, http.MethodGet, url+"/v1/stats", ""); !strings.Contains(body, `"total":3,"duplicates":1,`) {
		t.Errorf("stats: %s", body)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
	result, err := verify(t.Context(), cfg.Data, 3, statememory.New())
	if err != nil || !result.Equal || result.Events != 3 || result.Duplicates != 1 {
		t.Errorf("verify: %+v, %v", result, err)
	}
}

func TestWhatClientsAreToldOfAnOutage(t *testing.T) {
	err := unavailable("storing checkpoints", &fs.PathError{Op: "write", Path: "/var/lib/millrace/state/7.sst", Err: syscall.ENOSPC})
	if !errors.Is(err, api.ErrUnavailable) || err.Error() != "unavailable: storing checkpoints does not work at present: the disk is full" {
		t.Errorf("%v", err)
	}
	err = unavailable("reading", errors.New("open /secret/catalog.db: no"))
	if err.Error() != "unavailable: reading does not work at present" {
		t.Errorf("%v", err)
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if got := unavailable("waiting", err); errors.Is(got, api.ErrUnavailable) || !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
