package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// failingFS fails, once on is set, every operation that matches.
func failingFS(on *atomic.Bool, err error, match func(errorfs.Op) bool) vfs.FS {
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && match(op) {
			return &fs.PathError{Op: "write", Path: op.Path, Err: err}
		}
		return nil
	}))
}

func suffix(s string) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, s) }
}

// logBuffer keeps what several goroutines log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// appendUntilFailure breaks the disk after five blocks, and appends more until
// one fails.
func appendUntilFailure(t *testing.T, l *Log, broken *atomic.Bool) (stored uint64, failure error) {
	t.Helper()
	payload := make([]byte, 60<<10)
	rand.NewChaCha8([32]byte{}).Read(payload)
	for stored <= 100 {
		if err := l.Append(&Block{Kind: Events, Payload: payload}); err != nil {
			return stored, err
		}
		if stored++; stored == 5 {
			broken.Store(true)
		}
	}
	t.Fatal("100 blocks were acknowledged by a broken disk")
	return 0, nil
}

// A disk that is full or broken must never lead to an acknowledgement, to a
// stuck Append or to the end of the process.
func TestStorageFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		match func(errorfs.Op) bool
	}{
		{"write to the write-ahead log", syscall.ENOSPC, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && suffix(".log")(op)
		}},
		{"sync of the write-ahead log", syscall.EIO, func(op errorfs.Op) bool {
			return (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) && suffix(".log")(op)
		}},
		{"new write-ahead log", syscall.ENOSPC, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpCreate && suffix(".log")(op)
		}},
		{"new table", syscall.ENOSPC, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpCreate && suffix(".sst")(op)
		}},
		{"write to a table", syscall.ENOSPC, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && suffix(".sst")(op)
		}},
		{"write to the manifest", syscall.EDQUOT, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && strings.HasPrefix(path.Base(op.Path), "MANIFEST")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var on atomic.Bool
			var logged logBuffer
			l, err := Open("log", Options{
				FS:            failingFS(&on, test.err, test.match),
				MemTableBytes: 256 << 10,
				Logger:        slog.New(slog.NewTextHandler(&logged, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := appendUntilFailure(t, l, &on)
			for what, err := range map[string]error{
				"the append that failed": err,
				"the append after it":    l.Append(block(0, "late")),
				"dead letters":           l.AppendDeadLetters(letters(1, 1)),
				"rewrite":                rewrite(l, func(*Block) (bool, error) { return true, nil }, 1),
			} {
				wantErr(t, what, err, ErrUnavailable)
				wantErr(t, what, err, test.err)
			}
			if got := scanAll(t, l, 1); l.Last() != stored || uint64(len(got)) != stored {
				t.Errorf("%d blocks were acknowledged, the log has %d and ends at %d", stored, len(got), l.Last())
			}
			if n := strings.Count(logged.String(), "accepts no more writes"); n != 1 {
				t.Errorf("the failure was logged %d times:\n%s", n, logged.String())
			}
			on.Store(false)
			if err := l.Close(); err != nil {
				wantErr(t, "close", err, ErrUnavailable)
			}
		})
	}
}

func TestOpenOnABrokenDisk(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	_, err := Open("log", Options{FS: failingFS(&on, syscall.EIO, func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileWrite
	})})
	wantErr(t, "open", err, ErrUnavailable)
	wantErr(t, "open", err, syscall.EIO)
}

