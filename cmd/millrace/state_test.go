package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/cmd/millrace/checkpoints"
	"millrace/cmd/millrace/savepoint"
	"millrace/serve/api"
	"millrace/state/kind"
)

// withState is testConfig with a backend.
func withState(data, name string) config {
	cfg := testConfig(data)
	cfg.State = name
	return cfg
}

func verified(t *testing.T, data string, events uint64, args ...string) {
	t.Helper()
	if v := must[verifyResult](t, append([]string{"verify", "--data", data}, args...)...); !v.Equal || v.Events != events {
		t.Errorf("%+v, want %d events", v, events)
	}
}

// A server keeps its state in whatever is set; what another backend has stored
// is converted, once.
func TestStateBackends(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for i, name := range []string{kind.File, kind.File, kind.Pebble, kind.Pebble, kind.File} {
		s := started(t, withState(data, name))
		if i > 0 && strings.Contains(s.log.String(), "msg=recovered checkpoint=0") {
			t.Errorf("start %d with %s began without a checkpoint", i, name)
		}
		if converted := strings.Contains(s.log.String(), "the state was converted"); converted != (i == 2 || i == 4) {
			t.Errorf("start %d with %s: converted: %v", i, name, converted)
		}
		post(t, s, i+1)
		s.stop()
		if of, err := kind.Of(filepath.Join(data, stateFolder)); of != name || err != nil {
			t.Errorf("start %d: the state is %s's, want %s, %v", i, of, name, err)
		}
		wantGone(t, data)
	}
	verified(t, data, 15)
	offline := must[checkpoints.Offline](t, "checkpoints", "--data", data)
	if offline.Latest == nil || offline.Latest.Backend != kind.File || offline.Summary.Count < 5 {
		t.Errorf("%+v", offline)
	}
}

// With memory each start replays the log, nothing is stored, and the advice
// says what that costs.
func TestStateInMemory(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	cfg := withState(data, kind.Memory)
	for i := range 3 {
		s := started(t, cfg)
		if !strings.Contains(s.log.String(), "msg=recovered checkpoint=0") {
			t.Errorf("start %d did not begin with the log", i)
		}
		post(t, s, 4)
		s.stop()
	}
	if _, err := os.Stat(filepath.Join(data, stateFolder)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a state directory: %v", err)
	}
	verified(t, data, 12)
	offline := must[checkpoints.Offline](t, "checkpoints", "--data", data)
	if offline.Latest != nil || !slices.ContainsFunc(offline.Advice, func(a api.CheckpointAdviceRecord) bool { return a.Code == "full" }) {
		t.Errorf("%+v", offline)
	}

	// A savepoint is made as ever, and needs a backend that keeps it.
	must[api.SavepointRecord](t, "savepoint", "create", "mine", "--data", data)
	elsewhere := filepath.Join(t.TempDir(), "data")
	must[map[string]any](t, "savepoint", "restore", "mine", "--data", elsewhere, "--from", filepath.Join(data, "savepoints"))
	if _, err := start(t, withState(elsewhere, kind.Memory)); !errors.Is(err, savepoint.ErrUseless) || !strings.Contains(err.Error(), "restored from a savepoint") {
		t.Errorf("memory, of a log that does not go back: %v", err)
	}
	// Stored state that nobody would keep up to date is not left lying about.
	started(t, withState(data, kind.File)).stop()
	if _, err := start(t, cfg); !errors.Is(err, savepoint.ErrUseless) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("memory, beside stored state: %v", err)
	}
}

// Savepoints are the same whatever the state is kept in, and restore into
// whatever it is to be kept in.
func TestSavepointsOfStateBackends(t *testing.T) {
	for _, from := range []string{kind.File, kind.Memory} {
		dir := t.TempDir()
		data, elsewhere := filepath.Join(dir, "data"), filepath.Join(dir, "elsewhere")
		s := started(t, withState(data, from))
		post(t, s, 20)
		made := must[api.SavepointRecord](t, "savepoint", "create", "mine", "--url", s.url)
		post(t, s, 5)
		s.stop()
		if made.Events != 20 || len(made.Stages) < 5 {
			t.Errorf("%s: %+v", from, made)
		}
		if left, err := filepath.Glob(filepath.Join(data, "snapshots", "*")); err != nil || len(left) > 0 {
			t.Errorf("left of it: %v, %v", left, err)
		}
		must[map[string]any](t, "savepoint", "restore", "mine", "--data", elsewhere, "--from", filepath.Join(data, "savepoints"))
		s = started(t, withState(elsewhere, kind.File))
		post(t, s, 5)
		s.stop()
		verified(t, elsewhere, 25, "--savepoint", "mine", "--to", filepath.Join(data, "savepoints"))
	}
}

// files is a data directory of a server with state in files, that has taken
// some checkpoints.
func files(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	s := started(t, withState(data, kind.File))
	block := uint64(0)
	for n := range 4 {
		post(t, s, n+2)
		block = awaitNewer(t, "another checkpoint", block, func() (blocks []uint64) {
			for _, c := range get[api.CheckpointsBody](t, s.url+"/v1/checkpoints").Checkpoints {
				blocks = append(blocks, c.Block)
			}
			return blocks
		})
	}
	s.stop()
	return data
}

// damageNewest damages the newest checkpoint in files.
func damageNewest(t *testing.T, data string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(data, stateFolder, "chk-*"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("%v, %v", paths, err)
	}
	// The newest may be there twice: as what has changed, and as a whole.
	newest := strings.TrimSuffix(slices.Max(paths), filepath.Ext(slices.Max(paths)))
	for _, path := range paths {
		if strings.HasPrefix(path, newest+".") {
			flip(t, path, middle)
		}
	}
}

