package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/operator"
	"millrace/serve/api"
	"millrace/state"
	"millrace/state/kind"
	statememory "millrace/state/memory"
)

// restoreOf asks a server to restore, and waits until it has.
func restoreOf(t *testing.T, s *testServer, savepoint, body string) api.RestoreRecord {
	t.Helper()
	code, answer := ask(t, "POST", s.url+"/v1/savepoints/"+savepoint+"/restore", body)
	if code != http.StatusAccepted || !strings.Contains(answer, `"state":"in_progress"`) {
		t.Fatalf("%d %s", code, answer)
	}
	id := strings.Split(answer, `"`)[3]
	await(t, "restored", func() bool {
		code, answer = ask(t, "GET", s.url+"/v1/restores/"+id, "")
		return code != http.StatusServiceUnavailable && !strings.Contains(answer, "in_progress")
	})
	return get[api.RestoreRecord](t, s.url+"/v1/restores/"+id)
}

// mistaken puts state into a directory that its log does not give, as after a
// mistake in an operator.
func mistaken(t *testing.T, data string) {
	t.Helper()
	commit(t, data, func(_ *state.Checkpoint, values map[string][]byte) []state.Table {
		return []state.Table{{Stage: "profile", Writes: []operator.StateWrite{{Key: []byte("nobody"), Value: values["profile"]}}}}
	})
}

// writers send events to a server, each again while it is starting.
type writers struct{ acknowledged, unavailable atomic.Uint64 }

// start has three of them write until stop is called, which waits for them.
func (w *writers) start(t *testing.T, url string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for user := range 3 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil && w.write(ctx, t, url, user, n); n++ {
				continue
			}
		})
	}
	return func() { cancel(); load.Wait() }
}

// write sends one event until it is acknowledged, or ctx ends. It is false
// after an answer that nobody should get.
func (w *writers) write(ctx context.Context, t *testing.T, url string, user, n int) bool {
	e := fmt.Sprintf(`{"event_id":"%d-%d","user_id":"w%d","item_id":"i","event_type":"click","timestamp":%d}`, user, n, user, 1_770_000_100_000+n*10)
	for ctx.Err() == nil || n == 0 {
		r, err := http.Post(url+"/v1/events", "", strings.NewReader(e))
		if err != nil {
			t.Errorf("no answer: %v", err)
			return false
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			if !strings.Contains(string(body), `"duplicates":1`) {
				w.acknowledged.Add(1)
			}
			return true
		}
		if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s", r.Status, body)
			return false
		}
		w.unavailable.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
	return true
}

// A server that is asked to restores a savepoint under load: the log after it is
// replayed, so that nothing that was acknowledged is lost, and the answers are
// those of before but for the mistake that it mends. Meanwhile everybody is
// answered, if only with a 503.
func TestRestoreOfAServerUnderLoad(t *testing.T) {
	data := imported(t, 2000)
	made := must[api.SavepointRecord](t, "savepoint", "create", "early", "--data", data)
	mistaken(t, data)
	s := started(t, testConfig(data))
	post(t, s, 200)
	if _, body := ask(t, "GET", s.url+"/v1/users/nobody/profile", ""); !strings.Contains(body, `"last_updated":"`) {
		t.Errorf("there is nothing to mend: %.300s", body)
	}
	const answer = "/v1/users/late-1/recommendations?n=5"
	before := get[struct {
		Recommendations []struct {
			ItemID string `json:"item_id"`
		}
	}](t, s.url+answer)

	var w writers
	stop := w.start(t, s.url)
	await(t, "load", func() bool { return w.acknowledged.Load() > 50 })
	done := must[restoreResultJSON](t, "savepoint", "restore", "early", "--url", s.url)
	during := w.acknowledged.Load()
	await(t, "load afterwards", func() bool { return w.acknowledged.Load() > during+50 })
	stop()

	if done.ID != "early" || done.Server != s.url || done.Block != made.Block || done.Events != made.Events || done.Keys == 0 || done.Replayed == 0 || done.Restore == "" {
		t.Errorf("%+v, made %+v", done, made)
	}
	record := get[api.RestoreRecord](t, s.url+"/v1/restores/"+done.Restore)
	list := get[struct{ Restores []api.RestoreRecord }](t, s.url+"/v1/restores").Restores
	if record.State != "completed" || *record.Replayed != done.Replayed || record.Finished == "" || len(list) != 1 || list[0].ID != done.Restore {
		t.Errorf("%+v, list %+v", record, list)
	}
	if w.unavailable.Load() == 0 {
		t.Error("nobody saw the server start again: the test tests little")
	}
	after := get[struct {
		Recommendations []struct {
			ItemID string `json:"item_id"`
		}
	}](t, s.url+answer)
	if len(before.Recommendations) == 0 || len(after.Recommendations) != len(before.Recommendations) {
		t.Errorf("recommendations %+v, before %+v", after, before)
	}
	if _, body := ask(t, "GET", s.url+"/v1/users/nobody/profile", ""); strings.Contains(body, `"last_updated":"`) {
		t.Errorf("the mistake is there: %.300s", body)
	}
	// It goes on as any other: the next savepoint, another restore, a start.
	must[api.SavepointRecord](t, "savepoint", "create", "late", "--url", s.url)
	if r := restoreOf(t, s, "late", ""); r.State != "completed" || r.Reason != "" {
		t.Errorf("%+v", r)
	}
	s.stop()
	wantNoLeftovers(t, data)
	verified(t, data, 2000+200+w.acknowledged.Load())
}

