package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"millrace/operator"
	"millrace/state"
)

// run runs a command line and returns what it printed to standard output.
func run(t *testing.T, ctx context.Context, args ...string) (string, error) {
	t.Helper()
	c := newCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&bytes.Buffer{})
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	return out.String(), err
}

// generated writes traffic to a file.
func generated(t *testing.T, events int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	_, err := run(t, t.Context(), "generate", "--events", fmt.Sprint(events), "--users", "200", "--items", "100", "--seed", "5", "--to", path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// imported is a data directory with generated traffic.
func imported(t *testing.T, events int) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if _, err := run(t, t.Context(), "replay", generated(t, events), "--data", data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGenerateIsDeterministic(t *testing.T) {
	a, err := os.ReadFile(generated(t, 2000))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(generated(t, 2000))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || len(a) == 0 {
		t.Error("the same flags gave different traffic, or none")
	}
}

// With --json the last line of standard output is one JSON object, wherever
// the traffic goes but there.
func TestGenerateReports(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"accepted":1,"duplicates":0,"errors":[]}`)
	}))
	defer server.Close()
	for _, to := range []string{filepath.Join(t.TempDir(), "events.jsonl"), server.URL} {
		out, err := run(t, t.Context(), "generate", "--events", "300", "--users", "20", "--items", "10", "--to", to, "--json")
		var r replayResult
		if err := errors.Join(err, json.Unmarshal([]byte(out), &r)); err != nil || r.Events != 300 || r.Changes < 10 || r.ElapsedS <= 0 {
			t.Errorf("--to %s: %s, %v", to, out, err)
		}
	}
	out, err := run(t, t.Context(), "generate", "--events", "300", "--json")
	if err == nil || !strings.Contains(err.Error(), "--to") || out != "" {
		t.Errorf("--json to standard output: %q, %v", out, err)
	}
}

// version says what the build recorded.
func TestVersion(t *testing.T) {
	out, err := run(t, t.Context(), "version")
	if err != nil || !strings.HasPrefix(out, "millrace "+version()) || !strings.Contains(out, runtime.Version()) || strings.Count(out, "\n") != 1 {
		t.Errorf("%q, %v", out, err)
	}
	out, err = run(t, t.Context(), "version", "--json")
	var r versionResult
	if err := errors.Join(err, json.Unmarshal([]byte(out), &r)); err != nil || r.Version != version() || r.Go != runtime.Version() {
		t.Errorf("%q, %v", out, err)
	}
	r = describeBuild(&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abcdef"}, {Key: "vcs.modified", Value: "true"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
	}})
	if want := "millrace v1.2.3, revision abcdef with changes of 2026-01-02T03:04:05Z, " + runtime.Version() + " "; !strings.HasPrefix(r.String(), want) {
		t.Errorf("%q, want %q", r, want)
	}
	if r := describeBuild(nil); r.Version != "0.1.0-dev" || r.Revision != "" {
		t.Errorf("without build information: %+v", r)
	}
	if _, err := run(t, t.Context(), "version", "please"); err == nil {
		t.Error("version takes arguments")
	}
}

func TestReplayReportsAndVerifyFindsAllEqual(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	out, err := run(t, t.Context(), "replay", generated(t, 5000), "--data", data, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var r replayResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Events != 5000 || r.Rejected != 0 || r.EventsPerS <= 0 {
		t.Errorf("replay reports %s (%v)", out, err)
	}
	for _, shards := range []string{"1", "2", "7"} {
		out, err := run(t, t.Context(), "verify", "--data", data, "--shards", shards, "--json")
		if err != nil || !strings.Contains(out, `"equal":true`) || !strings.Contains(out, `"events":5000`) || !strings.Contains(out, `"differences":[]`) {
			t.Errorf("verify with %s shards: %s, %v", shards, out, err)
		}
	}
}

// A past that is imported behind newer events is late, and the report says so.
func TestReplayTellsLateEvents(t *testing.T) {
	dir := t.TempDir()
	write := func(name, lines string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := filepath.Join(dir, "data")
	newer := write("newer.jsonl", `{"user_id":"u","item_id":"i","event_type":"view","timestamp":"2026-01-01T00:00:00Z"}`+"\n")
	older := write("older.jsonl", `{"user_id":"u","item_id":"a","event_type":"view","timestamp":"2001-01-01T00:00:00Z"}`+"\n"+
		`{"user_id":"u","item_id":"b","event_type":"view","timestamp":"2026-01-01T00:00:01Z"}`+"\n")
	out, err := run(t, t.Context(), "replay", newer, "--data", data)
	if err != nil || strings.Contains(out, "late") {
		t.Errorf("%q, %v", out, err)
	}
	out, err = run(t, t.Context(), "replay", older, "--data", data)
	if err != nil || !strings.Contains(out, "1 of them late") {
		t.Errorf("%q, %v: want one late event", out, err)
	}
}

// verify must be able to say no: a state and a missing key in the checkpoint
// that the events do not give.
func TestVerifyFindsWhatDiffers(t *testing.T) {
	data := imported(t, 3000)
	store, latest := stored(t, data)
	keys := map[string][]byte{}
	values := map[string][]byte{}
	err := store.Load(func(stage string, key, value []byte) error {
		if values[stage] == nil || len(value) > len(values[stage]) {
			keys[stage], values[stage] = bytes.Clone(key), bytes.Clone(value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Commit(&state.Checkpoint{Block: latest.Block, Time: latest.Time, Meta: latest.Meta, Tables: []state.Table{
		{Stage: "heat", Writes: []operator.StateWrite{{Key: keys["heat"]}}},
		{Stage: "profile", Writes: []operator.StateWrite{{Key: []byte("nobody"), Value: values["profile"]}}},
	}})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, t.Context(), "verify", "--data", data, "--json")
	var exit exitCode
	if !errors.As(err, &exit) || exit != 1 {
		t.Errorf("verify ended with %v, want exit code 1", err)
	}
	for _, want := range []string{
		`"equal":false`, `{"kind":"operator","name":"heat","key":"` + string(keys["heat"]) + `","detail":"missing"}`,
		`{"kind":"operator","name":"profile","key":"nobody","detail":"extra"}`,
		`{"kind":"view","name":"profile","key":"nobody","detail":"extra"}`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("verify does not report %s:\n%s", want, out)
		}
	}
}

// verify says which operators differ that the checkpoint has nothing of, as they
// may be newer.
func TestVerifySaysWhichOperatorsAreNew(t *testing.T) {
	data := imported(t, 1000)
	store, latest := stored(t, data)
	if err := errors.Join(store.Drop("session"), store.Close()); err != nil { // as if it were newer than the checkpoint
		t.Fatal(err)
	}
	at := fmt.Sprintf("the checkpoint at block %d has ", latest.Block)
	out, err := run(t, t.Context(), "verify", "--data", data)
	if exit := exitCode(0); !errors.As(err, &exit) || exit != 1 {
		t.Errorf("verify ended with %v, want exit code 1", err)
	}
	if want := "\noperator session: " + at + "nothing of it; an operator that is newer than the checkpoint begins empty there, "; !strings.Contains(out, want) || strings.Count(out, at) != 1 {
		t.Errorf("verify does not say %q, once:\n%s", want, out)
	}
}

// The reference jobs are known by lower case too.
func TestJobInLowerCase(t *testing.T) {
	out, err := run(t, t.Context(), "job", "j1", "--events", "2000", "--json")
	if err != nil || !strings.Contains(out, `"job":"J1"`) {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := run(t, t.Context(), "job", "j7"); err == nil {
		t.Error("there is a job j7")
	}
}

// An import that was interrupted goes on where it was.
func TestReplayResumes(t *testing.T) {
	path, data := generated(t, 60_000), filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopper := writer(func(b []byte) {
		if bytes.Contains(b, []byte("configuration installed")) { // the import begins; all of it takes 1.5 s
			time.AfterFunc(500*time.Millisecond, stop)
		}
	})
	c := newCommand()
	c.SetOut(&bytes.Buffer{})
	c.SetErr(stopper)
	c.SetArgs([]string{"replay", path, "--data", data, "--speed", "400"})
	if err := c.ExecuteContext(ctx); err == nil {
		t.Fatal("the import was not interrupted: the test tests nothing")
	}
	out, err := run(t, t.Context(), "replay", path, "--data", data, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var r replayResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Events == 0 || r.Events == 60_000 || r.Duplicates != 0 {
		t.Errorf("the second run reports %s (%v), want a part of the events", out, err)
	}
	out, err = run(t, t.Context(), "verify", "--data", data, "--json")
	if err != nil || !strings.Contains(out, `"equal":true`) || !strings.Contains(out, `"events":60000`) {
		t.Errorf("after both runs: %s, %v", out, err)
	}
	out, err = run(t, t.Context(), "replay", path, "--data", data, "--json")
	if err != nil || !strings.Contains(out, `"events":0`) {
		t.Errorf("a third run: %s, %v, want no event", out, err)
	}
}

// The demo says that it stops, and what becomes of its data.
func TestDemoSaysThatItStops(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	kept := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{{"demo", "--listen", "127.0.0.1:0"}, {"demo", "--listen", "127.0.0.1:0", "--data", kept}} {
		ctx, stop := context.WithCancel(t.Context())
		var out bytes.Buffer
		c := newCommand()
		c.SetOut(writer(func(b []byte) {
			out.Write(b)
			if bytes.Contains(b, []byte("Ctrl-C")) {
				stop()
			}
		}))
		c.SetErr(&bytes.Buffer{})
		c.SetArgs(args)
		if err := c.ExecuteContext(ctx); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		_, last, _ := strings.Cut(out.String(), "Stopping; ")
		if len(args) > 3 {
			if _, err := os.Stat(kept); err != nil || last != "the data are kept in "+kept+".\n" {
				t.Errorf("%v: %q, %v", args, last, err)
			}
			continue
		}
		dir, ok := strings.CutSuffix(strings.TrimPrefix(last, "the temporary data in "), " are removed.\n")
		if _, err := os.Stat(dir); !ok || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %q, %v", args, last, err)
		}
	}
}

// A start that has much to replay is seen to be one, and can be stopped.
func TestStartIsVisibleAndCanBeStopped(t *testing.T) {
	data := imported(t, 3000)
	if err := os.RemoveAll(filepath.Join(data, stateFolder)); err != nil { // so that everything is replayed
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	status := 0
	c := newCommand()
	c.SetOut(&bytes.Buffer{})
	c.SetErr(writer(func(b []byte) {
		if _, after, ok := bytes.Cut(b, []byte("msg=starting address=")); ok {
			url, _, _ := bytes.Cut(after, []byte(" "))
			status, _ = ask(t, http.MethodGet, string(url)+"/v1/health", "")
			stop()
		}
	}))
	c.SetArgs([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"})
	if err := c.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that was stopped ended with %v", err)
	}
	if status != http.StatusServiceUnavailable {
		t.Errorf("health of a server that is starting: %d", status)
	}
	out, err := run(t, t.Context(), "verify", "--data", data, "--json")
	if err != nil || !strings.Contains(out, `"equal":true`) || !strings.Contains(out, `"events":3000`) {
		t.Errorf("afterwards: %s, %v", out, err)
	}
}

// writer is told of everything that is written.
type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

func TestConfiguration(t *testing.T) {
	t.Setenv("MILLRACE_SHARDS", "3")
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "millrace.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := loadConfig(write("data: there\ncheckpoint_interval: 2s\nevent_types: {view: 0.5}\n"))
	if err != nil || c.Data != "there" || c.CheckpointInterval.Seconds() != 2 || c.Shards != 3 || len(c.EventTypes) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"daat: x":                       "daat",
		"shards: 1000":                  "environment", // overridden, so it is the environment's that counts
		"checkpoint_interval: 1ms":      "checkpoint_interval",
		"recipes: {x: {new: -1}}":       "recipes",
		"keys: [short]":                 "keys",
		"ingest: {max_block_events: 0}": "max_block_events",
	} {
		_, err := loadConfig(write(text))
		if want == "environment" {
			if err != nil {
				t.Errorf("%q: %v, but the environment sets another", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error that names %s", text, err, want)
		}
	}
	if _, err := loadConfig(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there is no error")
	}
}
