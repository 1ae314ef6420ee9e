package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"millrace/operator"
	"millrace/state"
	"millrace/state/statetest"
)

// A snapshot holds what was committed when it was made, whatever is committed,
// dropped and compacted afterwards, and is a state directory like any other.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	b := open(t, filepath.Join(dir, "state"), nil)
	b.tableBytes = 8 << 10
	if _, err := b.Snapshot(filepath.Join(dir, "none")); !errors.Is(err, state.ErrNone) {
		t.Errorf("snapshot of nothing: %v, want ErrNone", err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	now := map[string]string{}
	wants := map[string]map[string]string{}
	for block := range uint64(8) {
		c := &state.Checkpoint{Block: block, Time: 7, Meta: fmt.Append(nil, "meta", block), Tables: []state.Table{{Stage: "s"}}}
		for range 100 {
			w := statetest.Write(fmt.Sprint("k", random.IntN(300)), statetest.Incompressible(200))
			now[string(w.Key)] = string(w.Value)
			c.Tables[0].Writes = append(c.Tables[0].Writes, w)
		}
		if _, err := b.Commit(c); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint("snapshot", block))
		at, err := b.Snapshot(name)
		if err != nil || at.Block != block || at.Time != 7 || string(at.Meta) != fmt.Sprint("meta", block) {
			t.Fatalf("snapshot of block %d: %+v, %v", block, at, err)
		}
		wants[name] = maps.Clone(now)
	}
	if _, err := b.Snapshot(filepath.Join(dir, "snapshot0")); err == nil {
		t.Error("a snapshot into a directory that is there")
	}
	if err := errors.Join(b.Drop("s"), b.Compact()); err != nil {
		t.Fatal(err)
	}
	for name, want := range wants {
		for _, o := range []Options{{ReadOnly: true}, {}} {
			s, err := Open(name, o)
			if err != nil {
				t.Fatal(err)
			}
			latest, err := s.Latest()
			if err != nil || filepath.Join(dir, fmt.Sprint("snapshot", latest.Block)) != name {
				t.Errorf("%s holds %+v, %v", name, latest, err)
			}
			if got, err := statetest.Contents(s); err != nil || !maps.Equal(got, want) {
				t.Errorf("%s: %d keys, %v; want %d", name, len(got), err, len(want))
			}
			_, err = s.Commit(&state.Checkpoint{Block: 100, Tables: []state.Table{{Stage: "s", Writes: []operator.StateWrite{statetest.Write("k", "v")}}}})
			if (err == nil) == o.ReadOnly {
				t.Errorf("commit, read-only %v: %v", o.ReadOnly, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Opening for reading leaves every file as it is.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none"), Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	b := open(t, filepath.Join(dir, "state"), nil)
	statetest.Commit(t, b, 1, statetest.Write("k", "v"))
	name := filepath.Join(dir, "snapshot")
	if _, err := b.Snapshot(name); err != nil {
		t.Fatal(err)
	}
	before := files(t, name)
	s, err := Open(name, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, Options{ReadOnly: true}); !errors.Is(err, state.ErrInUse) {
		t.Errorf("opened twice: %v, want ErrInUse", err)
	}
	if err := errors.Join(s.Drop("s"), s.Close()); !errors.Is(err, pebble.ErrReadOnly) {
		t.Errorf("drop: %v, want that it is read-only", err)
	}
	after := files(t, name)
	delete(after, "LOCK")
	if !maps.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// Snapshots while others commit are each of one checkpoint.
func TestSnapshotWhileCommitting(t *testing.T) {
	dir := t.TempDir()
	b := open(t, filepath.Join(dir, "state"), nil)
	statetest.Commit(t, b, 0, statetest.Write("a", "0"), statetest.Write("b", "0"))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for block := uint64(1); ; block++ {
			select {
			case <-stop:
				return
			default:
				statetest.Commit(t, b, block, statetest.Write("a", fmt.Sprint(block)), statetest.Write("b", fmt.Sprint(block)))
			}
		}
	})
	for i := range 20 {
		name := filepath.Join(dir, fmt.Sprint("snapshot", i))
		at, err := b.Snapshot(name)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, name, nil)
		got, err := statetest.Contents(s)
		if want := fmt.Sprint(at.Block); err != nil || got["a"] != want || got["b"] != want {
			t.Errorf("of block %s: %v, %v", want, got, err)
		}
	}
	close(stop)
	wait.Wait()
}
