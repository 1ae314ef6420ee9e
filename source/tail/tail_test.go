package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reading is a follower and what was stored of what it handed out.
type reading struct {
	t       fatal
	options Options
	stored  map[string]uint64
	lines   []string
	f       *Follower
	clock   time.Time
}

type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

func newReading(t fatal, o Options) *reading {
	r := &reading{t: t, stored: map[string]uint64{}, options: o, clock: time.Unix(1_700_000_000, 0)}
	r.options.PollOnly = true
	r.options.Poll = time.Millisecond
	r.options.CloseAfter = 10 * time.Second
	r.options.Position = func(_ context.Context, source string) (uint64, bool, error) {
		next, known := r.stored[source]
		return next, known, nil
	}
	r.restart()
	return r
}

func (r *reading) restart() {
	r.t.Helper()
	r.close()
	f, err := New(r.options)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	f.now = func() time.Time { return r.clock }
	r.f = f
}

func (r *reading) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// step stores what comes next, if there is something.
func (r *reading) step() bool {
	r.t.Helper()
	r.clock = r.clock.Add(time.Millisecond)
	ctx := context.Background()
	if err := r.f.look(ctx); err != nil {
		r.t.Fatalf("%v", err)
	}
	l, err := r.f.take(ctx)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	if l == nil {
		return false
	}
	for _, line := range l.Lines {
		text := string(line.Text)
		if line.Long {
			text = "long:" + text[:4]
		}
		r.lines = append(r.lines, text)
	}
	r.stored[l.Source] = l.Next
	return true
}

// all stores what there is.
func (r *reading) all() {
	r.t.Helper()
	for range 10_000 {
		if !r.step() {
			return
		}
	}
	r.t.Fatalf("it does not end")
}

func appendTo(t fatal, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatalf("%v", err)
	}
}

func (r *reading) want(lines ...string) {
	r.t.Helper()
	r.all()
	if got, want := strings.Join(r.lines, "|"), strings.Join(lines, "|"); got != want {
		r.t.Fatalf("\n got %s\nwant %s", got, want)
	}
}

func TestPartsOfLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := newReading(t, Options{Paths: []string{path}, MaxLineBytes: 10})
	defer r.close()
	r.want()
	appendTo(t, path, "o")
	r.want()
	appendTo(t, path, "ne\r\n\ntwo\nthr")
	r.want("one", "", "two")
	appendTo(t, path, "ee\n0123456789\n0123456789a\nx\n")
	r.want("one", "", "two", "three", "0123456789", "long:0123", "x")
	appendTo(t, path, strings.Repeat("y", 20_000))
	r.want("one", "", "two", "three", "0123456789", "long:0123", "x")
	r.restart()
	r.want("one", "", "two", "three", "0123456789", "long:0123", "x")
	appendTo(t, path, "y\nz\n")
	r.want("one", "", "two", "three", "0123456789", "long:0123", "x", "long:yyyy", "z")
	appendTo(t, path, "w\n")
	r.restart()
	r.want("one", "", "two", "three", "0123456789", "long:0123", "x", "long:yyyy", "z", "w")
}

func TestRenamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	r := newReading(t, Options{Paths: []string{path}})
	defer r.close()
	appendTo(t, path, "1\n")
	r.want("1")
	appendTo(t, path, "2\n")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "4\n")
	appendTo(t, path+".old", "3\nend")
	r.want("1", "4", "2", "3")
	r.clock = r.clock.Add(time.Minute)
	r.want("1", "4", "2", "3", "end")
	r.clock = r.clock.Add(time.Minute)
	r.all()
	if len(r.f.files) != 1 {
		t.Errorf("%d files are open, want the one that is there", len(r.f.files))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(time.Minute)
	r.all()
	if len(r.f.files) != 0 {
		t.Error("a file that was removed is still open")
	}
}

