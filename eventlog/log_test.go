package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
)

func TestAppendedBlocksAreReadBackAfterReopening(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, "data/log", Options{FS: fs})
	if l.Last() != 0 || l.LastTime() != 0 {
		t.Fatalf("an empty log ends at %d, %d", l.Last(), l.LastTime())
	}
	user := event.Change{Kind: event.PutUser, User: &event.User{ID: "u"}}
	blocks := []*Block{
		{Kind: Events, Time: 10, Count: 2, Payload: []byte("two events"), Positions: []Position{{"file.csv", 3}}},
		{Kind: Catalogue, Time: 11, Count: 1, Payload: event.AppendChange(nil, &user)},
		{Kind: Config, Time: 12, Count: 1, Payload: []byte("{}")},
		{Kind: Events, Time: 13, Count: 4096, Payload: bytes.Repeat([]byte("x"), 100_000)},
	}
	for _, step := range [][]*Block{{}, blocks[:1], blocks[1:3], blocks[3:]} {
		if err := l.Append(step...); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`1 events t=10 n=2 [{file.csv 3}] "two events"`,
		`2 catalogue t=11 n=1 [] "\x01\x03\x01u\x00\x00\x00"`,
		`3 config t=12 n=1 [] "{}"`,
		`4 events t=13 n=4096 [] "xxxxxxxxxxxxxxxxxxxx... 100000 bytes"`,
	}
	check := func(l *Log) {
		t.Helper()
		if l.Last() != 4 || l.LastTime() != 13 {
			t.Errorf("the log ends at block %d, time %d", l.Last(), l.LastTime())
		}
		if got := scanAll(t, l, 1); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := scanAll(t, l, 3); !slices.Equal(got, want[2:]) {
			t.Errorf("from 3: got %q", got)
		}
		for i, w := range want {
			if b, err := l.Read(uint64(i + 1)); err != nil || show(b) != w {
				t.Errorf("block %d: got %v, error %v", i+1, b, err)
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, "data/log", Options{FS: fs, ReadOnly: true}))
}