// restoreResultJSON is what millrace savepoint restore --json prints.
type restoreResultJSON struct {
	ID       string
	Server   string
	Restore  string `json:"restore_id"`
	Block    uint64
	Events   uint64
	Keys     int
	Replayed uint64   `json:"blocks_replayed"`
	Lost     []string `json:"non_restored_stages"`
}

// wantNoLeftovers demands that a directory has nothing of a restore.
func wantNoLeftovers(t *testing.T, data string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(data, "state.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What can be seen to be refused is refused at once, and nothing is stopped.
func TestRefusedRestoresOfAServer(t *testing.T) {
	data := imported(t, 1000)
	must[api.SavepointRecord](t, "savepoint", "create", "good", "--data", data)
	other := filepath.Join(t.TempDir(), "other")
	started(t, testConfig(other)).stop()
	must[api.SavepointRecord](t, "savepoint", "create", "of-another-log", "--data", other, "--to", filepath.Join(data, "savepoints"))
	write := func(stage string, version byte, name string) {
		commit(t, data, func(*state.Checkpoint, map[string][]byte) []state.Table {
			return []state.Table{{Stage: stage, Writes: []operator.StateWrite{{Key: []byte("k"), Value: []byte{version, 0}}}}}
		})
		must[api.SavepointRecord](t, "savepoint", "create", name, "--data", data)
	}
	write("of-another-release", 1, "with-a-stage-more")
	commit(t, data, func(*state.Checkpoint, map[string][]byte) []state.Table { // so that the server starts
		return []state.Table{{Stage: "of-another-release", Writes: []operator.StateWrite{{Key: []byte("k")}}}}
	})
	s := started(t, testConfig(data))
	for _, c := range []struct {
		id, body, want string
		status         int
	}{
		{"unknown", "", "there is no such savepoint", 404},
		{"A%20b", "", "id: expected 1 to 64", 400},
		{"good", `{"force":true}`, "allow_non_restored_state", 400},
		{"of-another-log", "", "it is another one", 409},
		{"with-a-stage-more", "", "no stage for stored state: of-another-release; allow_non_restored_state drops it", 409},
		{"with-a-stage-more", `{"allow_non_restored_state":false}`, "no stage for stored state", 409},
	} {
		code, body := ask(t, "POST", s.url+"/v1/savepoints/"+c.id+"/restore", c.body)
		if code != c.status || !strings.Contains(body, c.want) || strings.Contains(body, data) {
			t.Errorf("%s %s: %d %s, want %d %s", c.id, c.body, code, body, c.status, c.want)
		}
	}
	if code, body := ask(t, "GET", s.url+"/v1/restores/restore-x", ""); code != 404 || !strings.Contains(body, "no such restore") {
		t.Errorf("%d %s", code, body)
	}
	if _, err := run(t, t.Context(), "savepoint", "restore", "unknown", "--url", s.url); err == nil || !strings.Contains(err.Error(), "there is no such savepoint") {
		t.Errorf("%v", err)
	}
	if list := get[struct{ Restores []any }](t, s.url+"/v1/restores").Restores; len(list) > 0 || strings.Contains(s.log.String(), "starting again") {
		t.Errorf("%v; %s", list, s.log)
	}
	done := must[restoreResultJSON](t, "savepoint", "restore", "with-a-stage-more", "--allow-non-restored-state", "--url", s.url)
	if !slices.Equal(done.Lost, []string{"of-another-release"}) {
		t.Errorf("%+v", done)
	}
	post(t, s, 1)
	if code, body := ask(t, "DELETE", s.url+"/v1/users/late-0", ""); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	if code, body := ask(t, "POST", s.url+"/v1/savepoints/good/restore", ""); code != 409 || !strings.Contains(body, "deletes a user, who would be back") {
		t.Errorf("%d %s", code, body)
	}
	s.stop()
	wantStages(t, data, "of-another-release", false)
	write("heat", 100, "of-a-later-release")
	mended := imported(t, 1000)
	if err := os.CopyFS(filepath.Join(mended, "savepoints"), os.DirFS(filepath.Join(data, "savepoints"))); err != nil {
		t.Fatal(err)
	}
	s = started(t, testConfig(mended))
	for _, body := range []string{"", `{"allow_non_restored_state":true}`} {
		if code, body := ask(t, "POST", s.url+"/v1/savepoints/of-a-later-release/restore", body); code != 409 || !strings.Contains(body, "stored in version 100") {
			t.Errorf("%d %s", code, body)
		}
	}
	s.stop()
}

// A server whose state is in memory has nothing that a savepoint could replace.
func TestRestoreOfAServerWithStateInMemory(t *testing.T) {
	s := started(t, withState(filepath.Join(t.TempDir(), "data"), kind.Memory))
	post(t, s, 5)
	must[api.SavepointRecord](t, "savepoint", "create", "mine", "--url", s.url)
	if code, body := ask(t, "POST", s.url+"/v1/savepoints/mine/restore", ""); code != 409 || !strings.Contains(body, "keeps its state in memory") {
		t.Errorf("%d %s", code, body)
	}
}

// State of another backend than the one that the server keeps it in is converted.
func TestRestoreOfAServerWithStateInFiles(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := started(t, withState(data, kind.File))
	post(t, s, 5)
	must[api.SavepointRecord](t, "savepoint", "create", "mine", "--url", s.url)
	post(t, s, 7)
	if r := restoreOf(t, s, "mine", ""); r.State != "completed" || *r.Replayed == 0 {
		t.Errorf("%+v", r)
	}
	post(t, s, 3)
	s.stop()
	wantNoLeftovers(t, data)
	verified(t, data, 15)
}

// What is damaged is found before anything is stopped.
func TestRestoreOfADamagedSavepoint(t *testing.T) {
	data := imported(t, 1000)
	s := started(t, testConfig(data))
	must[api.SavepointRecord](t, "savepoint", "create", "mine", "--url", s.url)
	if flip(t, filepath.Join(data, "savepoints", "shared", "*", "*"), middle) == 0 {
		t.Fatal("there is nothing to damage")
	}
	r := restoreOf(t, s, "mine", "")
	if r.State != "failed" || r.Reason != "what is stored is damaged" || r.Replayed != nil {
		t.Errorf("%+v", r)
	}
	_, err := run(t, t.Context(), "savepoint", "restore", "mine", "--url", s.url)
	plain(t, err, "mine was not restored, the server has the state from before: what is stored is damaged")
	if log := s.log.String(); strings.Contains(log, "starting again") || strings.Count(log, "savepoint not restored") != 2 {
		t.Errorf("%s", log)
	}
	post(t, s, 3)
	s.stop()
	wantNoLeftovers(t, data)
	verified(t, data, 1003)
}

// unreadable is a backend that can not be loaded once it is told so.
type unreadable struct {
	state.Backend
	times *atomic.Int32
	err   error
}

func (u *unreadable) Load(fn func(stage string, key, value []byte) error) error {
	if u.times.Add(-1) >= 0 {
		return u.err
	}
	return u.Backend.Load(fn)
}

// If the server can not go on from what was restored, the state from before is
// back, and the restore says why.
func TestRestoreThatCanNotBeOpened(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("no"), "the server's log says why"},
		{fmt.Errorf("sst: %w", state.ErrCorrupt), "what is stored is damaged"}, // which a stored checkpoint would help against
	} {
		data := imported(t, 1000)
		must[api.SavepointRecord](t, "savepoint", "create", "early", "--data", data)
		mistaken(t, data) // by which the state from before is known
		var times atomic.Int32
		cfg := testConfig(data)
		cfg.wrapState = func(b state.Backend) state.Backend { return &unreadable{b, &times, c.err} }
		s := started(t, cfg)
		post(t, s, 20)
		times.Store(1)
		r := restoreOf(t, s, "early", "")
		if r.State != "failed" || !strings.Contains(r.Reason, "the state from before is back: "+c.want) {
			t.Errorf("%+v", r)
		}
		if log := s.log.String(); !strings.Contains(log, "going on from the state before it") || !strings.Contains(log, "savepoint not restored") || strings.Contains(log, "a stored checkpoint") {
			t.Errorf("%s", log)
		}
		if _, body := ask(t, "GET", s.url+"/v1/users/nobody/profile", ""); !strings.Contains(body, `"last_updated":"`) {
			t.Errorf("it is another state: %.300s", body)
		}
		post(t, s, 5)
		if r := restoreOf(t, s, "early", ""); r.State != "completed" {
			t.Errorf("the next one: %+v", r)
		}
		s.stop()
		wantNoLeftovers(t, data)
		verified(t, data, 1025)
	}
}

