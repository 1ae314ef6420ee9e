package statetest

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/crashfs"
	"millrace/state"
)

// MemDisk is the Disk, in memory, of a backend that works on Pebble's file
// system.
type MemDisk struct {
	// OpenOn opens the backend.
	OpenOn func(vfs.FS) (state.Backend, error)
	// Within bounds the changes until the power is cut, for a backend that has
	// fewer than others; 0 is no bound.
	Within int

	mem   *vfs.MemFS
	disk  *crashfs.Disk // of mem
	image *vfs.MemFS    // what was set aside
	take  func()
	cut   func(setAside func())
}

// Open implements Disk.
func (d *MemDisk) Open() (state.Backend, error) {
	d.start()
	return d.OpenOn(d.disk.FS())
}

func (d *MemDisk) start() {
	if d.mem == nil {
		d.mem = vfs.NewCrashableMem()
	}
	if d.disk == nil {
		d.disk = crashfs.New(d.mem)
	}
}

// Arm implements Disk.
func (d *MemDisk) Arm(n int, random *rand.Rand, cut func(setAside func())) {
	d.start()
	disk := d.disk
	d.image, d.cut = nil, cut
	d.take = func() { d.image = disk.Left(25*random.IntN(5), random) }
	if d.Within > 0 {
		n %= d.Within
	}
	disk.CutAt(int64(n)+1, func() { d.cut(d.take) })
}

// Restart implements Disk.
func (d *MemDisk) Restart() {
	d.cut(d.take)
	d.mem, d.disk = d.image, nil
}