func TestScanEndsWithTheErrorOfItsFunction(t *testing.T) {
	l := openMem(t)
	for i := range 3 {
		if err := l.Append(block(event.Time(i), "block")); err != nil {
			t.Fatal(err)
		}
	}
	var seen []uint64
	err := l.Scan(0, func(b *Block) error {
		seen = append(seen, b.Number)
		if b.Number == 2 {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) || !slices.Equal(seen, []uint64{1, 2}) {
		t.Errorf("saw %v, error %v", seen, err)
	}
}

func TestScanSeesOnlyWhatWasThereWhenItBegan(t *testing.T) {
	l := openMem(t)
	n := 0
	for range 2 {
		if err := l.Append(block(0, "block")); err != nil {
			t.Fatal(err)
		}
	}
	err := l.Scan(1, func(*Block) error {
		n++
		return l.Append(block(0, "appended during the scan"))
	})
	if err != nil || n != 2 || l.Last() != 4 {
		t.Errorf("scanned %d blocks of %d, error %v", n, l.Last(), err)
	}
}

func TestArgumentsThatAreNotThere(t *testing.T) {
	l := openMem(t)
	if err := l.Append(block(0, "only")); err != nil {
		t.Fatal(err)
	}
	none := func(*Block) error { t.Error("called"); return nil }
	for _, n := range []uint64{0, 2, 1 << 63} {
		_, err := l.Read(n)
		wantErr(t, fmt.Sprint("read ", n), err, ErrNotFound)
	}
	if err := l.Scan(2, none); err != nil {
		t.Errorf("scan from right after the end: %v", err)
	}
	wantErr(t, "scan beyond the end", l.Scan(3, none), ErrNotFound)
	wantErr(t, "rewrite beyond the end", rewrite(l, func(*Block) (bool, error) { return false, nil }, 2), ErrNotFound)
}

func TestInvalidBlocksAreRefusedAndTheLogGoesOn(t *testing.T) {
	l := openMem(t)
	for _, test := range []struct {
		name string
		b    Block
	}{
		{"no kind", Block{}},
		{"unknown kind", Block{Kind: 5}},
		{"negative count", Block{Kind: Events, Count: -1}},
		{"large", Block{Kind: Events, Payload: make([]byte, MaxPayloadBytes+1)}},
		{"not a change", Block{Kind: Catalogue, Count: 1, Payload: []byte("nonsense")}},
	} {
		good := block(0, "good")
		wantErr(t, test.name, l.Append(good, &test.b), ErrInvalid)
		if good.Number != 0 || l.Last() != 0 {
			t.Errorf("%s: block %d was numbered, the log ends at %d", test.name, good.Number, l.Last())
		}
	}
	if err := l.Append(block(0, "good")); err != nil || l.Last() != 1 {
		t.Errorf("append after refused ones: %v", err)
	}
}

func TestClosedLog(t *testing.T) {
	l := openMem(t)
	if err := l.Append(block(0, "block")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	_, readErr := l.Read(1)
	_, _, deadErr := l.DeadLetters("", 1)
	_, pendingErr := PendingRedactions(l)
	keep := func(*Block) (bool, error) { return false, nil }
	for name, err := range map[string]error{
		"append":         l.Append(block(0, "late")),
		"read":           readErr,
		"scan":           l.Scan(1, func(*Block) error { return nil }),
		"rewrite":        rewrite(l, keep, 1),
		"append letters": l.AppendDeadLetters([]DeadLetter{{}}),
		"letters":        deadErr,
		"purge letters":  l.PurgeDeadLetters("u"),
		"pending":        pendingErr,
		"redact":         Redact(l, "u", 1),
	} {
		wantErr(t, name, err, ErrClosed)
	}
	if bytes, blocks := l.Size(); bytes != 0 || blocks != 1 {
		t.Errorf("size %d, %d", bytes, blocks)
	}
}

// Close while a scan or a rewriting runs waits for it; it ends early, and what
// its function calls is refused.
func TestCloseDuringAScan(t *testing.T) {
	leakCheck(t)
	for name, run := range map[string]func(*Log, func(*Block) error) error{
		"scan": func(l *Log, fn func(*Block) error) error { return l.Scan(1, fn) },
		"rewrite": func(l *Log, fn func(*Block) error) error {
			return rewrite(l, func(b *Block) (bool, error) { return false, fn(b) }, 2)
		},
	} {
		l := openMem(t)
		if err := l.Append(block(0, "block"), block(0, "block")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		var inner error
		seen := 0
		err := run(l, func(*Block) error {
			seen++
			go func() { closed <- l.Close() }()
			for inner == nil {
				_, inner = l.Read(1)
			}
			return nil
		})
		wantErr(t, name, err, ErrClosed)
		wantErr(t, "a read during the "+name, inner, ErrClosed)
		if err := <-closed; err != nil || seen != 1 {
			t.Errorf("%s: saw %d blocks, close: %v", name, seen, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	fs := vfs.NewMem()
	for _, dir := range []string{"missing", "empty"} {
		if dir == "empty" {
			if err := fs.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(dir, Options{FS: fs, ReadOnly: true})
		wantErr(t, dir, err, ErrNotFound)
	}
	w := open(t, "log", Options{FS: fs})
	if err := errors.Join(w.Append(block(0, "block")), w.Close()); err != nil {
		t.Fatal(err)
	}
	l := open(t, "log", Options{FS: fs, ReadOnly: true})
	for name, err := range map[string]error{
		"append":         l.Append(block(0, "block")),
		"rewrite":        rewrite(l, func(*Block) (bool, error) { return true, nil }, 1),
		"append letters": l.AppendDeadLetters([]DeadLetter{{}}),
		"purge letters":  l.PurgeDeadLetters("u"),
	} {
		wantErr(t, name, err, ErrReadOnly)
	}
	if got := scanAll(t, l, 1); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestSize(t *testing.T) {
	l := open(t, "log", Options{FS: vfs.NewMem(), MemTableBytes: 256 << 10})
	payload := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{}).Read(payload)
	const n = 64
	for range n {
		if err := l.Append(&Block{Kind: Events, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	bytes, blocks := l.Size()
	if least, most := uint64(n*len(payload)*8/10), uint64(n*len(payload)*2); bytes < least || bytes > most || blocks != n {
		t.Errorf("%d bytes, %d blocks, want %d to %d bytes", bytes, blocks, least, most)
	}
}

// childEnv names the directory that this test binary opens as another process.
const childEnv = "EVENTLOG_TEST_CHILD"

// openAsChild says how Open ends in another process.
func openAsChild(dir string) {
	_, err := Open(dir, Options{})
	fmt.Print(err)
}

func TestADirectoryInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	open(t, dir, Options{})
	want := "directory in use: another millrace process uses " + dir

	_, err := Open(dir, Options{})
	wantErr(t, "same process", err, ErrInUse)
	if err == nil || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	_, err = Open(dir, Options{ReadOnly: true})
	wantErr(t, "same process, read-only", err, ErrInUse)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.Output()
	if err != nil || string(out) != want {
		t.Errorf("another process got %q, %v, want %q", out, err, want)
	}
}

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "log"), Options{})
	wantErr(t, "below a file", err, ErrUnavailable)
}

func TestDamagedBlocksAreNamed(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(db *pebble.DB) error
		block  uint64
	}{
		{"missing first", func(db *pebble.DB) error { return db.Delete(key(prefixBlock, 1), nil) }, 1},
		{"missing", func(db *pebble.DB) error { return db.Delete(key(prefixBlock, 3), nil) }, 3},
		{"a flipped bit", func(db *pebble.DB) error {
			v, closer, err := db.Get(key(prefixBlock, 2))
			if err != nil {
				return err
			}
			v = bytes.Clone(v)
			v[5] ^= 4
			return errors.Join(closer.Close(), db.Set(key(prefixBlock, 2), v, nil))
		}, 2},
		{"another block in its place", func(db *pebble.DB) error {
			v, closer, err := db.Get(key(prefixBlock, 2))
			if err != nil {
				return err
			}
			return errors.Join(db.Set(key(prefixBlock, 4), v, nil), closer.Close())
		}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openMem(t)
			for i := range 5 {
				if err := l.Append(block(event.Time(i), fmt.Sprint("block ", i))); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.damage(l.db); err != nil {
				t.Fatal(err)
			}
			keep := func(*Block) (bool, error) { return false, nil }
			for name, err := range map[string]error{
				"scan":    l.Scan(1, func(*Block) error { return nil }),
				"rewrite": rewrite(l, keep, 5),
			} {
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || corrupt.Block != test.block {
					t.Errorf("%s: error %v, want block %d", name, err, test.block)
				}
			}
			if test.block != 1 {
				_, err := l.Read(test.block)
				wantErr(t, "read", err, ErrCorrupt)
			}
		})
	}
}
