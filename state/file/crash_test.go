package file

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/state"
	"millrace/state/statetest"
)

var (
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the crash test; 0 = at random")
	crashRounds = flag.Int("crash.rounds", 2000, "rounds of the crash test")
)

// crashDisk is a disk in memory, with a backend that makes full snapshots. A
// change takes fewer operations than Pebble's.
func crashDisk(retain int) *statetest.MemDisk {
	return &statetest.MemDisk{Within: 30, OpenOn: func(fs vfs.FS) (state.Backend, error) {
		b, err := Open("data/state", Options{FS: fs, Retain: retain})
		if err != nil {
			return nil, err
		}
		b.fullBytes = 0
		return b, nil
	}}
}

// TestCrash loses power thousands of times: with one retained checkpoint a
// file that a power cut leaves damaged would be refused.
func TestCrash(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rounds := *crashRounds
	if testing.Short() {
		rounds = 500
	}
	statetest.Crash(t, crashDisk(1), seed, rounds)
	statetest.Crash(t, crashDisk(3), seed, rounds/2)
}

// TestSeenStays: a process was killed after it renamed a file and before it
// synced the directory. The next one finds the file, and works with it; then
// the power is cut.
func TestSeenStays(t *testing.T) {
	mem := vfs.NewCrashableMem()
	renamed := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if renamed && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errors.New("killed")
		}
		renamed = renamed || op.Kind == errorfs.OpRename && strings.Contains(op.Path, "-2.delta")
		return nil
	}))
	killed := open(t, "state", Options{FS: fs})
	statetest.Commit(t, killed, 1, statetest.Write("a", "1"))
	if err := statetest.TryCommit(killed, 2, statetest.Write("a", "2")); err == nil {
		t.Fatal("the commit should have failed")
	}
	if got, err := statetest.Contents(killed); err != nil || got["a"] != "1" {
		t.Errorf("after a commit that failed: %v, %v", got, err)
	}
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, "state", Options{FS: mem})
	seen, err := statetest.Contents(next)
	if err != nil || seen["a"] != "2" {
		t.Fatalf("found %v, %v; so this test sees nothing", seen, err)
	}
	later := open(t, "state", Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	if got, err := statetest.Contents(later); err != nil || got["a"] != "2" {
		t.Errorf("after the power cut: %v, %v; %v had been seen", got, err, seen)
	}
}
