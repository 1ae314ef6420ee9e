package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/millrace/checkpoints"
	"millrace/engine/checkpoint"
	"millrace/serve/api"
	"millrace/state"
)

// flaky is a state backend that can be made to fail or to be slow.
type flaky struct {
	state.Backend
	full atomic.Bool
	slow atomic.Int64 // nanoseconds
}

func (f *flaky) Commit(c *state.Checkpoint) (int64, error) {
	time.Sleep(time.Duration(f.slow.Load()))
	if f.full.Load() {
		return 0, &os.PathError{Op: "write", Path: "/secret/state/7.sst", Err: syscall.ENOSPC}
	}
	return f.Backend.Commit(c)
}

// flakyConfig is a server's in a new directory, with a backend that can fail.
func flakyConfig(t *testing.T) (config, *flaky) {
	cfg, f := testConfig(filepath.Join(t.TempDir(), "data")), &flaky{}
	cfg.wrapState = func(b state.Backend) state.Backend {
		f.Backend = b
		return f
	}
	return cfg, f
}

func post(t *testing.T, s *testServer, n int) {
	t.Helper()
	if code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(n)); code != http.StatusOK {
		t.Fatalf("%d %.300s", code, body)
	}
}

func get[T any](t *testing.T, url string) (answer T) {
	t.Helper()
	code, body := ask(t, "GET", url, "")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusOK {
		t.Fatalf("%s: %d %.300s, %v", url, code, body, err)
	}
	return answer
}

