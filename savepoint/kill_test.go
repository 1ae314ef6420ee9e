package savepoint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"millrace/objectstore/objectstoretest"
)

// resealed puts an envelope around a manifest.
func resealed(inner string) string {
	sum := sha256.Sum256([]byte(inner))
	return fmt.Sprintf("{\"sha256\":%q,\n\"manifest\":%s}\n", hex.EncodeToString(sum[:]), inner)
}

var errKilled = errors.New("killed")

// killed lets n operations of a store through. Then the process is dead: all
// others fail, before or after they have taken place.
func killed(m *objectstoretest.Memory, n int, after bool) {
	var mutex sync.Mutex
	dead := false
	count := func(string, string) error {
		mutex.Lock()
		defer mutex.Unlock()
		if n--; n < 0 {
			dead = true
		}
		if dead {
			return errKilled
		}
		return nil
	}
	if !after {
		m.Before = count
		return
	}
	m.After = count
	m.Before = func(string, string) error {
		mutex.Lock()
		defer mutex.Unlock()
		if dead {
			return errKilled
		}
		return nil
	}
}

// Killed at any step, whatever is done leaves whole savepoints and garbage: each
// that is listed can be fetched, what was there before and was not to go is
// there, and a later sweep leaves no file that nobody names.
func TestKillAtEveryStep(t *testing.T) {
	base := &objectstoretest.Memory{}
	s := New(base)
	create(t, s, Savepoint, "s1", 1, "1.sst=one", "2.sst=two")
	create(t, s, Checkpoint, "c2", 2, "2.sst=two", "3.sst=three")
	create(t, s, Checkpoint, "c3", 3, "3.sst=three", "4.sst=four")
	dir := snapshot(t, "4.sst=four", "5.sst=five", "6.sst=six", "MANIFEST=x")
	whole := map[string]string{
		"s1": "1.sst=one 2.sst=two", "c2": "2.sst=two 3.sst=three", "c3": "3.sst=three 4.sst=four",
		"new": "4.sst=four 5.sst=five 6.sst=six MANIFEST=x",
	}
	for name, op := range map[string]struct {
		run  func(s *Store) error
		gone string // what may be gone afterwards, and is if it succeeds
	}{
		"create":  {func(s *Store) error { _, err := s.Create(t.Context(), Savepoint, "new", dir, at(4)); return err }, ""},
		"dispose": {func(s *Store) error { return s.Dispose(t.Context(), "c2") }, "c2"},
		"retain":  {func(s *Store) error { _, err := s.Retain(t.Context(), 1); return err }, "c2"},
		"sweep":   {func(s *Store) error { _, err := s.Sweep(t.Context()); return err }, ""},
	} {
		for _, after := range []bool{false, true} {
			for step := 0; ; step++ {
				if step > 100 {
					t.Fatalf("%s does not end", name)
				}
				store := base.Clone()
				killed(store, step, after)
				err := op.run(New(store))
				about := fmt.Sprintf("%s killed at step %d, after it %v", name, step, after)
				checkWhole(t, about, store.Clone(), whole, op.gone, err == nil)
				if err == nil {
					break
				}
			}
		}
	}
}

// checkWhole checks a store after a process has died, as the next one finds it.
func checkWhole(t *testing.T, about string, store *objectstoretest.Memory, whole map[string]string, gone string, succeeded bool) {
	t.Helper()
	store.Now = func() time.Time { return time.Now().Add(time.Hour) } // the locks of the dead are old
	s := New(store)
	seen := map[string]bool{}
	check := func() int {
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		for _, e := range list {
			seen[e.ID] = true
			if got, err := fetched(t.Context(), t, s, e.ID); err != nil || got != whole[e.ID] {
				t.Errorf("%s: fetch %s: %q, %v", about, e.ID, got, err)
			}
		}
		return len(list)
	}
	before := check()
	for _, id := range []string{"s1", "c2", "c3"} {
		if !seen[id] && id != gone {
			t.Errorf("%s: %s is gone", about, id)
		}
	}
	if succeeded && gone != "" && seen[gone] {
		t.Errorf("%s: %s is still there", about, gone)
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Errorf("%s: sweep: %v", about, err)
	}
	if check() != before {
		t.Errorf("%s: sweep removed more than files", about)
	}
	named := map[string]bool{}
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		for _, f := range e.Manifest.Files {
			named[f.key()] = true
		}
	}
	if n := stored(t, store, sharedFolder); n != len(named) {
		t.Errorf("%s: after a sweep there are %d files, %d are named", about, n, len(named))
	}
	if n := stored(t, store, lockFolder); n != 0 {
		t.Errorf("%s: after a sweep there are %d locks", about, n)
	}
}

// Creates and disposals by several processes at a time never leave a savepoint
// without one of its files.
func TestConcurrentProcesses(t *testing.T) {
	objects := &objectstoretest.Memory{}
	var wait sync.WaitGroup
	for p := range 4 {
		dir := snapshot(t, "1.sst=shared by all", "2.sst=of some", fmt.Sprintf("3.sst=of %d", p%2))
		wait.Go(func() {
			s := New(objects) // as in a process of its own
			for i := range 12 {
				id := fmt.Sprintf("p%d-%d", p, i)
				if _, err := s.Create(t.Context(), Savepoint, id, dir, at(uint64(i))); err != nil {
					t.Error(err)
				}
				if _, err := s.Verify(t.Context(), id); err != nil {
					t.Error(err)
				}
				if err := s.Dispose(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if _, err := New(objects).Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if n := stored(t, objects, ""); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// A sweep gives way to who creates, a create waits for a sweep, and neither
// minds a process that ended long ago.
func TestLocks(t *testing.T) {
	objects := &objectstoretest.Memory{}
	now := time.Now()
	objects.Now = func() time.Time { return now }
	s := New(objects)
	_, creating, err := s.acquire(t.Context(), createLock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context()); !errors.Is(err, errBusy) {
		t.Errorf("sweep while somebody creates: %v", err)
	}
	_, second, err := s.acquire(t.Context(), createLock)
	if err != nil {
		t.Errorf("a second create: %v", err)
	}
	for _, l := range []*lock{creating, second} {
		if err := l.release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	_, sweeping, err := s.acquire(t.Context(), sweepLock)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Create(t.Context(), Savepoint, "a", snapshot(t, "f=x"), at(1))
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("a create did not wait for the sweep: %v", err)
	case <-time.After(2 * lockWait):
	}
	if err := sweeping.release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, kind := range []string{createLock, sweepLock} {
		held, dead, err := s.acquire(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * lockLife)
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Errorf("sweep after a %slock was left: %v", kind, err)
		}
		if held.Err() != nil {
			t.Error(held.Err())
		}
		if err := dead.release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
