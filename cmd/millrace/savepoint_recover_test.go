package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/serve/api"
)

// listed asks a server for its savepoints.
func listed(t *testing.T, s *testServer) []api.SavepointRecord {
	t.Helper()
	code, body := ask(t, "GET", s.url+"/v1/savepoints", "")
	var answer struct{ Savepoints []api.SavepointRecord }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	return answer.Savepoints
}

// await asks again and again until it is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// awaitNewer waits until the last of a list of blocks is after one, and returns
// it.
func awaitNewer(t *testing.T, what string, than uint64, list func() []uint64) (last uint64) {
	t.Helper()
	await(t, what, func() bool {
		if blocks := list(); len(blocks) > 0 {
			last = blocks[len(blocks)-1]
		}
		return last > than
	})
	return last
}

// copied makes a data directory whose store has two copies of checkpoints, the
// newest before the end of the log.
func copied(t *testing.T) string {
	t.Helper()
	data := imported(t, 1000)
	cfg := testConfig(data)
	cfg.CheckpointsRetained = 2
	s := started(t, cfg)
	newest := uint64(0)
	for round := range 3 {
		if code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(20+round)); code != http.StatusOK {
			t.Fatalf("%d %.300s", code, body)
		}
		newest = awaitNewer(t, "another copy", newest, func() (blocks []uint64) {
			for _, c := range listed(t, s) {
				blocks = append(blocks, c.Block)
			}
			return blocks
		})
	}
	await(t, "two copies", func() bool { return len(listed(t, s)) == 2 })
	s.stop()
	s = started(t, testConfig(data)) // which copies nothing
	if code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(30)); code != http.StatusOK {
		t.Fatalf("%d %.300s", code, body)
	}
	s.stop()
	return data
}

// flip changes a byte of each file that matches, and says how many there are.
func flip(t *testing.T, pattern string, at func(size int) int) int {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[at(len(data))] ^= 0x55
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return len(paths)
}

func middle(size int) int { return size / 2 }

// Where the state directory is damaged a server goes on from the newest copy
// that is whole, and says so; nothing is lost.
func TestDamagedStateIsReplacedByACopy(t *testing.T) {
	original := copied(t)
	remove := func(t *testing.T, pattern string) {
		paths, _ := filepath.Glob(pattern)
		if len(paths) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		if err := os.Remove(paths[0]); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		damage  func(t *testing.T, data string)
		skipped int
	}{
		"tables": {damage: func(t *testing.T, data string) { flip(t, filepath.Join(data, "state", "*.sst"), middle) }},
		"manifest": {damage: func(t *testing.T, data string) {
			flip(t, filepath.Join(data, "state", "MANIFEST-*"), func(int) int { return 9 })
		}},
		"a table is missing": {damage: func(t *testing.T, data string) { remove(t, filepath.Join(data, "state", "*.sst")) }},
		"the marker":         {damage: func(t *testing.T, data string) { remove(t, filepath.Join(data, "state", "marker.manifest*")) }},
		"the newest copy too": {skipped: 1, damage: func(t *testing.T, data string) {
			flip(t, filepath.Join(data, "state", "*.sst"), middle)
			newest(t, data, func(id string) { flip(t, filepath.Join(data, "savepoints", "checkpoints", id+".json"), middle) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, data)
			s, err := start(t, testConfig(data))
			if err != nil {
				t.Fatalf("%v\n%s", err, s.log)
			}
			code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(10))
			s.stop()
			says := s.log.String()
			if code != http.StatusOK || strings.Count(says, "level=ERROR msg=\"the state directory is damaged; going on from a stored checkpoint") != 1 ||
				strings.Count(says, "a checkpoint can not be used") != c.skipped {
				t.Errorf("%d %.300s\n%s", code, body, says)
			}
			if v := must[verifyResult](t, "verify", "--data", data); !v.Equal {
				t.Errorf("%+v", v)
			}
			wantGone(t, data)
		})
	}
}

// newest calls fn with the id of the newest copy.
func newest(t *testing.T, data string, fn func(id string)) {
	t.Helper()
	list := must[struct{ Savepoints []api.SavepointRecord }](t, "savepoint", "list", "--data", data).Savepoints
	if len(list) == 0 {
		t.Fatal("there are no copies")
	}
	fn(list[len(list)-1].ID)
}

