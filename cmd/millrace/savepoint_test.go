package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"millrace/event"
	"millrace/eventlog"
	"millrace/objectstore/s3/s3test"
	"millrace/operator"
	"millrace/serve/api"
	"millrace/state"
	"millrace/state/pebble"
)

// A savepoint that is made under load is the state after its block: restored
// with another number of shards, everything equals a clean replay of the
// original up to it, and both go on alike.
func TestSavepointOfAServerUnderLoad(t *testing.T) {
	dir := t.TempDir()
	original, elsewhere := filepath.Join(dir, "original"), filepath.Join(dir, "elsewhere")
	server := started(t, testConfig(original))
	var load sync.WaitGroup
	load.Go(func() {
		if _, err := run(t, t.Context(), "generate", "--events", "40000", "--users", "300", "--items", "100", "--to", server.url); err != nil {
			t.Error(err)
		}
	})
	for applied := 0; applied < 2000; {
		_, body := ask(t, "GET", server.url+"/v1/stats", "")
		if _, err := fmt.Sscanf(body[strings.Index(body, `"total":`):], `"total":%d`, &applied); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
	}
	made := must[api.SavepointRecord](t, "savepoint", "create", "under-load", "--url", server.url)
	load.Wait()
	code, body := ask(t, "GET", server.url+"/v1/savepoints/under-load", "")
	if code != http.StatusOK || !strings.Contains(body, `"state":"completed"`) || made.Block < 2 || len(made.Stages) < 5 || made.Events == 0 {
		t.Errorf("%d %.300s", code, body)
	}
	_, err := run(t, t.Context(), "savepoint", "create", "--data", original)
	if err == nil || !strings.Contains(err.Error(), "--url") {
		t.Errorf("a data directory that a server runs on: %v", err)
	}
	server.stop()

	restored := must[struct{ Block, Events uint64 }](t, "savepoint", "restore", "under-load", "--data", elsewhere, "--from", filepath.Join(original, "savepoints"), "--shards", "5")
	if restored.Block != made.Block || restored.Events != made.Events {
		t.Errorf("restored %+v, made %+v", restored, made)
	}
	full := replayed(t, original, 1<<62).Applied()
	if made.Block >= full {
		t.Fatalf("the savepoint is of the last block, %d: there was no load", full)
	}
	t.Run("at its block", func(t *testing.T) {
		wantEqual(t, "restored", inspect(t, elsewhere, 7), replayed(t, original, made.Block))
	})

	follow(t, original, elsewhere)
	for _, data := range []string{original, elsewhere} {
		s := started(t, testConfig(data))
		if code, body := ask(t, "POST", s.url+"/v1/events?wait=applied", moreEvents(50)); code != http.StatusOK {
			t.Errorf("%d %.300s", code, body)
		}
		s.stop()
	}
	t.Run("with the same events after it", func(t *testing.T) {
		wantEqual(t, "gone on", inspect(t, elsewhere, 3), inspect(t, original, 2))
		if a, b := rows(t, original), rows(t, elsewhere); a != b || !strings.Contains(a, "late-8") {
			t.Errorf("catalogues of %d and %d bytes differ", len(a), len(b))
		}
	})
	if _, err := run(t, t.Context(), "verify", "--data", elsewhere); err == nil || !strings.Contains(err.Error(), "--savepoint") {
		t.Errorf("verify without the savepoint: %v", err)
	}
	if v := must[verifyResult](t, "verify", "--data", elsewhere, "--savepoint", "under-load", "--to", filepath.Join(original, "savepoints")); !v.Equal {
		t.Errorf("verify: %+v", v)
	}
}

