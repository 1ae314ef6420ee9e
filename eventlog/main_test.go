package eventlog

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"millrace/event"
)

// leakCheck demands that a test leaves no goroutine behind, but one that
// Pebble itself leaves where it can not be opened.
func leakCheck(t *testing.T) {
	t.Helper()
	running := goleak.IgnoreCurrent()
	left := goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2.(*ConcurrencyLimitScheduler).periodicGranter")
	t.Cleanup(func() { goleak.VerifyNone(t, running, left) })
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		openAsChild(dir)
		return
	}
	os.Exit(m.Run())
}

// open opens a log and closes it with the test.
func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// openMem opens an empty log in memory.
func openMem(t testing.TB) *Log {
	t.Helper()
	return open(t, "log", Options{FS: vfs.NewMem()})
}

// block makes a block of kind Config whose payload is the text; the log does
// not look into it.
func block(time event.Time, text string) *Block {
	return &Block{Kind: Config, Time: time, Count: 1, Payload: []byte(text)}
}

// show writes a block in one line.
func show(b *Block) string {
	payload := string(b.Payload)
	if len(payload) > 40 {
		payload = fmt.Sprintf("%s... %d bytes", payload[:20], len(payload))
	}
	text := fmt.Sprintf("%d %v t=%d n=%d %v %q", b.Number, b.Kind, b.Time, b.Count, b.Positions, payload)
	if len(b.Runs) > 0 {
		text += fmt.Sprint(" of ", b.Runs)
	}
	return text
}

// scanAll shows the blocks from a number on.
func scanAll(t testing.TB, l *Log, from uint64) []string {
	t.Helper()
	var got []string
	err := l.Scan(from, func(b *Block) error {
		got = append(got, show(b))
		return nil
	})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	return got
}

// isWAL says whether a file is a write-ahead log.
func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

// wantErr checks that err is target.
func wantErr(t testing.TB, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", what, err, target)
	}
}
