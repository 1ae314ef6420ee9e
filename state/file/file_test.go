package file

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/operator"
	"millrace/state"
	"millrace/state/statetest"
)

func TestBackend(t *testing.T) {
	for _, retain := range []int{1, 3} {
		t.Run(fmt.Sprint("retain ", retain), func(t *testing.T) {
			statetest.Run(t, statetest.Harness{Keeps: true, New: func(*testing.T) func() (state.Backend, error) {
				fs := vfs.NewMem()
				return func() (state.Backend, error) {
					b, err := Open("data/state", Options{FS: fs, Retain: retain})
					if err != nil {
						return nil, err
					}
					b.fullBytes = 0 // so that there are full snapshots
					return b, nil
				}
			}})
		})
	}
}

func open(t testing.TB, dir string, o Options) *Backend {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	b.fullBytes = 0
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// names are the files of a directory but for its lock.
func names(t testing.TB, fs vfs.FS, dir string) []string {
	t.Helper()
	list, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(name string) bool { return name == "LOCK" })
	slices.Sort(list)
	return list
}

// TestOnDisk is the operating system's file system: locks, opening again,
// files of many frames.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "state")
	b := open(t, dir, Options{})
	want := statetest.CommitThousands(t, b)
	if second, err := Open(dir, Options{}); !errors.Is(err, state.ErrInUse) {
		t.Errorf("opened twice: %v, %v; want ErrInUse", second, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, Options{})
	statetest.WantContents(t, b, "opened again", want)
	size, err := b.Size()
	var files int64
	for _, name := range names(t, vfs.Default, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files += info.Size()
	}
	if err != nil || size != files {
		t.Errorf("size: %d, %v; the files have %d", size, err, files)
	}
}

// TestAmortised: a large state is written anew only when as much has changed,
// and what is on the disk stays within a bound.
func TestAmortised(t *testing.T) {
	fs := vfs.NewMem()
	b := open(t, "state", Options{FS: fs})
	var all []operator.StateWrite
	for i := range 2000 {
		all = append(all, statetest.Write(fmt.Sprint("user", i), statetest.Incompressible(1000)))
	}
	statetest.Commit(t, b, 0, all...)
	full, err := b.Size()
	if err != nil {
		t.Fatal(err)
	}
	var deltas int64
	snapshots := 0
	for block := uint64(1); block <= 100; block++ {
		from := int(block) * 100 % 1900
		statetest.Commit(t, b, block, all[from:from+100]...)
		size, err := b.Size()
		if err != nil || size > 2*full+full/2 {
			t.Fatalf("block %d: %d bytes of files, %v; the state has %d", block, size, err, full)
		}
		deltas += full/20 + fileBytes
		if strings.HasSuffix(names(t, fs, "state")[0], fmt.Sprintf("-%d.full", block)) {
			snapshots++
		}
	}
	if most := int(deltas / full); snapshots < 2 || snapshots > most {
		t.Errorf("%d full snapshots, want 2 to %d: the deltas have as many times the size of the state", snapshots, most)
	}
}

