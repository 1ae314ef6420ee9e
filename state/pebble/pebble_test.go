package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/operator"
	"millrace/state"
	"millrace/state/statetest"
)

func TestInMemory(t *testing.T) {
	statetest.Run(t, statetest.Harness{Keeps: true, New: func(*testing.T) func() (state.Backend, error) {
		fs := vfs.NewMem()
		return func() (state.Backend, error) { return Open("data/state", Options{FS: fs}) }
	}})
}

func open(t testing.TB, dir string, fs vfs.FS) *Backend {
	t.Helper()
	b, err := Open(dir, Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// TestOnDisk is the same on the operating system's file system: commits of
// several tables, locks, opening again.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "state")
	b := open(t, dir, nil)
	b.tableBytes = 64 << 10
	want := statetest.CommitThousands(t, b)
	if second, err := Open(dir, Options{}); !errors.Is(err, state.ErrInUse) {
		t.Errorf("opened twice: %v, %v; want ErrInUse", second, err)
	}
	statetest.WantContents(t, b, "committed", want)
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	statetest.WantContents(t, b, "compacted", want)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	statetest.WantContents(t, open(t, dir, nil), "opened again", want)
}

// onDisk says in which files of a directory some bytes are found. Pebble
// deletes obsolete files behind its own back, so one that has gone is no error.
func onDisk(t *testing.T, dir string, what []byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, what) {
			files = append(files, d.Name())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestErased deletes users and looks for their keys and values in the files.
// The keys are the first and the last of all, which manifests name; one had a
// value replaced before; two were never committed, and one of these is in a
// table that has nothing below it, to which a compaction would do nothing.
func TestErased(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	b.tableBytes = 4 << 10
	// What the compression of tables leaves as it is.
	first, last, middle, old := "0-lz8Qn4vXw1", "zz-7Kd0pWm3Gh", "m-R5tYc9bLq2", "Jf6sVn1xZe8u"
	unknown, below := "a-Ht3gPo7kBi5", "Wd2jFr6mCy4N"
	for i := range uint64(30) {
		statetest.Commit(t, b, i, statetest.Write(fmt.Sprint("user", i), strings.Repeat("x", 1000)), statetest.Write(fmt.Sprint("user", i/2), "y"))
		switch i {
		case 5:
			statetest.Commit(t, b, i, statetest.Write(first, "1"), statetest.Write(last, "1"), statetest.Write(middle, old))
			for _, what := range []string{first, last, middle, old} {
				if len(onDisk(t, dir, []byte(what))) == 0 {
					t.Errorf("%s is not on the disk, so this test sees nothing", what)
				}
			}
		case 20:
			statetest.Commit(t, b, i, statetest.Write(middle, "2"))
		}
	}
	deletes := state.Table{Stage: "s"}
	for _, key := range []string{first, last, middle, unknown} {
		deletes.Writes = append(deletes.Writes, operator.StateWrite{Key: []byte(key)})
	}
	fills := state.Table{Stage: "t", Writes: []operator.StateWrite{statetest.Write("table", statetest.Incompressible(20_000))}}
	other := state.Table{Stage: "u", Writes: []operator.StateWrite{{Key: []byte(below)}}}
	for i := range 100 {
		other.Writes = append(other.Writes, statetest.Write(fmt.Sprint("user", i), "1"))
	}
	if _, err := b.Commit(&state.Checkpoint{Block: 30, Tables: []state.Table{deletes, fills, other}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{first, last, middle, old, unknown, below} {
		if files := onDisk(t, dir, []byte(what)); len(files) > 0 {
			t.Errorf("%s is still in %s", what, files)
		}
	}
	if got, err := statetest.Contents(b); err != nil || len(got) != 30+1+100 {
		t.Errorf("%d keys, %v; want 131", len(got), err)
	}
}

// TestDiskFull fails every write to a commit's tables in turn: nothing may
// change, and the next commit must succeed.
func TestDiskFull(t *testing.T) {
	full, left := false, 0
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full && op.Kind != errorfs.OpRemove && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, incoming) {
			if left--; left < 0 {
				return syscall.ENOSPC
			}
		}
		return nil
	}))
	b := open(t, "state", fs)
	b.tableBytes = 1 << 10
	want := map[string]string{}
	var writes []operator.StateWrite
	for i := range 100 {
		writes = append(writes, statetest.Write(fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(i), 50)))
	}
	failed := 0
	for n := 0; ; n++ {
		full, left = true, n
		_, err := b.Commit(&state.Checkpoint{Block: uint64(n + 1), Tables: []state.Table{{Stage: "s", Writes: writes}}})
		full = false
		got, loadErr := statetest.Contents(b)
		if err == nil {
			if len(got) != len(writes) {
				t.Errorf("%d keys after a commit of %d", len(got), len(writes))
			}
			break
		}
		failed++
		if !errors.Is(err, syscall.ENOSPC) || loadErr != nil || len(got) != len(want) {
			t.Fatalf("failed at write %d: %v; then %d keys, %v", n, err, len(got), loadErr)
		}
		if names, err := fs.List("state/" + incoming); err != nil || len(names) > 0 {
			t.Fatalf("failed at write %d: left %s, %v", n, names, err)
		}
	}
	if failed < 5 {
		t.Errorf("only %d writes failed", failed)
	}
}

func TestNewerRelease(t *testing.T) {
	fs := vfs.NewMem()
	b := open(t, "state", fs)
	statetest.Commit(t, b, 1, statetest.Write("a", "1"))
	record := appendLatest(nil, &state.Checkpoint{Block: 2})
	record[0] = latestVersion + 1
	if err := b.ingest(b.db, func(w *tables) error { return w.set(latestKey, record) }); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("state", Options{FS: fs}); !errors.Is(err, state.ErrNewer) {
		t.Errorf("checkpoint of a newer release: %v, want ErrNewer", err)
	}

	open(t, "other", fs)
	marker, _, err := atomicfs.LocateMarker(fs, "other", "format-version")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(marker.Move("999"), marker.Close()); err != nil {
		t.Fatal(err)
	}
	// The lock of the first one does not matter: the format is looked at before.
	second := &Backend{dir: "other", fs: fs}
	if err := second.openDatabase(); !errors.Is(err, state.ErrNewer) {
		t.Errorf("database of a newer Pebble: %v, want ErrNewer", err)
	}
}

// TestCannotMake: a directory that cannot be made is not one that is in use.
func TestCannotMake(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "state"), Options{})
	if err == nil || errors.Is(err, state.ErrInUse) || errors.Is(err, state.ErrCorrupt) {
		t.Errorf("below a file: %v", err)
	}
}

// A disk without room for the manifest, of which Pebble would die, is left
// alone; later the same commit succeeds.
func TestNoRoomForTheManifest(t *testing.T) {
	mem := vfs.NewMem()
	b := open(t, "state", mem)
	statetest.Commit(t, b, 1, statetest.Write("a", "1"))
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: manifestBytes - 1})
	c := &state.Checkpoint{Block: 2, Tables: []state.Table{{Stage: "s", Writes: []operator.StateWrite{statetest.Write("a", "2")}}}}
	if _, err := b.Commit(c); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("commit: %v, want ENOSPC", err)
	}
	if got, err := statetest.Contents(b); err != nil || got["a"] != "1" {
		t.Errorf("after a commit that was refused: %v, %v", got, err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: manifestBytes})
	if _, err := b.Commit(c); err != nil {
		t.Error(err)
	}
}
