package eventlog

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A log can begin after any block; what is from before is refused, and not
// answered as if there were nothing.
func TestLogThatBeginsLater(t *testing.T) {
	fs := vfs.NewMem()
	start := Start{Block: 41, Time: 500}
	for i, o := range []Options{{FS: fs, Start: start}, {FS: fs}, {FS: fs, Start: start}, {FS: fs, ReadOnly: true}} {
		l, err := Open("log", o)
		if err != nil {
			t.Fatal(err)
		}
		_, blocks := l.Size()
		if l.Start() != start || l.Last() != 41 || l.LastTime() != 500 || blocks != 0 {
			t.Errorf("opening %d: begins after %+v, ends with %d at %d, %d blocks", i, l.Start(), l.Last(), l.LastTime(), blocks)
		}
		if got := scanAll(t, l, 42); got != nil {
			t.Errorf("opening %d: %q", i, got)
		}
		for _, n := range []uint64{0, 1, 41} {
			wantErr(t, "scan", l.Scan(n, func(*Block) error { return nil }), ErrBeforeStart)
		}
		_, err = l.Read(41)
		wantErr(t, "read 41", err, ErrBeforeStart)
		_, err = l.Read(42)
		wantErr(t, "read 42", err, ErrNotFound)
		wantErr(t, "scan 43", l.Scan(43, nil), ErrNotFound)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, "log", Options{FS: fs})
	if err := l.Append(block(501, "a"), block(502, "b")); err != nil {
		t.Fatal(err)
	}
	want := []string{`42 config t=501 n=1 [] "a"`, `43 config t=502 n=1 [] "b"`}
	if got := scanAll(t, l, 42); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, blocks := l.Size(); blocks != 2 {
		t.Errorf("%d blocks, want 2", blocks)
	}
}

// A log that is there begins where it begins.
func TestStartOfALogThatIsThere(t *testing.T) {
	fs := vfs.NewMem()
	for name, o := range map[string]Options{"from the beginning": {FS: fs}, "later": {FS: fs, Start: Start{Block: 7, Time: 1}}} {
		l, err := Open(name, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Append(block(1, "a")); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = Open(name, Options{FS: fs, Start: Start{Block: 8, Time: 1}})
		wantErr(t, name, err, ErrInvalid)
		open(t, name, o)
	}
}

// The start survives a power cut as soon as Open has returned.
func TestStartSurvivesAPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	start := Start{Block: 9, Time: 90}
	l, err := Open("log", Options{FS: fs, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	after := open(t, "log", Options{FS: fs.CrashClone(vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 1))})})
	if after.Start() != start {
		t.Errorf("after a power cut it begins after %+v", after.Start())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Redaction goes through the blocks that there are, and DeletionAfter tells
// deletions before and after they were redacted.
func TestRedactionOfALogThatBeginsLater(t *testing.T) {
	l := open(t, "log", Options{FS: vfs.NewMem(), Start: Start{Block: 100, Time: 1}})
	if err := l.Append(eventBlock(view("ann", "i", ""), view("bob", "i", "")), catalogueBlock(putUser("bob", 3)),
		catalogueBlock(deleteUser("ann")), eventBlock(view("bob", "j", ""))); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for n, want := range map[uint64]uint64{100: 103, 102: 103, 103: 0, 104: 0} {
			if got, err := l.DeletionAfter(n); got != want || err != nil {
				t.Errorf("deletion after block %d: %d, %v; want %d", n, got, err, want)
			}
		}
	}
	check()
	if err := Redact(l, "ann", 103); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(records(t, l), "\n"); strings.Contains(got, "ann") || !strings.Contains(got, "bob") || !strings.Contains(got, "*deleted:103") {
		t.Errorf("redacted:\n%s", got)
	}
	check()
	_, err := l.DeletionAfter(99)
	wantErr(t, "deletion after block 99", err, ErrBeforeStart)
	_, err = l.DeletionAfter(105)
	wantErr(t, "deletion after block 105", err, ErrNotFound)
}
