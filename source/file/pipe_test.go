//go:build unix

package file

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A named pipe is a stream, whatever its name says.
func TestNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ratings.dat")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	written := make(chan error)
	go func() { written <- os.WriteFile(path, []byte(fewRatings), 0o600) }()
	r := openOne(t, path, Options{})
	if got := showAll(t, r); len(got) != 4 || r.Name() != "" {
		t.Errorf("%q is %q", r.Name(), got)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