// A bit that flips on disk, in whichever file, is noticed or harmless once a
// log was closed. After a crash one exception remains: a flip in the last 64
// KiB of the write-ahead log cannot be told from the write that the crash cut
// short, so that the blocks from there on are missing.
func TestDamagedFiles(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		mem := vfs.NewCrashableMem()
		l := open(t, "log", Options{FS: mem})
		rng := rand.New(rand.NewPCG(1, 1))
		for range 100 {
			if err := l.Append(block(0, randomText(rng, 4000))); err != nil {
				t.Fatal(err)
			}
		}
		want := scanAll(t, l, 1)
		crash := mem.CrashClone(vfs.CrashCloneCfg{})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if crashed {
			mem = crash
		}
		noticed, shortened := 0, 0
		names, err := mem.List("log")
		if err != nil {
			t.Fatal(err)
		}
		const flips = 400
		for range flips {
			name := path.Join("log", names[rng.IntN(len(names))])
			fromEnd, undo, ok := flipBit(t, mem, name, rng)
			if !ok {
				continue
			}
			got, err := scanDamaged(mem)
			switch {
			case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnavailable):
				noticed++
			case err != nil:
				t.Errorf("%s: error %v is neither ErrCorrupt nor ErrUnavailable", name, err)
			case slices.Equal(got, want):
			case crashed && isWAL(name) && fromEnd <= 64<<10 && len(got) < len(want) && slices.Equal(got, want[:len(got)]):
				shortened++
			default:
				t.Errorf("%s, %d bytes from the end: %d blocks were read, not all as they were", name, fromEnd, len(got))
			}
			undo()
		}
		t.Logf("crashed %v: of %d flipped bits %d were noticed, %d took blocks from the end", crashed, flips, noticed, shortened)
		if noticed < flips/10 {
			t.Error("hardly any flipped bit was noticed")
		}
	}
}

// scanDamaged reads the log without changing its files.
func scanDamaged(mem vfs.FS) (got []string, err error) {
	l, err := Open("log", Options{FS: mem, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	err = l.Scan(1, func(b *Block) error {
		got = append(got, show(b))
		return nil
	})
	return got, errors.Join(err, l.Close())
}

// randomText is text that does not compress well.
func randomText(rng *rand.Rand, most int) string {
	b := make([]byte, rng.IntN(most))
	for i := range b {
		b[i] = byte('!' + rng.IntN(90))
	}
	return string(b)
}

// flipBit flips one bit of a file; ok is false if it is empty.
func flipBit(t *testing.T, mem vfs.FS, name string, rng *rand.Rand) (fromEnd int, undo func(), ok bool) {
	t.Helper()
	f, err := mem.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, info.Size())
	if len(content) == 0 {
		return 0, nil, false
	}
	if _, err := f.ReadAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		f, err := mem.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(content)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	damaged := bytes.Clone(content)
	at := rng.IntN(len(damaged))
	damaged[at] ^= 1 << rng.IntN(8)
	write(damaged)
	return len(content) - at, func() { write(content) }, true
}

func TestBrokenInvariantsStopTheProcessWithAMessage(t *testing.T) {
	var logged bytes.Buffer
	h := newHealth(slog.New(slog.NewTextHandler(&logged, nil)), "/data/log")
	for _, test := range []struct {
		format string
		args   []any
		stops  bool
	}{
		{"pebble: fatal commit error: %v", []any{errors.New("no space")}, false},
		{"%s", []any{errors.New("MANIFEST write failed: no space")}, false},
		{"MANIFEST not locked for writing", nil, true},
		{"pebble: version edit validation failed (key=%s file=%s): %v", []any{"k", "f", errors.New("order")}, true},
	} {
		stopped := func() (p any) {
			defer func() { p = recover() }()
			h.Fatalf(test.format, test.args...)
			return nil
		}()
		if (stopped != nil) != test.stops {
			t.Errorf("%s: panic %v, want one: %v", test.format, stopped, test.stops)
		}
		if test.stops && !strings.HasPrefix(fmt.Sprint(stopped), "millrace: event log in /data/log: ") {
			t.Errorf("%s: panic %v", test.format, stopped)
		}
	}
	wantErr(t, "after a failed write", h.err(), ErrUnavailable)
	if n := strings.Count(logged.String(), "millrace stops to protect the event log"); n != 2 {
		t.Errorf("%d messages:\n%s", n, logged.String())
	}
}
