package pebble

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/state"
	"millrace/state/statetest"
)

var (
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the crash test; 0 = at random")
	crashRounds = flag.Int("crash.rounds", 1500, "rounds of the crash test")
)

func TestCrash(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rounds := *crashRounds
	if testing.Short() {
		rounds = 100
	}
	disk := &statetest.MemDisk{OpenOn: func(fs vfs.FS) (state.Backend, error) {
		b, err := Open("data/state", Options{FS: fs, Cache: 64 << 10})
		if err != nil {
			return nil, err
		}
		b.tableBytes = 1 << 10 // so that a commit has several tables
		return b, nil
	}}
	statetest.Crash(t, disk, seed, rounds)
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
