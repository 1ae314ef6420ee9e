package pebble

import (
	"flag"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"millrace/state"
	"millrace/state/statetest"
)

var (
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the crash test; 0 = at random")
	crashRounds = flag.Int("crash.rounds", 1500, "rounds of the crash test")
)

// crashDisk is Pebble's file system in memory that knows what was synced.
type crashDisk struct {
	fs    *vfs.MemFS
	link  sync.Mutex
	left  atomic.Int64 // changes until the power is cut
	image *vfs.MemFS   // what was set aside
	take  func()
	cut   func(setAside func())
}

func (d *crashDisk) Open() (state.Backend, error) {
	fs := errorfs.Wrap(linkFS{d.fs, &d.link}, errorfs.InjectorFunc(d.before))
	b, err := Open("data/state", Options{FS: fs, Cache: 64 << 10})
	if err != nil {
		return nil, err
	}
	b.tableBytes = 1 << 10 // so that a commit has several tables
	return b, nil
}

func (d *crashDisk) Arm(n int, random *rand.Rand, cut func(setAside func())) {
	fs := d.fs
	d.image, d.cut = nil, cut
	d.take = func() {
		d.link.Lock()
		defer d.link.Unlock()
		d.image = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * random.IntN(5), RNG: random})
	}
	d.left.Store(int64(n) + 1)
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

// linkFS keeps MemFS.Link and MemFS.CrashClone apart: Link takes a read lock
// twice, and waits for ever if CrashClone asks for the lock in between.
type linkFS struct {
	vfs.FS
	mu *sync.Mutex
}

func (f linkFS) Link(oldname, newname string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.FS.Link(oldname, newname)
}

func TestCrash(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rounds := *crashRounds
	if testing.Short() {
		rounds = 100
	}
	statetest.Crash(t, &crashDisk{fs: vfs.NewCrashableMem()}, seed, rounds)
}

// TestLeftovers: tables of a commit that was cut off are removed.
func TestLeftovers(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *Backend {
		t.Helper()
		b, err := Open("state", Options{FS: fs, Cache: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create("state/incoming/000007.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	defer open().Close()
	if names, err := fs.List("state/incoming"); err != nil || len(names) > 0 {
		t.Errorf("left over: %s, %v", strings.Join(names, " "), err)
	}
}