// With the newest checkpoint damaged a server goes on from the one before it,
// and replays more of the log.
func TestOlderCheckpointInFiles(t *testing.T) {
	data := files(t)
	damageNewest(t, data)
	s := started(t, withState(data, kind.File))
	if log := s.log.String(); !strings.Contains(log, "the state is that of an older checkpoint") || strings.Contains(log, "recovered checkpoint=0") {
		t.Errorf("%s", log)
	}
	post(t, s, 3)
	s.stop()
	verified(t, data, 2+3+4+5+3)
}

// It does not where the log begins after that one, or deletes a user since then.
func TestOlderCheckpointInFilesThatIsTooOld(t *testing.T) {
	data := files(t)
	latest := must[api.SavepointRecord](t, "savepoint", "create", "mine", "--data", data).Block
	old := os.DirFS(filepath.Join(data, stateFolder))

	later := filepath.Join(t.TempDir(), "data")
	must[map[string]any](t, "savepoint", "restore", "mine", "--data", later, "--from", filepath.Join(data, "savepoints"))
	deleted := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(deleted, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(deleted, "savepoints")); err != nil { // or else it goes on from there
		t.Fatal(err)
	}
	s := started(t, withState(deleted, kind.File))
	if code, body := ask(t, "DELETE", s.url+"/v1/users/late-1", ""); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	s.stop()
	if paths, _ := filepath.Glob(filepath.Join(deleted, stateFolder, "chk-*.full")); len(paths) == 0 {
		t.Error("no full snapshot after a deletion")
	}

	for _, c := range []struct{ data, want string }{{later, "the event log begins after that block"}, {deleted, "deletes a user, who would be back"}} {
		if err := os.RemoveAll(filepath.Join(c.data, stateFolder)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(c.data, stateFolder), old); err != nil {
			t.Fatal(err)
		}
		damageNewest(t, c.data)
		_, err := start(t, withState(c.data, kind.File))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "no checkpoint in ") {
			t.Errorf("state from before block %d: %v, want %q", latest, err, c.want)
		}
	}
}

// A job gives the same with each backend, and goes on where files of an earlier
// run stand.
func TestJobStateInFiles(t *testing.T) {
	type result struct {
		Checksum    string
		Checkpoints int
	}
	args := []string{"job", "J1", "--events", "100000"}
	want, data := must[result](t, args...).Checksum, t.TempDir()
	for i := range 2 {
		r := must[result](t, append(args, "--state", kind.File, "--checkpoint", "20ms", "--data", data)...)
		if r.Checksum != want || (r.Checkpoints > 0) != (i == 0) {
			t.Errorf("run %d: %+v, want %s", i, r, want)
		}
	}
	_, err := run(t, t.Context(), append(args, "--state", kind.Pebble, "--data", data)...)
	plain(t, err, "state directory is another backend's: there are snapshots in files in it, not a Pebble database")
	_, err = run(t, t.Context(), append(args, "--state", kind.File, "--memory-limit", "1GiB")...)
	plain(t, err, "want --state pebble")
}

// A directory of a job that has had more events, or has ended, is not taken for
// one of another number.
func TestJobOfAnotherNumberOfEvents(t *testing.T) {
	data := t.TempDir()
	job := func(events string) error {
		_, err := run(t, t.Context(), "job", "J1", "--events", events, "--state", kind.File, "--data", data)
		return err
	}
	if err := job("20000"); err != nil {
		t.Fatal(err)
	}
	for _, events := range []string{"10000", "40000"} {
		plain(t, job(events), "--events "+events+": the job in "+data+" has ended after 20000; want --events 20000, or another --data")
	}
	if err := job("20000"); err != nil {
		t.Errorf("after refusals: %v", err)
	}
	_, err := run(t, t.Context(), "job", "J1", "--hot", "NaN")
	plain(t, err, "--hot NaN: want 0 to 1")
}

// A job does not put its state beside a server's log, and says what can be done
// about state that can not be read at all.
func TestJobDirectories(t *testing.T) {
	data := t.TempDir()
	job := func(data string) error {
		_, err := run(t, t.Context(), "job", "J1", "--events", "20000", "--state", kind.File, "--data", data)
		return err
	}
	must[struct{}](t, "replay", fileOf(t, "events.jsonl", `{"user_id":"u","item_id":"i","event_type":"view","timestamp":"2026-01-01T00:00:00Z"}`), "--data", data)
	plain(t, job(data), "--data "+data+": has the event log of a server; give a directory of its own")
	own := t.TempDir()
	if err := job(own); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(own, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			if err := os.WriteFile(f, []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := job(own); err == nil || !strings.Contains(err.Error(), "remove "+own+" to begin anew") {
		t.Errorf("all is damaged: got %v", err)
	}
}

// A job whose newest checkpoint is damaged says that it goes on from an older
// one, at the level that is asked for.
func TestJobSaysThatACheckpointIsDamaged(t *testing.T) {
	dir := t.TempDir()
	args := []string{"job", "J1", "--events", "600000", "--state", kind.File, "--checkpoint", "10ms", "--data", filepath.Join(dir, stateFolder)}
	want, err := run(t, t.Context(), append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	damageNewest(t, dir)
	stderr, err := says(t, append(args, "--log-level", "warn")...)
	if err != nil || !strings.Contains(stderr, "the state is that of an older checkpoint") {
		t.Errorf("%v, and it says %q", err, stderr)
	}
	again, err := run(t, t.Context(), append(args, "--json")...)
	if sum := regexp.MustCompile(`"checksum":"[0-9a-f]+"`); err != nil || sum.FindString(again) != sum.FindString(want) {
		t.Errorf("%v: %s, want %s", err, again, want)
	}
	_, err = says(t, append(args, "--log-level", "loud")...)
	plain(t, err, `--log-level "loud": want debug, info, warn or error`)
}