// wantGone demands that nothing of a recovery or a restore is left.
func wantGone(t *testing.T, data string) {
	t.Helper()
	for _, name := range []string{"state.damaged", "state.incoming", "state.restored", "snapshots"} {
		if _, err := os.Stat(filepath.Join(data, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

// Where nothing helps a server refuses to start, says why, and touches nothing.
func TestDamagedStateWithoutAUsableCopy(t *testing.T) {
	dir := t.TempDir()
	whole, later := filepath.Join(dir, "whole"), filepath.Join(dir, "later")
	if _, err := run(t, t.Context(), "replay", generated(t, 800), "--data", whole); err != nil {
		t.Fatal(err)
	}
	must[api.SavepointRecord](t, "savepoint", "create", "older", "--data", whole)
	s := started(t, testConfig(whole))
	ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(10))
	s.stop()
	must[api.SavepointRecord](t, "savepoint", "create", "newer", "--data", whole)
	must[map[string]any](t, "savepoint", "restore", "newer", "--data", later, "--from", filepath.Join(whole, "savepoints"))

	onlyOlder := testConfig(later)
	onlyOlder.CheckpointStore = filepath.Join(dir, "only-older")
	if err := os.CopyFS(onlyOlder.CheckpointStore, os.DirFS(filepath.Join(whole, "savepoints"))); err != nil {
		t.Fatal(err)
	}
	must[map[string]string](t, "savepoint", "dispose", "newer", "--to", onlyOlder.CheckpointStore)
	nowhere := testConfig(whole)
	nowhere.CheckpointStore = filepath.Join(dir, "nothing")
	for name, c := range map[string]struct {
		cfg  config
		want []string
	}{
		"the log does not reach back": {onlyOlder, []string{"older is of block", "it begins with block", "into an empty directory"}},
		"there is no copy":            {nowhere, []string{"there is none", "move " + filepath.Join(whole, "state") + " away"}},
	} {
		flip(t, filepath.Join(c.cfg.Data, "state", "*.sst"), middle)
		s, err := start(t, c.cfg)
		if err == nil {
			s.stop()
			t.Errorf("%s: the server has started", name)
			continue
		}
		for _, want := range append(c.want, "damaged") {
			if !strings.Contains(message(err), want) {
				t.Errorf("%s: %s\nwithout %q", name, message(err), want)
			}
		}
		if _, err := os.Stat(filepath.Join(c.cfg.Data, "state")); err != nil {
			t.Errorf("%s: the damaged state is gone: %v", name, err)
		}
		wantGone(t, c.cfg.Data)
	}
	// The advice works.
	if err := os.RemoveAll(filepath.Join(whole, "state")); err != nil {
		t.Fatal(err)
	}
	started(t, nowhere).stop()
	if v := must[verifyResult](t, "verify", "--data", whole); !v.Equal {
		t.Errorf("%+v", v)
	}
}

// A process that ended while it restored leaves the old state, or the new one
// after the next start; a directory that is half made is not started.
func TestRestoresThatWereCutOff(t *testing.T) {
	data := imported(t, 800)
	must[api.SavepointRecord](t, "savepoint", "create", "sp", "--data", data)
	store := filepath.Join(data, "savepoints")
	restarted := func(data string) verifyResult {
		t.Helper()
		started(t, testConfig(data)).stop()
		wantGone(t, data)
		return must[verifyResult](t, "verify", "--data", data)
	}
	for _, name := range []string{"state.incoming", "snapshots/x"} { // half fetched, half stored
		if err := os.MkdirAll(filepath.Join(data, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if v := restarted(data); !v.Equal {
		t.Errorf("%+v", v)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	must[map[string]any](t, "savepoint", "restore", "sp", "--data", elsewhere, "--from", store)
	if err := os.Rename(filepath.Join(elsewhere, "state"), filepath.Join(data, "state.restored")); err != nil {
		t.Fatal(err)
	}
	for _, half := range []bool{false, true} { // of the old state some may be removed already
		if half {
			if err := errors.Join(os.Rename(filepath.Join(data, "state"), filepath.Join(data, "state.restored")), os.Mkdir(filepath.Join(data, "state"), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		if v := restarted(data); !v.Equal {
			t.Errorf("%+v", v)
		}
	}
	s, err := start(t, testConfig(elsewhere)) // its log begins later, and its state is gone
	if err == nil {
		s.stop()
	}
	if err == nil || !strings.Contains(message(err), "begins after that block") || !strings.Contains(message(err), "there is none") {
		t.Errorf("a directory without its state: %v", err)
	}
}

// What a server is asked for and can not do it says, and a user who is deleted is
// soon in no copy of a checkpoint.
func TestSavepointsOfARunningServer(t *testing.T) {
	data := imported(t, 500)
	cfg := testConfig(data)
	cfg.CheckpointsRetained = 50
	s := started(t, cfg)
	await(t, "a copy", func() bool { return len(listed(t, s)) > 0 })
	if code, body := ask(t, "DELETE", s.url+"/v1/users/nobody", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	first := listed(t, s)[0].ID
	await(t, "copies from before the deletion are removed", func() bool {
		list := listed(t, s)
		return len(list) > 0 && list[0].ID != first
	})
	must[api.SavepointRecord](t, "savepoint", "create", "a", "--url", s.url)
	if code, body := ask(t, "POST", s.url+"/v1/savepoints", `{"name":"a"}`); code != http.StatusConflict {
		t.Errorf("%d %s", code, body)
	}
	if out, err := run(t, t.Context(), "savepoint", "list", "--url", s.url); err != nil || !strings.Contains(out, "\na ") || !strings.Contains(out, "checkpoint-") {
		t.Errorf("%v\n%s", err, out)
	}
	if code, body := ask(t, "GET", s.url+"/v1/savepoints/none", ""); code != http.StatusNotFound || strings.Contains(body, data) {
		t.Errorf("%d %s", code, body)
	}
	must[map[string]string](t, "savepoint", "dispose", "a", "--url", s.url)
	s.stop()

	broken := testConfig(data)
	broken.CheckpointStore = filepath.Join(t.TempDir(), "store")
	if err := errors.Join(os.Mkdir(broken.CheckpointStore, 0o755), os.WriteFile(filepath.Join(broken.CheckpointStore, "shared"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = started(t, broken)
	_, err := run(t, t.Context(), "savepoint", "create", "b", "--url", s.url)
	if err == nil || !strings.Contains(err.Error(), "b was not made: the object store does not work at present") {
		t.Errorf("%v", err)
	}
	list := listed(t, s)
	if len(list) != 1 || list[0].State != "failed" || list[0].ID != "b" {
		t.Errorf("%+v", list)
	}
	if code, body := ask(t, "DELETE", s.url+"/v1/savepoints/b", ""); code != http.StatusOK || len(listed(t, s)) != 0 {
		t.Errorf("%d %s", code, body)
	}
	s.stop()
	if !strings.Contains(s.log.String(), "savepoint not made") {
		t.Errorf("the log does not say it:\n%s", s.log)
	}
}