// Whatever a restore has done when its process ends, the directory starts, with
// the one state or the other.
func TestProcessEndsWhileItRestores(t *testing.T) {
	const incoming, restored, replaced = "state.incoming", "state.restored", "state.replaced"
	old := imported(t, 1000)
	must[api.SavepointRecord](t, "savepoint", "create", "early", "--data", old)
	fetched := filepath.Join(t.TempDir(), "fetched")
	must[map[string]any](t, "savepoint", "restore", "early", "--data", fetched, "--from", filepath.Join(old, "savepoints"))
	s := started(t, testConfig(old))
	post(t, s, 30)
	s.stop()
	copyTo := func(data, from, name string) {
		if err := os.CopyFS(filepath.Join(data, name), os.DirFS(filepath.Join(from, stateFolder))); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ state, incoming, restored, replaced string }{
		"fetching":           {state: old, incoming: fetched},
		"in place":           {state: old, restored: fetched},
		"old one set aside":  {restored: fetched, replaced: old},
		"new one named":      {state: fetched, replaced: old},
		"undoing":            {state: fetched, restored: old},
		"undone but for one": {restored: old},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(old)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(data, stateFolder)); err != nil {
				t.Fatal(err)
			}
			for folder, from := range map[string]string{stateFolder: c.state, incoming: c.incoming, restored: c.restored, replaced: c.replaced} {
				if from != "" {
					copyTo(data, from, folder)
				}
			}
			s := started(t, testConfig(data))
			post(t, s, 1)
			s.stop()
			wantNoLeftovers(t, data)
			verified(t, data, 1031)
		})
	}
	// Killed before the restored state was opened, which then can not be.
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	copyTo(data, old, replaced)
	flip(t, filepath.Join(data, stateFolder, "MANIFEST-*"), middle)
	s = started(t, testConfig(data))
	if log := s.log.String(); !strings.Contains(log, "going on from the state before it") {
		t.Errorf("%s", log)
	}
	s.stop()
	wantNoLeftovers(t, data)
	verified(t, data, 1030)
}

