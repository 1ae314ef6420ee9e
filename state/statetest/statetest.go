// Package statetest is what every state.Backend must do, as tests. A backend
// passes it by calling Run from a test of its own, and Crash if it claims to
// survive a power cut.
package statetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

// Harness is how the tests come by backends.
type Harness struct {
	// New makes an empty place and returns how it is opened, again and again,
	// but not twice at a time.
	New func(t *testing.T) (open func() (state.Backend, error))
	// Keeps says that a place, opened again, has what was committed.
	Keeps bool
}

// Run tests the backends of a harness.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(t *testing.T, b state.Backend)
	}{
		{"nothing committed", testEmpty},
		{"commits merge", testMerge},
		{"any bytes are a key and a value", testBytes},
		{"stages do not mix", testStages},
		{"names of stages", testStageNames},
		{"order of blocks", testBlockOrder},
		{"block, time and meta", testLatest},
		{"memory is not shared", testMemory},
		{"load in order", testLoad},
		{"drop a stage", testDrop},
		{"compact", testCompact},
		{"size", testSize},
		{"closed", testClosed},
		{"load sees whole checkpoints", testLoadIsAtomic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, opened(t, h.New(t))) })
	}
	t.Run("agrees with a model", func(t *testing.T) { testModel(t, h) })
	if h.Keeps {
		t.Run("open again", func(t *testing.T) { testReopen(t, h.New(t)) })
		t.Run("in use", func(t *testing.T) { testInUse(t, h.New(t)) })
	}
}

func opened(t *testing.T, open func() (state.Backend, error)) state.Backend {
	t.Helper()
	b, err := open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// table makes a table from "key=value" and "-key", which deletes.
func table(stage string, writes ...string) state.Table {
	t := state.Table{Stage: stage}
	for _, w := range writes {
		if key, deletes := strings.CutPrefix(w, "-"); deletes {
			t.Writes = append(t.Writes, operator.StateWrite{Key: []byte(key)})
			continue
		}
		key, value, _ := strings.Cut(w, "=")
		t.Writes = append(t.Writes, operator.StateWrite{Key: []byte(key), Value: []byte(value)})
	}
	return t
}

func commit(t testing.TB, b state.Backend, block uint64, tables ...state.Table) {
	t.Helper()
	c := &state.Checkpoint{Block: block, Tables: tables}
	n, err := b.Commit(c)
	if err != nil {
		t.Fatalf("commit block %d: %v", block, err)
	}
	if n != c.Bytes() {
		t.Errorf("commit block %d: %d bytes, want %d", block, n, c.Bytes())
	}
}

// contents lists a backend as "stage/key=value stage/key=value".
func contents(t testing.TB, b state.Backend) string {
	t.Helper()
	var list []string
	err := b.Load(func(stage string, key, value []byte) error {
		list = append(list, fmt.Sprintf("%s/%s=%s", stage, key, value))
		return nil
	})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return strings.Join(list, " ")
}

func wantContents(t testing.TB, b state.Backend, about, want string) {
	t.Helper()
	if got := contents(t, b); got != want {
		t.Errorf("%s: %q, want %q", about, got, want)
	}
}

func testEmpty(t *testing.T, b state.Backend) {
	if c, err := b.Latest(); !errors.Is(err, state.ErrNone) {
		t.Errorf("latest: %v, %v; want ErrNone", c, err)
	}
	if _, err := b.Get("s", []byte("a")); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("get: %v, want ErrNotFound", err)
	}
	if err := b.Drop("s"); err != nil {
		t.Errorf("drop: %v", err)
	}
	if err := b.Compact(); err != nil {
		t.Errorf("compact: %v", err)
	}
	wantContents(t, b, "empty", "")
}

func testMerge(t *testing.T, b state.Backend) {
	type tables = []state.Table
	steps := []struct {
		about  string
		tables tables
		want   string
	}{
		{"put", tables{table("s", "b=2", "a=1")}, "s/a=1 s/b=2"},
		{"add and replace", tables{table("s", "c=3", "a=4")}, "s/a=4 s/b=2 s/c=3"},
		{"delete", tables{table("s", "-b")}, "s/a=4 s/c=3"},
		{"delete what is not there", tables{table("s", "-b", "-x"), table("t", "-a")}, "s/a=4 s/c=3"},
		{"nothing", nil, "s/a=4 s/c=3"},
		{"empty table", tables{table("s")}, "s/a=4 s/c=3"},
		{"two tables of a stage", tables{table("s", "d=5"), table("t", "a=6"), table("s", "b=7", "-c")},
			"s/a=4 s/b=7 s/d=5 t/a=6"},
		{"the last write of a key counts", tables{table("s", "a=8", "b=9", "a=10", "-d"), table("s", "-b", "d=11")},
			"s/a=10 s/d=11 t/a=6"},
		{"put again", tables{table("s", "b=12")}, "s/a=10 s/b=12 s/d=11 t/a=6"},
		{"delete all", tables{table("t", "-a"), table("s", "-a", "-b", "-d")}, ""},
	}
	for i, step := range steps {
		commit(t, b, uint64(i), step.tables...)
		wantContents(t, b, step.about, step.want)
		if c, err := b.Latest(); err != nil || c.Block != uint64(i) {
			t.Errorf("%s: latest %v, %v; want block %d", step.about, c, err, i)
		}
	}
}

