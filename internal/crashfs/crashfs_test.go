package crashfs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestDisk(t *testing.T) {
	d := New(vfs.NewCrashableMem())
	fs := d.FS()
	write := func(name string, sync bool) {
		t.Helper()
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	write("synced", true)
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	before, cuts := d.Writes(), 0
	var left *vfs.MemFS
	d.CutAt(2, func() {
		cuts++
		left = d.Left(0, rand.New(rand.NewPCG(1, 1)))
	})
	if before == 0 || d.IsCut() {
		t.Fatalf("%d writes, cut: %t", before, d.IsCut())
	}
	write("later", false)
	if cuts != 1 || !d.IsCut() || d.Writes() <= before {
		t.Errorf("%d cuts, cut: %t", cuts, d.IsCut())
	}
	names, err := left.List("")
	if err != nil || fmt.Sprint(names) != "[synced]" {
		t.Errorf("left: %s, %v", names, err)
	}
	d.CutAt(1, func() { cuts++ })
	d.Keep()
	write("kept", true)
	if cuts != 1 || d.IsCut() {
		t.Errorf("%d cuts, cut: %t", cuts, d.IsCut())
	}
}