// follow appends to a log what another one has after its end.
func follow(t *testing.T, from, to string) {
	t.Helper()
	source, err := eventlog.Open(filepath.Join(from, logFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := eventlog.Open(filepath.Join(to, logFolder), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	err = source.Scan(target.Last()+1, func(b *eventlog.Block) error {
		c := *b
		return target.Append(&c)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without a server a savepoint has all that was acknowledged, also after a kill
// that left blocks which no checkpoint has.
func TestSavepointOfADirectoryAfterAKill(t *testing.T) {
	data := imported(t, 2000)
	sealed := must[api.SavepointRecord](t, "savepoint", "create", "sealed", "--data", data)
	log, err := eventlog.Open(filepath.Join(data, logFolder), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var payload []byte
	payload = event.AppendEvent(payload, &event.Event{User: "of-the-tail", Item: "i", Type: event.TypeView, Time: 1_770_000_000_000})
	err = errors.Join(log.Append(&eventlog.Block{Kind: eventlog.Events, Time: log.LastTime(), Count: 1, Payload: payload}), log.Close())
	if err != nil {
		t.Fatal(err)
	}
	made := must[api.SavepointRecord](t, "savepoint", "create", "--data", data)
	if made.Block != sealed.Block+1 || made.Events != sealed.Events+1 || !strings.HasPrefix(made.ID, "savepoint-") {
		t.Errorf("%+v after %+v", made, sealed)
	}
	list := must[struct{ Savepoints []api.SavepointRecord }](t, "savepoint", "list", "--data", data).Savepoints
	if len(list) != 2 || list[0].ID != "sealed" || list[1].ID != made.ID {
		t.Errorf("list: %+v", list)
	}
	again := must[api.SavepointRecord](t, "savepoint", "describe", made.ID, "--data", data, "--verify")
	if again.Block != made.Block || len(again.Stages) != len(made.Stages) {
		t.Errorf("described as %+v, made as %+v", again, made)
	}
	if v := must[verifyResult](t, "verify", "--data", data); !v.Equal {
		t.Errorf("%+v", v)
	}
	must[map[string]string](t, "savepoint", "dispose", "sealed", "--data", data)
	if out, err := run(t, t.Context(), "savepoint", "list", "--data", data); err != nil || strings.Contains(out, "sealed") || !strings.Contains(out, made.ID) {
		t.Errorf("%s %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(data, "snapshots")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("snapshots are left: %v", err)
	}
}

// With --force the state of a directory is replaced and its log replayed.
func TestSavepointIntoTheSameDirectory(t *testing.T) {
	data := imported(t, 2000)
	made := must[api.SavepointRecord](t, "savepoint", "create", "early", "--data", data)
	s := started(t, testConfig(data))
	if code, body := ask(t, "POST", s.url+"/v1/events", moreEvents(200)); code != http.StatusOK {
		t.Errorf("%d %.300s", code, body)
	}
	s.stop()
	// State that the log does not give, as after a mistake in an operator.
	commit(t, data, func(latest *state.Checkpoint, values map[string][]byte) []state.Table {
		return []state.Table{{Stage: "profile", Writes: []operator.StateWrite{{Key: []byte("nobody"), Value: values["profile"]}}}}
	})
	var exit exitCode
	if _, err := run(t, t.Context(), "verify", "--data", data); !errors.As(err, &exit) {
		t.Fatalf("verify: %v, want that it differs", err)
	}
	if _, err := run(t, t.Context(), "savepoint", "restore", "early", "--data", data); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("without --force: %v", err)
	}
	done := must[struct {
		Block  uint64
		Replay uint64 `json:"blocks_to_replay"`
	}](t, "savepoint", "restore", "early", "--data", data, "--force")
	if done.Block != made.Block || done.Replay == 0 {
		t.Errorf("%+v", done)
	}
	if v := must[verifyResult](t, "verify", "--data", data); !v.Equal || v.Checkpoint != made.Block {
		t.Errorf("%+v", v)
	}
}

// stored is the state of a data directory, and its latest checkpoint.
func stored(t *testing.T, data string) (*pebble.Backend, *state.Checkpoint) {
	t.Helper()
	store, err := pebble.Open(filepath.Join(data, stateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	latest, err := store.Latest()
	if err != nil {
		t.Fatal(err)
	}
	return store, latest
}

// commit changes the latest checkpoint of a data directory; values has one
// stored value of each stage.
func commit(t *testing.T, data string, change func(latest *state.Checkpoint, values map[string][]byte) []state.Table) {
	t.Helper()
	store, latest := stored(t, data)
	values := map[string][]byte{}
	err := store.Load(func(stage string, _, value []byte) error {
		values[stage] = bytes.Clone(value)
		return nil
	})
	if err == nil {
		_, err = store.Commit(&state.Checkpoint{Block: latest.Block, Time: latest.Time, Meta: latest.Meta, Tables: change(latest, values)})
	}
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}

// What would lose state, or make a state that never was, is refused, and
// nothing is touched.
func TestRefusedRestores(t *testing.T) {
	dir := t.TempDir()
	data, store := filepath.Join(dir, "data"), filepath.Join(dir, "store")
	events := generated(t, 1500)
	if _, err := run(t, t.Context(), "replay", events, "--data", data); err != nil {
		t.Fatal(err)
	}
	create := func(name string) {
		must[api.SavepointRecord](t, "savepoint", "create", name, "--data", data, "--to", store)
	}
	create("good")
	write := func(stage string, version byte) {
		commit(t, data, func(_ *state.Checkpoint, _ map[string][]byte) []state.Table {
			return []state.Table{{Stage: stage, Writes: []operator.StateWrite{{Key: []byte("k"), Value: []byte{version, 0}}}}}
		})
	}
	write("of-another-release", 1)
	create("with-a-stage-more")
	write("heat", 100)
	create("of-a-later-release")
	other := imported(t, 3000)
	short := filepath.Join(dir, "short")
	started(t, testConfig(short)).stop() // its configuration is in it, and nothing else
	empty := filepath.Join(dir, "empty")
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "something"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, want string
	}{
		{"good --data " + full, "is not empty"},
		{"good --data " + full + " --force", "no event log"},
		{"none --data " + empty, "there is no such savepoint"},
		{"with-a-stage-more --data " + empty, "no stage for stored state: of-another-release; --allow-non-restored-state"},
		{"of-a-later-release --data " + empty, "heat is stored in version 100"},
		{"of-a-later-release --allow-non-restored-state --data " + empty, "heat is stored in version 100"},
		{"good --force --data " + other, "it is another one"},
		{"good --force --data " + short, "it ends with block"},
		{"good --shards 1000 --data " + empty, "--shards 1000"},
		{"good --data " + filepath.Join(data, catalogFile), "want a directory"},
	} {
		args := append([]string{"savepoint", "restore", "--to", store}, strings.Fields(c.args)...)
		if _, err := run(t, t.Context(), args...); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("restore %s: %v, want %q", c.args, err, c.want)
		}
		if _, err := os.Stat(empty); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("restore %s left something: %v", c.args, err)
		}
	}
	if v := must[verifyResult](t, "verify", "--data", other); !v.Equal {
		t.Errorf("a refused restore has changed something: %+v", v)
	}
	lost := must[struct {
		Lost []string `json:"non_restored_stages"`
	}](t, "savepoint", "restore", "with-a-stage-more", "--allow-non-restored-state", "--data", empty, "--to", store).Lost
	if !slices.Equal(lost, []string{"of-another-release"}) {
		t.Errorf("lost %v", lost)
	}
	wantStages(t, empty, "of-another-release", false)
	s := started(t, testConfig(empty))
	if _, err := run(t, t.Context(), "savepoint", "restore", "good", "--force", "--data", empty, "--to", store); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("while a server runs: %v", err)
	}
	s.stop()
}

func wantStages(t *testing.T, data, stage string, want bool) {
	t.Helper()
	store, err := pebble.Open(filepath.Join(data, stateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	found := false
	err = store.Load(func(s string, _, _ []byte) error {
		found = found || s == stage
		return nil
	})
	if err != nil || found != want {
		t.Errorf("stage %s is there: %v, %v", stage, found, err)
	}
}

// The state of a user who was deleted after a savepoint does not come back with
// it: the log does not name the user any more, so it can not be replayed over it.
func TestSavepointsAndDeletedUsers(t *testing.T) {
	data := imported(t, 500)
	must[api.SavepointRecord](t, "savepoint", "create", "before", "--data", data)
	s := started(t, testConfig(data))
	ask(t, "POST", s.url+"/v1/events?wait=applied", `{"user_id":"gone","item_id":"i","event_type":"view","timestamp":1770000000000}`)
	if code, body := ask(t, "DELETE", s.url+"/v1/users/gone", ""); code != http.StatusOK {
		t.Errorf("%d %.300s", code, body)
	}
	s.stop()
	_, err := run(t, t.Context(), "savepoint", "restore", "before", "--force", "--data", data)
	if err == nil || !strings.Contains(err.Error(), "deletes a user") {
		t.Errorf("%v", err)
	}
	if v := must[verifyResult](t, "verify", "--data", data); !v.Equal {
		t.Errorf("%+v", v)
	}
	if _, err := run(t, t.Context(), "savepoint", "restore", "before", "--data", filepath.Join(t.TempDir(), "new"), "--from", filepath.Join(data, "savepoints")); err != nil {
		t.Error(err)
	}
}

// On an S3 server it is the same as on a disk.
func TestSavepointInS3Bucket(t *testing.T) {
	bucket := s3test.Start(t).Bucket(t)
	data := imported(t, 2000)
	cfg := testConfig(data)
	cfg.CheckpointStore = bucket
	s := started(t, cfg)
	made := must[api.SavepointRecord](t, "savepoint", "create", "in-a-bucket", "--url", s.url)
	s.stop()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	must[map[string]any](t, "savepoint", "restore", "in-a-bucket", "--data", elsewhere, "--from", bucket)
	wantEqual(t, "from a bucket", inspect(t, elsewhere, 3), replayed(t, data, made.Block))
	must[map[string]string](t, "savepoint", "dispose", "in-a-bucket", "--to", bucket)
	if _, err := os.Stat(filepath.Join(data, "savepoints")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the default store was used: %v", err)
	}
}
