package pebble

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/durable"
)

// orderedFS is a file system on which a marker cannot outlive what it points
// to. Pebble writes and syncs a manifest, makes a marker that says that it is
// the current one, and then syncs the directory. A power cut in between may
// leave the name of the marker and not that of the manifest, unless the file
// system happens to keep their order. So the directory is synced first too.
type orderedFS struct{ vfs.FS }

// Create implements vfs.FS.
func (f orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(f.PathBase(name), "marker.") {
		if err := durable.SyncDir(f.FS, f.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return f.FS.Create(name, category)
}

// Unwrap implements vfs.FS.
func (f orderedFS) Unwrap() vfs.FS { return f.FS }