// A server that is killed at random moments while it restores, under load, loses
// nothing that it acknowledged.
func TestKillWhileItRestores(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{t: t, random: rand.New(rand.NewPCG(seed, 2)), data: t.TempDir(), binary: buildBinary(t), acked: map[int]bool{}}
	asked := 0
	for round := range max(4, killRounds()/4) {
		server := k.start()
		if !k.ready() {
			_ = server.Process.Kill()
			return
		}
		k.checkAcked()
		name := fmt.Sprint("round-", round)
		k.post(t.Context())
		must[api.SavepointRecord](t, "savepoint", "create", name, "--url", k.url)
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for range 2 {
			writers.Go(func() {
				for ctx.Err() == nil {
					k.post(ctx)
					time.Sleep(time.Millisecond) // each 503 is a batch that settle sends
				}
			})
		}
		time.Sleep(30 * time.Millisecond)
		if code, body := ask(t, "POST", k.url+"/v1/savepoints/"+name+"/restore", ""); code == http.StatusAccepted {
			asked++
		} else {
			t.Errorf("%d %s", code, body)
		}
		time.Sleep(time.Duration(k.random.IntN(150)) * time.Millisecond)
		_ = server.Process.Kill()
		stop()
		writers.Wait()
		_ = server.Wait()
		if t.Failed() {
			return
		}
	}
	k.settle()
	result, err := verify(context.Background(), k.data, 1+k.random.IntN(6), statememory.New())
	if err != nil || !result.Equal {
		t.Errorf("after %d restores and kills: %+v, %v", asked, result, err)
	}
	wantNoLeftovers(t, k.data)
}
