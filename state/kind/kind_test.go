package kind

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/operator"
	"millrace/state"
)

func open(t *testing.T, name, dir string) state.Backend {
	t.Helper()
	b, err := Open(name, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func checkpoint(block uint64, pairs ...string) *state.Checkpoint {
	c := &state.Checkpoint{Block: block, Time: 5, Meta: []byte(fmt.Sprint("meta ", block)), Tables: []state.Table{{Stage: "a"}, {Stage: "b"}}}
	for i := 0; i < len(pairs); i += 2 {
		t := &c.Tables[i/2%2]
		t.Writes = append(t.Writes, operator.StateWrite{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return c
}

func contents(t *testing.T, b state.Backend) (string, map[string]string) {
	t.Helper()
	latest, err := b.Latest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	if err := b.Load(func(stage string, key, value []byte) error {
		all[stage+"/"+string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(latest.Block, latest.Time, string(latest.Meta)), all
}

func TestCopy(t *testing.T) {
	for _, from := range []string{Pebble, File, Memory} {
		for _, to := range []string{Pebble, File, Memory} {
			a, b := open(t, from, t.TempDir()), open(t, to, t.TempDir())
			if err := Copy(a, b); !errors.Is(err, state.ErrNone) {
				t.Errorf("%s to %s: nothing: %v", from, to, err)
			}
			for _, c := range []*state.Checkpoint{checkpoint(3, "x", "1", "y", "2", "z", "3", "empty", ""), checkpoint(7, "x", "4")} {
				if _, err := a.Commit(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := Copy(a, b); err != nil {
				t.Fatal(err)
			}
			record, want := contents(t, a)
			if got, keys := contents(t, b); got != record || !maps.Equal(keys, want) || len(keys) != 4 {
				t.Errorf("%s to %s: %s %v, want %s %v", from, to, got, keys, record, want)
			}
		}
	}
}

// moving is a backend that is committed to while it is read.
type moving struct {
	state.Backend
	t     *testing.T
	moves int
}

func (m *moving) Load(fn func(stage string, key, value []byte) error) error {
	if m.moves--; m.moves >= 0 {
		if _, err := m.Commit(checkpoint(uint64(10-m.moves), "x", fmt.Sprint(m.moves))); err != nil {
			m.t.Fatal(err)
		}
	}
	return m.Backend.Load(fn)
}

// A copy is of one checkpoint, whatever is committed meanwhile.
func TestCopyIsOfOneCheckpoint(t *testing.T) {
	a, b := &moving{Backend: open(t, Memory, ""), t: t, moves: 3}, open(t, Memory, "")
	if _, err := a.Commit(checkpoint(1, "x", "first")); err != nil {
		t.Fatal(err)
	}
	if err := Copy(a, b); err != nil {
		t.Fatal(err)
	}
	if record, keys := contents(t, b); !strings.HasPrefix(record, "10 ") || !strings.HasSuffix(record, "meta 10") || keys["a/x"] != "0" {
		t.Errorf("%s %v", record, keys)
	}
}

// A directory belongs to one kind of backend, and the others refuse it.
func TestOf(t *testing.T) {
	for _, own := range []string{Pebble, File} {
		dir := filepath.Join(t.TempDir(), "state")
		if of, err := Of(dir); of != "" || err != nil {
			t.Errorf("no directory: %q, %v", of, err)
		}
		b := open(t, own, dir)
		if _, err := b.Commit(checkpoint(1, "x", "1")); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if of, err := Of(dir); of != own || err != nil {
			t.Errorf("%s: %q, %v", own, of, err)
		}
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		other := map[string]string{Pebble: File, File: Pebble}[own]
		if _, err := Open(other, dir, Options{}); !errors.Is(err, state.ErrOtherBackend) {
			t.Errorf("%s opens a directory of %s: %v", other, own, err)
		}
		after, err := os.ReadDir(dir)
		if err != nil || len(after) != len(before) {
			t.Errorf("%s has changed a directory of %s: %v to %v", other, own, before, after)
		}
		if _, keys := contents(t, open(t, own, dir)); keys["a/x"] != "1" {
			t.Errorf("%s: %v", own, keys)
		}
	}
	if _, err := Open("rocksdb", t.TempDir(), Options{}); err == nil || Known("rocksdb") || !Known(File) {
		t.Error("there is a backend rocksdb")
	}
}
