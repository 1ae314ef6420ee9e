package eventlog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A log has an identity that stays, and another than every other log.
func TestIdentity(t *testing.T) {
	identity := func(fs vfs.FS, dir string, start Start) string {
		t.Helper()
		l, err := Open(dir, Options{FS: fs, Start: start})
		if err != nil {
			t.Fatal(err)
		}
		first, err := l.Identity()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := l.Identity(); err != nil || again != first {
			t.Errorf("identity %q, then %q, %v", first, again, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Identity(); err == nil {
			t.Error("a closed log told its identity")
		}
		return first
	}
	fs := vfs.NewMem()
	start := Start{Block: 41, Time: 500}
	one := identity(fs, "one", start)
	if again := identity(fs, "one", Start{}); again != one || one == "" {
		t.Errorf("identity %q, opened again %q", one, again)
	}
	if other := identity(fs, "other", start); other == one {
		t.Errorf("two logs that begin at one block have the identity %q", one)
	}
}
