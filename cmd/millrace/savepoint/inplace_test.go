package savepoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/objectstore"
	"millrace/objectstore/directory"
	"millrace/operator"
	savepoints "millrace/savepoint"
	"millrace/serve/api"
	"millrace/state"
	"millrace/state/pebble"
)

// slow is an object store whose shared files are given once it is told so.
type slow struct {
	objectstore.Store
	asked, give chan struct{}
}

func (s *slow) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if strings.HasPrefix(key, "shared/") {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		select {
		case <-s.give:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Get(ctx, key)
}

// world is a data directory with a log of three blocks, and a savepoint "one" of
// the first block.
type world struct {
	data    string
	log     *eventlog.Log
	slow    *slow
	service *Service
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{data: t.TempDir()}
	var err error
	if w.log, err = eventlog.Open(filepath.Join(w.data, LogFolder), eventlog.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	for n := range 3 {
		w.append(t, eventlog.Events, event.AppendEvent(nil, &event.Event{User: "u", Item: fmt.Sprint(n), Type: event.TypeView, Time: 1}))
	}
	objects, err := directory.Open(filepath.Join(w.data, StoreFolder))
	if err != nil {
		t.Fatal(err)
	}
	w.slow = &slow{objects, make(chan struct{}, 1), make(chan struct{})}
	store := savepoints.New(w.slow)
	backend, err := pebble.Open(filepath.Join(w.data, StateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = backend.Commit(&state.Checkpoint{Block: 1, Tables: []state.Table{{Stage: "s", Writes: []operator.StateWrite{{Key: []byte("k"), Value: []byte("v")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	if _, err = backend.Snapshot(snapshot); err == nil {
		err = backend.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := blockTime(w.log, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), savepoints.Savepoint, "one", snapshot, savepoints.Contents{Block: 1, BlockTime: at}); err != nil {
		t.Fatal(err)
	}
	w.service = NewService(ServiceOptions{Store: store, Data: w.data, Log: w.log, Restores: NewRestores()})
	t.Cleanup(w.service.Close)
	return w
}

func (w *world) append(t *testing.T, kind eventlog.Kind, payload []byte) {
	t.Helper()
	b := eventlog.Block{Kind: kind, Time: w.log.LastTime() + 1, Count: 1, Payload: payload}
	if err := w.log.Append(&b); err != nil {
		t.Fatal(err)
	}
}

// last is the last restore.
func (w *world) last() RestoreStatus {
	list := w.service.options.Restores.List()
	return list[len(list)-1]
}

// While a savepoint is being restored nothing else is begun, and clients are
// told so.
func TestOneRestoreAtATime(t *testing.T) {
	w := newWorld(t)
	begun, err := w.service.Restore(t.Context(), "one", false)
	if err != nil || begun.Progress != InProgress || begun.Savepoint != "one" {
		t.Fatalf("%+v, %v", begun, err)
	}
	<-w.slow.asked
	a := API{w.service}
	_, restore := a.Restore(t.Context(), "one", false)
	_, create := a.Create(t.Context(), "two")
	for doing, err := range map[string]error{"restore": restore, "create": create, "dispose": a.Dispose(t.Context(), "one")} {
		if !errors.Is(err, ErrRestoring) || !errors.Is(err, api.ErrSavepointConflict) || !strings.Contains(err.Error(), "a savepoint is being restored: one") {
			t.Errorf("%s: %v", doing, err)
		}
	}
	if r, err := a.GetRestore(begun.ID); err != nil || r.State != "in_progress" || !r.Finished.IsZero() || len(a.Restores()) != 1 {
		t.Errorf("%+v, %v", r, err)
	}

	// It is broken off when the server stops, before or after it was fetched.
	w.service.Close()
	if r, err := a.GetRestore(begun.ID); err != nil || r.State != "failed" || r.Reason != "the server was stopped" || r.Finished.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := w.service.Restore(t.Context(), "one", false); !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("of a closed one: %v", err)
	}
	w = newWorld(t)
	close(w.slow.give)
	if _, err := w.service.Restore(t.Context(), "one", false); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(w.service.fetched) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	w.service.Close()
	if r := w.last(); r.Progress != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("%+v", r)
	}
	w.wantUntouched(t)
}

// A savepoint that is being made is not restored, nor is anything else then.
func TestNoRestoreWhileASavepointIsMade(t *testing.T) {
	w := newWorld(t)
	w.service.mutex.Lock()
	w.service.current = "two"
	w.service.mutex.Unlock()
	for _, id := range []string{"one", "two"} {
		_, err := API{w.service}.Restore(t.Context(), id, false)
		if !errors.Is(err, ErrBusy) || !errors.Is(err, api.ErrSavepointConflict) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// wantUntouched demands that the state is there and nothing beside it.
func (w *world) wantUntouched(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(w.data, "state*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != StateFolder {
		t.Errorf("%v, %v", left, err)
	}
}

// What happens while it is fetched is seen before anything is replaced: a user
// was deleted.
func TestUserDeletedWhileItIsFetched(t *testing.T) {
	w := newWorld(t)
	if _, err := w.service.Restore(t.Context(), "one", false); err != nil {
		t.Fatal(err)
	}
	<-w.slow.asked
	w.append(t, eventlog.Catalogue, event.AppendChange(nil, &event.Change{Kind: event.DeleteUser, User: &event.User{ID: "u"}}))
	close(w.slow.give)
	r := <-w.service.Fetched()
	w.service.Close()
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	restores := w.service.options.Restores
	restores.Take(r)
	restores.Run(t.Context())
	restores.Opened(nil)
	status := w.last()
	if said := status.api(); status.Progress != Failed || !errors.Is(status.Err, ErrNotItsLog) || !strings.Contains(said.Reason, "block 4 deletes a user") {
		t.Errorf("%+v, %+v", status, said)
	}
	w.wantUntouched(t)
}

// The latest are remembered, the others forgotten.
func TestLatestRestoresAreRemembered(t *testing.T) {
	l := NewRestores()
	for n := range keptRestores + 5 {
		s := l.begin(fmt.Sprint(n))
		l.finish(&Restoring{restore: s.ID, logger: quiet(nil)}, fs.ErrInvalid)
	}
	if list := l.List(); len(list) != keptRestores || list[0].Savepoint != "5" || list[keptRestores-1].Savepoint != fmt.Sprint(keptRestores+4) {
		t.Errorf("%d: %+v", len(list), list[0])
	}
	l.Run(t.Context()) // nothing is pending
	l.Opened(os.ErrInvalid)
}
