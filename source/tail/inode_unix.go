//go:build unix

package tail

import (
	"io/fs"
	"syscall"
)

// idOf is the identity of a file.
func idOf(info fs.FileInfo) fileID {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(s.Dev), s.Ino} //nolint:unconvert // of another type elsewhere
	}
	return fileID{}
}