// While nobody reads, a file is rotated twice and written to.
func TestRotatedWhileAway(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	r := newReading(t, Options{Paths: []string{path + "*"}})
	defer r.close()
	appendTo(t, path, "1\n2\n")
	r.want("1", "2")
	r.close()
	r.f = nil
	appendTo(t, path, "3\n")
	for _, names := range [][2]string{{"a.log", "a.log.1"}} {
		if err := os.Rename(filepath.Join(dir, names[0]), filepath.Join(dir, names[1])); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, path, "4\n")
	if err := os.Rename(path+".1", path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "5\n")
	for i, name := range []string{path + ".2", path + ".1", path} {
		written(t, name, i)
	}
	r.restart()
	r.want("1", "2", "3", "4", "5")
}

func TestCopiedAndBegunAnew(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.log")
		r := newReading(t, Options{Paths: []string{path + "*"}})
		appendTo(t, path, "1\n2\n")
		r.want("1", "2")
		appendTo(t, path, "3\n")
		copyTruncate(t, path, path+".1")
		if restart {
			r.restart()
		}
		r.want("1", "2", "3")
		appendTo(t, path, "4\n5\n6\n7\n8\n")
		r.want("1", "2", "3", "4", "5", "6", "7", "8")
		r.restart()
		r.want("1", "2", "3", "4", "5", "6", "7", "8")
		// The same again, unnoticed until it is longer than before.
		copyTruncate(t, path, path+".2")
		appendTo(t, path, "10\n11\n12\n13\n14\n15\n16\n")
		r.all()
		if len(r.lines) != 15 {
			t.Errorf("restart %v: %v", restart, r.lines)
		}
		r.close()
	}
}

// A file that begins anew with what it began with is another one all the same.
func TestSameBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := newReading(t, Options{Paths: []string{path}})
	defer r.close()
	appendTo(t, path, "1\n2\n")
	r.want("1", "2")
	for range 3 {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		r.lines = nil
		r.all()
		appendTo(t, path, "1\n")
		r.want("1")
		r.restart()
		appendTo(t, path, "3\n")
		r.want("1", "3")
	}
}

func TestSameFirstLines(t *testing.T) {
	dir := t.TempDir()
	r := newReading(t, Options{Paths: []string{filepath.Join(dir, "*.log")}})
	defer r.close()
	for _, name := range []string{"a.log", "b.log"} {
		appendTo(t, filepath.Join(dir, name), "started\n")
	}
	r.all()
	appendTo(t, filepath.Join(dir, "a.log"), "a\n")
	r.all()
	appendTo(t, filepath.Join(dir, "b.log"), "b\n")
	r.all()
	r.all()
	if got := strings.Join(r.lines, "|"); got != "started|a|started|b" {
		t.Error(got)
	}
}

// What was stored just now may not be known to Position yet: a copy goes on after
// it all the same.
func TestPositionThatLags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := newReading(t, Options{Paths: []string{path + "*"}})
	defer r.close()
	r.f.o.Position = func(context.Context, string) (uint64, bool, error) { return 0, false, nil }
	appendTo(t, path, "1\n2\n")
	r.want("1", "2")
	appendTo(t, path, "3\n")
	copyTruncate(t, path, path+".1")
	appendTo(t, path, "4\n5\n6\n7\n")
	r.all()
	if len(r.lines) != 7 {
		t.Errorf("%v, want each line once", r.lines)
	}
}

func TestHeaderAndFromEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	appendTo(t, path, "user,item\nu,1\nu,2")
	r := newReading(t, Options{Paths: []string{path}, Header: true, FromEnd: true})
	defer r.close()
	r.want()
	appendTo(t, path, "2\nu,3\n")
	r.restart() // where it began is stored
	r.want("u,22", "u,3")
	l, err := New(Options{Paths: []string{path}, Header: true, PollOnly: true, Position: func(context.Context, string) (uint64, bool, error) { return 0, false, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := l.Next(t.Context())
	if err != nil || string(got.Header) != "user,item" || len(got.Lines) != 3 || string(got.Lines[0].Text) != "u,1" || got.Lines[0].Offset != 10 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is not handed out yet counts as behind, a copy of a file does not.
func TestFollowing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	appendTo(t, path, "1\n2\n")
	r := newReading(t, Options{Paths: []string{path + "*"}})
	defer r.close()
	want := func(files int, behind uint64) {
		t.Helper()
		if err := r.f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f, b := r.f.Following(); f != files || b != behind {
			t.Errorf("%d files and %d bytes behind, want %d and %d", f, b, files, behind)
		}
	}
	want(1, 4)
	r.want("1", "2")
	want(1, 0)
	appendTo(t, path, "3\nunfinished")
	want(1, 12)
	r.want("1", "2", "3")
	want(1, 10)
	appendTo(t, path+".1", "1\n2\n3\nunfinished")
	want(1, 10)
}

func TestRewind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	appendTo(t, path, "1\n2\n")
	r := newReading(t, Options{Paths: []string{path}})
	defer r.close()
	r.all()
	source := r.f.files[0].source
	r.stored[source] = 2
	if err := r.f.Rewind(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	r.want("1", "2", "2")
	delete(r.stored, source)
	if err := r.f.Rewind(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	r.want("1", "2", "2", "1", "2")
}

// A notice of the file system wakes up a follower at once.
func TestNotices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f, err := New(Options{Paths: []string{path}, Poll: time.Hour, Position: func(context.Context, string) (uint64, bool, error) { return 0, false, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go func() {
		for n := range 3 {
			time.Sleep(20 * time.Millisecond)
			appendTo(t, path, fmt.Sprintln(n))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []byte
	for len(got) < 3 {
		l, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range l.Lines {
			got = append(got, line.Text...)
		}
	}
	if !bytes.Equal(got, []byte("012")) {
		t.Errorf("%s", got)
	}
}

// TestSchedules: whatever happens to a log, each of its lines is stored once:
// it is written to in pieces, renamed, copied and begun anew, and readers are
// stopped anywhere, also between handing lines out and storing them.
func TestSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "tail")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "a.log")
		copies := rapid.Bool().Draw(t, "copytruncate")
		r := newReading(t, Options{Paths: []string{path + "*"}, MaxLineBytes: 64})
		defer r.close()
		written, part, rotated := 0, "", 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				text := part
				for range rapid.IntRange(1, 8).Draw(t, "lines") {
					text += fmt.Sprintf("line %d %s\n", written, strings.Repeat("x", rapid.IntRange(0, 40).Draw(t, "length")))
					written++
				}
				cut := len(text)
				if rapid.Bool().Draw(t, "cut") {
					cut = rapid.IntRange(strings.LastIndexByte(text[:len(text)-1], '\n')+1, len(text)).Draw(t, "at")
				}
				appendTo(t, path, text[:cut])
				part = text[cut:]
			case 2:
				r.step()
			case 3:
				r.all()
			case 4:
				if rapid.Bool().Draw(t, "lost") { // handed out, and not stored
					before := map[string]uint64{}
					for source, next := range r.stored {
						before[source] = next
					}
					lines := len(r.lines)
					r.step()
					r.stored, r.lines = before, r.lines[:lines]
				}
				r.restart()
			case 5:
				if _, err := os.Stat(path); err != nil || part != "" {
					continue
				}
				rotated++
				if copies {
					copyTruncate(t, path, fmt.Sprintf("%s.%d", path, rotated))
				} else if err := os.Rename(path, fmt.Sprintf("%s.%d", path, rotated)); err != nil {
					t.Fatal(err)
				}
			}
		}
		appendTo(t, path, part)
		r.all()
		seen := map[string]int{}
		for _, line := range r.lines {
			seen[strings.Join(strings.Fields(line)[:2], " ")]++
		}
		for n := range written {
			if seen[fmt.Sprint("line ", n)] != 1 {
				t.Fatalf("line %d was stored %d times", n, seen[fmt.Sprint("line ", n)])
			}
		}
	})
}
