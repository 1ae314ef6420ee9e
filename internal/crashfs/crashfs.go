// Package crashfs is a disk in memory that loses power, for tests.
package crashfs

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Disk is Pebble's file system in memory, which knows what was synced.
type Disk struct {
	mem    *vfs.MemFS
	link   sync.Mutex // see linkFS
	writes atomic.Int64
	left   atomic.Int64 // writes until the power is cut
	cut    func()
}

// New makes a disk of what a file system, a crashable one, has.
func New(mem *vfs.MemFS) *Disk {
	d := &Disk{mem: mem}
	d.Keep()
	return d
}

// FS is the disk's file system.
func (d *Disk) FS() vfs.FS {
	return errorfs.Wrap(linkFS{d.mem, &d.link}, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			d.writes.Add(1)
			if d.left.Add(-1) == 0 {
				d.cut()
			}
		}
		return nil
	}))
}

// CutAt has cut called just before the nth write from now, by the goroutine
// that writes. What is written afterwards still succeeds: it is for cut to
// take what is Left, and for the test to go on from that.
func (d *Disk) CutAt(n int64, cut func()) {
	d.cut = cut
	d.left.Store(n)
}

// Keep has the power stay on.
func (d *Disk) Keep() { d.left.Store(math.MaxInt64) }

// IsCut says whether the write of CutAt has come.
func (d *Disk) IsCut() bool { return d.left.Load() <= 0 }

// Writes is how many there have been.
func (d *Disk) Writes() int64 { return d.writes.Load() }

// Left is what a power cut leaves at this moment: what was synced, and of the
// rest some percent of the pieces, by chance.
func (d *Disk) Left(percent int, random *rand.Rand) *vfs.MemFS {
	d.link.Lock()
	defer d.link.Unlock()
	return d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
}

// linkFS keeps MemFS.Link and MemFS.CrashClone apart: Link takes a read lock
// twice, and waits for ever if CrashClone asks for the lock in between.
type linkFS struct {
	vfs.FS
	mutex *sync.Mutex
}

// Link implements vfs.FS.
func (f linkFS) Link(oldname, newname string) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.FS.Link(oldname, newname)
}
