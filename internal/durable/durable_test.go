package durable_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
)

// What MakeDir has made is there after a power cut, parents and all.
func TestMakeDir(t *testing.T) {
	fs := vfs.NewCrashableMem()
	for range 2 { // there already, the second time
		if err := durable.MakeDir(fs, "a/b/c"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fs.CrashClone(vfs.CrashCloneCfg{}).Stat("a/b/c"); err != nil {
		t.Error(err)
	}
}

// A name that was synced is there after a power cut.
func TestSyncDir(t *testing.T) {
	fs := vfs.NewCrashableMem()
	f, err := fs.Create("name", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.CrashClone(vfs.CrashCloneCfg{}).Stat("name"); err == nil {
		t.Fatal("it is there without being synced: the test sees nothing")
	}
	if err := durable.SyncDir(fs, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.CrashClone(vfs.CrashCloneCfg{}).Stat("name"); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(fs, "missing"); err == nil {
		t.Error("a directory that is not there was synced")
	}
}
