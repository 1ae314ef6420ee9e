// Package durable makes directories that survive a power cut.
package durable

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// MakeDir makes a directory and its missing parents so that they survive a
// power cut.
func MakeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := MakeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return SyncDir(fs, parent)
}

// SyncDir has the names of a directory survive a power cut: what was made,
// renamed and removed in it.
func SyncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
