package statetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Damage is one way to damage a file: to remove it, or to keep so many bytes
// and flip a bit.
type Damage struct {
	Name   string // for messages, as At
	Remove bool
	Keep   int
	Flip   bool
	At     int
	Bit    int
}

// Apply damages a file.
func (d Damage) Apply(t testing.TB, fs *vfs.MemFS, path string) {
	t.Helper()
	data := ReadFile(t, fs, path)[:d.Keep]
	if d.Flip {
		data[d.At] ^= 1 << d.Bit
	}
	if err := fs.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !d.Remove {
		WriteFile(t, fs, path, data)
	}
}

// ReadFile reads a file, whether it is open or not.
func ReadFile(t testing.TB, fs *vfs.MemFS, path string) []byte {
	t.Helper()
	data, err := fs.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(data)
}

// WriteFile makes a file, or replaces it.
func WriteFile(t testing.TB, fs vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