func testBytes(t *testing.T, b state.Backend) {
	keys := []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x00b", "a\x01", "ab", "\x7f", "ä", "\xff", "\xff\xff",
		strings.Repeat("k", 100_000)}
	values := []string{"", "\x00", "v", strings.Repeat("v", 1<<20)}
	want := map[string]string{}
	var writes []operator.StateWrite
	for i, key := range keys {
		want[key] = values[i%len(values)]
		writes = append(writes, operator.StateWrite{Key: []byte(key), Value: []byte(want[key])})
	}
	slices.Reverse(writes)
	commit(t, b, 1, state.Table{Stage: "s", Writes: writes})
	got := map[string]string{}
	err := b.Load(func(_ string, key, value []byte) error {
		got[string(key)] = string(value)
		return nil
	})
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("loaded %d keys, %v; want %d, all equal", len(got), err, len(want))
	}
	for key, value := range want {
		if v, err := b.Get("s", []byte(key)); err != nil || string(v) != value {
			t.Errorf("get %.20q: %.20q, %v; want %.20q", key, v, err, value)
		}
	}
}

// testStages has names and keys that could be taken for one another.
func testStages(t *testing.T, b state.Backend) {
	commit(t, b, 1, table("a", "b=1", "\x01=9"), table("ab", "=2"), table("a\x01", "b=3"), table("b", "a=4"))
	for _, c := range []struct{ stage, key, want string }{
		{"a", "b", "1"}, {"ab", "", "2"}, {"a\x01", "b", "3"}, {"b", "a", "4"}, {"a", "\x01", "9"},
		{"a", "", ""}, {"ab", "b", ""}, {"a", "\x01b", ""}, {"checkpoint", "", ""},
	} {
		v, err := b.Get(c.stage, []byte(c.key))
		if c.want == "" && !errors.Is(err, state.ErrNotFound) || c.want != "" && string(v) != c.want {
			t.Errorf("get %q/%q: %q, %v; want %q", c.stage, c.key, v, err, c.want)
		}
	}
	commit(t, b, 2, table("a", "-b"))
	wantContents(t, b, "deleted in one stage", "a/\x01=9 a\x01/b=3 ab/=2 b/a=4")
}

func testStageNames(t *testing.T, b state.Backend) {
	commit(t, b, 1, table("s", "a=1"))
	for _, name := range []string{"", "\x00", "s\x00", "\xff"} {
		_, err := b.Commit(&state.Checkpoint{Block: 2, Tables: []state.Table{table("s", "a=2"), table(name, "a=3")}})
		if !errors.Is(err, state.ErrStageName) {
			t.Errorf("commit stage %q: %v, want ErrStageName", name, err)
		}
		if err := b.Drop(name); !errors.Is(err, state.ErrStageName) {
			t.Errorf("drop stage %q: %v, want ErrStageName", name, err)
		}
		if _, err := b.Get(name, nil); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("get from stage %q: %v, want ErrNotFound", name, err)
		}
	}
	wantContents(t, b, "after refused commits", "s/a=1")
}

func testBlockOrder(t *testing.T, b state.Backend) {
	commit(t, b, 7, table("s", "a=1"))
	commit(t, b, 7, table("s", "b=2"))
	_, err := b.Commit(&state.Checkpoint{Block: 6, Tables: []state.Table{table("s", "a=3")}})
	if !errors.Is(err, state.ErrOutOfOrder) {
		t.Errorf("block 6 after 7: %v, want ErrOutOfOrder", err)
	}
	wantContents(t, b, "after a refused commit", "s/a=1 s/b=2")
	if c, err := b.Latest(); err != nil || c.Block != 7 {
		t.Errorf("latest %v, %v; want block 7", c, err)
	}
}

func testLatest(t *testing.T, b state.Backend) {
	for _, want := range []state.Checkpoint{
		{},
		{Block: 1, Time: 1_700_000_000_000, Meta: []byte("watermark")},
		{Block: 2, Time: event.MinTime},
		{Block: 1 << 63, Time: event.MaxTime, Meta: []byte(strings.Repeat("m", 1<<20))},
	} {
		if _, err := b.Commit(&want); err != nil {
			t.Fatalf("commit: %v", err)
		}
		got, err := b.Latest()
		if err != nil {
			t.Fatalf("latest: %v", err)
		}
		if got.Block != want.Block || got.Time != want.Time || string(got.Meta) != string(want.Meta) || got.Tables != nil {
			t.Errorf("block %d, time %d, %d bytes of meta; want block %d, time %d, %d bytes",
				got.Block, got.Time, len(got.Meta), want.Block, want.Time, len(want.Meta))
		}
	}
}