// TestManySmall: deltas of a few bytes do not pile up either.
func TestManySmall(t *testing.T) {
	fs := vfs.NewMem()
	b, err := Open("state", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for block := range uint64(1000) {
		statetest.Commit(t, b, block, statetest.Write("a", "1"))
		if n := len(names(t, fs, "state")); n > 100 {
			t.Fatalf("block %d: %d files", block, n)
		}
	}
}

// TestErased deletes keys and looks for them, and for values that were
// replaced, in the files.
func TestErased(t *testing.T) {
	for _, retain := range []int{1, 3} {
		dir := t.TempDir()
		b := open(t, dir, Options{Retain: retain})
		b.fullBytes = 1 << 20
		statetest.Commit(t, b, 1, statetest.Write("gone", "value-of-gone"), statetest.Write("kept", "old-value"), statetest.Write("twice", "once"))
		statetest.Commit(t, b, 2, statetest.Write("kept", "new-value"), operator.StateWrite{Key: []byte("gone")})
		statetest.Commit(t, b, 2, operator.StateWrite{Key: []byte("never")}, statetest.Write("twice", "replaced"), statetest.Write("twice", "last"))
		if err := b.Drop("s2"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.Compact(); err != nil {
				t.Fatal(err)
			}
			files := names(t, vfs.Default, dir)
			if len(files) != 1 {
				t.Fatalf("files: %s", files)
			}
			data, err := os.ReadFile(filepath.Join(dir, files[0]))
			if err != nil {
				t.Fatal(err)
			}
			for _, what := range []string{"gone", "old-value", "never", "once", "replaced", "s2"} {
				if strings.Contains(string(data), what) {
					t.Errorf("%s is still there", what)
				}
			}
			if !strings.Contains(string(data), "new-value") {
				t.Error("new-value is not found, so this test sees nothing")
			}
		}
		if got, err := statetest.Contents(b); err != nil || len(got) != 2 {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// TestFailures fails each operation of the file system that changes something
// in turn, once or from then on: a commit that fails changes nothing, one that
// does not is there after a restart, and what comes later succeeds.
func TestFailures(t *testing.T) {
	for _, times := range []int{1, 1000} {
		failing, left := false, 0
		mem := vfs.NewMem()
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if failing && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if left--; left < 0 && left >= -times {
					return syscall.ENOSPC
				}
			}
			return nil
		}))
		b := open(t, "state", Options{FS: fs, Retain: 2})
		want := map[string]string{}
		failed := 0
		for n := range 60 {
			failing, left = true, n%15
			w := statetest.Write(fmt.Sprint("k", n), statetest.Incompressible(n))
			err := statetest.TryCommit(b, uint64(n), w)
			failing = false
			if err == nil {
				want[string(w.Key)] = string(w.Value)
			} else if failed++; !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%d: %v", n, err)
			}
			got, err := statetest.Contents(b)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d: %d keys, %v; want %d", n, len(got), err, len(want))
			}
			if n%4 > 0 {
				continue
			}
			again := w
			again.Value = []byte("again")
			statetest.Commit(t, b, uint64(n), again)
			want[string(w.Key)] = "again"
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, "state", Options{FS: fs, Retain: 2})
			if got, err := statetest.Contents(b); err != nil || len(got) != len(want) {
				t.Fatalf("%d, opened again: %d keys, %v; want %d", n, len(got), err, len(want))
			}
		}
		if failed < 10 {
			t.Errorf("only %d commits failed", failed)
		}
	}
}

// TestNoRoomForSnapshot: when a full snapshot does not fit, commits go on, and
// it is tried again when they have grown, not each time.
func TestNoRoomForSnapshot(t *testing.T) {
	tries, full := 0, true
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.Contains(op.Path, ".full") {
			if tries++; full {
				return syscall.ENOSPC
			}
		}
		return nil
	}))
	var log strings.Builder
	b := open(t, "state", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for block := range uint64(100) {
		statetest.Commit(t, b, block, statetest.Write(fmt.Sprint("k", block), "1"))
	}
	if tries < 2 || tries > 10 || !strings.Contains(log.String(), "full snapshot failed") {
		t.Errorf("tried %d times in 100 commits; logged %s", tries, log.String())
	}
	full = false
	for block := uint64(100); block < 400; block++ {
		statetest.Commit(t, b, block, statetest.Write(fmt.Sprint("k", block), "1"))
	}
	if n := len(names(t, mem, "state")); n > 250 {
		t.Errorf("%d files are left when there is room again", n)
	}
}

// TestOtherDirectory: neither a file nor a Pebble database is mistaken for an
// empty directory, and files of others are left alone.
func TestOtherDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "state"), Options{})
	if err == nil || errors.Is(err, state.ErrInUse) || errors.Is(err, state.ErrCorrupt) {
		t.Errorf("below a file: %v", err)
	}
	dir := t.TempDir()
	foreign := []string{"notes.txt", "chk-1-1.delta", "chk-000000000001-1.other", "other.tmp"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, dir, Options{})
	statetest.Commit(t, b, 1, statetest.Write("a", "1"))
	if err := errors.Join(b.Compact(), b.Close()); err != nil {
		t.Fatal(err)
	}
	left := names(t, vfs.Default, dir)
	for _, name := range foreign {
		if !slices.Contains(left, name) {
			t.Errorf("%s was removed", name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST-000001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "Pebble") {
		t.Errorf("a Pebble database: %v", err)
	}
}
