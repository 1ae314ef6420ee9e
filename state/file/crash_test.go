package file

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"sync/atomic"
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

// crashDisk is Pebble's file system in memory that knows what was synced.
type crashDisk struct {
	retain int
	fs     *vfs.MemFS
	left   atomic.Int64 // changes until the power is cut
	image  *vfs.MemFS   // what was set aside
	take   func()
	cut    func(setAside func())
}

func (d *crashDisk) Open() (state.Backend, error) {
	b, err := Open("data/state", Options{FS: errorfs.Wrap(d.fs, errorfs.InjectorFunc(d.before)), Retain: d.retain})
	if err != nil {
		return nil, err
	}
	b.fullBytes = 0
	return b, nil
}

func (d *crashDisk) Arm(n int, random *rand.Rand, cut func(setAside func())) {
	fs := d.fs
	d.image, d.cut = nil, cut
	d.take = func() {
		d.image = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * random.IntN(5), RNG: random})
	}
	d.left.Store(int64(n%30) + 1) // a change takes fewer operations than Pebble's
}

// before is called before every operation of the file system.
func (d *crashDisk) before(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && d.left.Add(-1) == 0 {
		d.cut(d.take)
	}
	return nil
}

func (d *crashDisk) Restart() {
	d.cut(d.take)
	d.left.Store(0)
	d.fs = d.image
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
	statetest.Crash(t, &crashDisk{retain: 1, fs: vfs.NewCrashableMem()}, seed, rounds)
	statetest.Crash(t, &crashDisk{retain: 3, fs: vfs.NewCrashableMem()}, seed, rounds/2)
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
	commit(t, killed, 1, write("a", "1"))
	if err := try(killed, 2, write("a", "2")); err == nil {
		t.Fatal("the commit should have failed")
	}
	if got, err := contents(killed); err != nil || got["a"] != "1" {
		t.Errorf("after a commit that failed: %v, %v", got, err)
	}
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, "state", Options{FS: mem})
	seen, err := contents(next)
	if err != nil || seen["a"] != "2" {
		t.Fatalf("found %v, %v; so this test sees nothing", seen, err)
	}
	later := open(t, "state", Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	if got, err := contents(later); err != nil || got["a"] != "2" {
		t.Errorf("after the power cut: %v, %v; %v had been seen", got, err, seen)
	}
}