// By default a server goes on whatever checkpoints do, says so, and has lost
// nothing when they work again.
func TestCheckpointsThatFailAreTolerated(t *testing.T) {
	cfg, f := flakyConfig(t)
	s := started(t, cfg)
	post(t, s, 5)
	f.full.Store(true)
	post(t, s, 7)
	var health api.Health
	await(t, "health says so", func() bool {
		health = get[api.Health](t, s.url+"/v1/health")
		return health.Components.Checkpoints.Status != "ok"
	})
	if health.Status != "degraded" || health.Reason != "storing checkpoints does not work at present: the disk is full" {
		t.Errorf("health: %+v", health)
	}
	await(t, "the third try", func() bool {
		p := get[api.CheckpointsBody](t, s.url+"/v1/checkpoints").InProgress
		return p != nil && p.Failures >= 3
	})
	post(t, s, 9)
	code, body := ask(t, "GET", s.url+"/v1/checkpoints", "")
	c := get[api.CheckpointsBody](t, s.url+"/v1/checkpoints")
	if last := c.LastFailure; code != http.StatusOK || strings.Contains(body, "secret") || last == nil || last.Failure != "storage" ||
		last.Reason != "storing checkpoints does not work at present: the disk is full" || c.Summary.Failed < 3 || c.Advice[0].Code != "failing" || c.Advice[0].Level != "critical" ||
		len(c.Recommendations) != len(c.Advice) || c.Policy.ToleratedFailures != -1 || c.InProgress.Phase != "storing" || c.Policy.IntervalMs != 100 {
		t.Errorf("%s", body)
	}
	f.full.Store(false)
	await(t, "checkpoints are well again", func() bool {
		return get[api.Health](t, s.url+"/v1/health").Status == "ok"
	})
	_, metrics := ask(t, "GET", s.url+"/metrics", "")
	for _, want := range []string{"# TYPE millrace_checkpoints_failed_total counter", "\nmillrace_checkpoint_age_seconds ", "\nmillrace_checkpoints_completed_total "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	s.stop()
	if v := must[verifyResult](t, "verify", "--data", cfg.Data); !v.Equal || v.Events != 21 {
		t.Errorf("%+v", v)
	}
}

// A server whose checkpoints fail more often than is tolerated stops, and says
// why; the next one has everything.
func TestCheckpointsThatFailTooOften(t *testing.T) {
	cfg, f := flakyConfig(t)
	cfg.CheckpointToleratedFailures = 1
	url, done := served(t.Context(), t, cfg)
	s := &testServer{url: url}
	post(t, s, 5)
	f.full.Store(true)
	post(t, s, 7)
	select {
	case err := <-done:
		if !errors.Is(err, checkpoint.ErrTooManyFailures) || message(err) != "the engine has stopped: too many checkpoints failed: 2 in a row, 1 are tolerated: "+
			"write /secret/state/7.sst: no space left on device" {
			t.Errorf("it stops with %q", message(err))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	f.full.Store(false)
	if v := must[verifyResult](t, "verify", "--data", cfg.Data); !v.Equal || v.Events != 12 {
		t.Errorf("%+v", v)
	}
	offline := must[checkpoints.Offline](t, "checkpoints", "--data", cfg.Data)
	if l := offline.LastFailure; l == nil || l.Failure != "storage" || !strings.Contains(l.Reason, "the log of that server") {
		t.Errorf("the history of a server that has stopped: %+v", offline)
	}
}

// A checkpoint that takes longer than it may counts while it hangs.
func TestCheckpointTimeout(t *testing.T) {
	cfg, f := flakyConfig(t)
	cfg.CheckpointTimeout = 200 * time.Millisecond
	s := started(t, cfg)
	await(t, "the configuration is stored", func() bool { return get[api.CheckpointsBody](t, s.url+"/v1/checkpoints").Summary.Completed > 0 })
	f.slow.Store(int64(2 * time.Second))
	post(t, s, 5)
	await(t, "health says so", func() bool {
		return get[api.Health](t, s.url+"/v1/health").Components.Checkpoints.Reason == "storing checkpoints takes longer than checkpoint_timeout"
	})
	if c := get[api.CheckpointsBody](t, s.url+"/v1/checkpoints"); c.InProgress == nil || c.LastFailure == nil || c.LastFailure.Failure != "timeout" ||
		c.LastFailure.Reason != "it took longer than checkpoint_timeout, which is 200ms" || c.Policy.TimeoutMs != 200 {
		t.Errorf("%+v", c)
	}
	f.slow.Store(0)
	post(t, s, 5)
	await(t, "they are in time again", func() bool { return get[api.Health](t, s.url+"/v1/health").Status == "ok" })
}

// The command asks a running server; without one it reads what there is, and
// the history of servers that have ended.
func TestCheckpointsCommand(t *testing.T) {
	data := imported(t, 1000)
	cfg := testConfig(data)
	cfg.CheckpointsRetained, cfg.CheckpointMinPause, cfg.Keys = 1, time.Millisecond, []string{"secret-key"}
	s := started(t, cfg)
	for n := range 3 {
		code, body := ask(t, "POST", s.url+"/v1/events?wait=applied&key=", moreEvents(n+1))
		if code != http.StatusUnauthorized && code != http.StatusBadRequest {
			t.Fatalf("%d %s", code, body)
		}
	}
	if _, err := run(t, t.Context(), "checkpoints", "--url", s.url); err == nil || !strings.Contains(err.Error(), "--key") {
		t.Errorf("without a key: %v", err)
	}
	online := must[api.CheckpointsBody](t, "checkpoints", "--url", s.url, "--key", "secret-key")
	if online.Summary.Count == 0 || online.Policy.IntervalMs != 100 || online.Policy.MinPauseMs != 1 || len(online.Advice) == 0 {
		t.Errorf("%+v", online)
	}
	if _, err := run(t, t.Context(), "checkpoints", "--data", data); err == nil || !strings.Contains(err.Error(), "ask it: millrace checkpoints --url") {
		t.Errorf("a directory that a server runs on: %v", err)
	}
	s.stop()

	must[api.SavepointRecord](t, "savepoint", "create", "mine", "--data", data)
	before := online.Summary.Count
	offline := must[checkpoints.Offline](t, "checkpoints", "--data", data)
	if l := offline.Latest; l == nil || l.Block == 0 || l.Keys < 100 || l.Bytes == 0 || l.Stored == 0 || len(l.Stages) < 5 || l.Replay != 0 || l.Backend != "pebble" || l.Events != 1000 {
		t.Errorf("latest: %+v", l)
	}
	if offline.Summary.Count < before || offline.Policy.IntervalMs != 10000 || len(offline.Advice) == 0 || offline.InProgress != nil ||
		offline.Retained[len(offline.Retained)-1].ID != "mine" && offline.Retained[0].ID != "mine" {
		t.Errorf("%+v", offline)
	}
	text, err := run(t, t.Context(), "checkpoints", "--data", data)
	for _, want := range []string{"latest checkpoint: block ", "the next start replays 0 blocks", "trending", "in the store:", "mine", "AVERAGE", " in the history; ", "interval 10s", "info: "} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v, no %q in %s", err, want, text)
		}
	}

	// The history goes on at the next start.
	cfg.Keys = nil
	s = started(t, cfg)
	post(t, s, 3)
	await(t, "another checkpoint", func() bool { return get[api.CheckpointsBody](t, s.url+"/v1/checkpoints").Summary.Count > before })
	if text, err := run(t, t.Context(), "checkpoints", "--url", s.url); err != nil || !strings.Contains(text, "since the start") {
		t.Errorf("%v %s", err, text)
	}
	s.stop()

	// What is damaged, or missing, is no reason to say nothing.
	if err := os.WriteFile(filepath.Join(data, checkpoints.JournalFile), []byte("\x00\x00{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, stateFolder)); err != nil {
		t.Fatal(err)
	}
	offline = must[checkpoints.Offline](t, "checkpoints", "--data", data)
	if offline.Latest != nil || offline.Summary.Count != 0 || len(offline.Retained) == 0 {
		t.Errorf("%+v", offline)
	}
	started(t, testConfig(data)).stop()
}

// A history that can not be kept harms nobody.
func TestHistoryThatCanNotBeKept(t *testing.T) {
	cfg := testConfig(filepath.Join(t.TempDir(), "data"))
	if err := os.MkdirAll(filepath.Join(cfg.Data, checkpoints.JournalFile), 0o755); err != nil {
		t.Fatal(err)
	}
	s := started(t, cfg)
	post(t, s, 3)
	await(t, "a checkpoint", func() bool { return get[api.CheckpointsBody](t, s.url+"/v1/checkpoints").Summary.Completed > 0 })
	if h := get[api.Health](t, s.url+"/v1/health"); h.Status != "ok" {
		t.Errorf("%+v", h)
	}
	s.stop()
}

func TestMistakesOfTheCheckpointsCommand(t *testing.T) {
	for args, want := range map[string]string{
		"--url ftp://x":                "want the address of a server",
		"--url http://x:1 --data d":    "leave out --data",
		"--key secret-key":             "--key: only with --url",
		"--data " + t.TempDir():        "holds no event log",
		"--data none/such":             "holds no event log",
		"--url http://127.0.0.1:1":     "no answer from http://127.0.0.1:1",
		"--data " + fileOf(t, "f", ""): "that is a file",
	} {
		_, err := run(t, t.Context(), append([]string{"checkpoints"}, strings.Fields(args)...)...)
		plain(t, err, want)
	}
}

// What is set reaches the engine, where 0 and negative mean other things.
func TestCheckpointPolicyOfAConfiguration(t *testing.T) {
	want := checkpoint.Policy{Interval: 10 * time.Second}
	if got := defaultConfig().policy(); got != want {
		t.Errorf("by default %+v, want %+v", got, want)
	}
	for set, want := range map[int]int{-1: 0, 0: -1, 1: 1, 7: 7} {
		c := defaultConfig()
		c.CheckpointToleratedFailures = set
		if got := c.policy().Tolerated; got != want {
			t.Errorf("%d becomes %d, want %d", set, got, want)
		}
		if got := checkpoints.Policy(c.policy()).Tolerated; got != set {
			t.Errorf("%d is told as %d", set, got)
		}
	}
	t.Setenv("MILLRACE_CHECKPOINT_MIN_PAUSE", "2s")
	t.Setenv("MILLRACE_CHECKPOINT_TIMEOUT", "1m")
	t.Setenv("MILLRACE_CHECKPOINT_TOLERATED_FAILURES", "3")
	t.Setenv("MILLRACE_STATE", "file")
	c, err := loadConfig("")
	if want := (checkpoint.Policy{Interval: 10 * time.Second, MinPause: 2 * time.Second, Timeout: time.Minute, Tolerated: 3}); err != nil || c.policy() != want || c.State != "file" {
		t.Errorf("%+v, %q, %v", c.policy(), c.State, err)
	}
}

// The defaults are those that the documentation shows.
func TestDocumentedDefaults(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	c, err := loadConfig(fileOf(t, "millrace.yaml", block))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	if c.policy() != want.policy() || c.State != want.State || c.CheckpointsRetained != want.CheckpointsRetained || c.OutOfOrderness != want.OutOfOrderness {
		t.Errorf("documented %+v, by default %+v", c, want)
	}
}
