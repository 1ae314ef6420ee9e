package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// written sets when a file was last written, in minutes of a fixed day.
func written(t fatal, path string, minute int) {
	t.Helper()
	at := time.Unix(1_700_000_000, 0).Add(time.Duration(minute) * time.Minute)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatalf("%v", err)
	}
}

// Files that are met in the same look are read in the order in which they were
// written, each up to what it had then; what is written to one meanwhile waits
// for nobody, and none waits for what comes to another later.
func TestOldestFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	var want []string
	write := func(path string, n int) {
		var text strings.Builder
		for range n {
			want = append(want, fmt.Sprint(len(want)))
			text.WriteString(want[len(want)-1] + "\n")
		}
		appendTo(t, path, text.String())
	}
	write(path+".2", 2*maxLines+1)
	write(path+".1", maxLines+1)
	write(path, 2)
	write(path+".0", 1) // as old as the one before, by name after it
	for minute, name := range []string{path + ".2", path + ".1", path} {
		written(t, name, minute)
	}
	written(t, path+".0", 2)
	r := newReading(t, Options{Paths: []string{path + "*"}})
	defer r.close()
	r.step()
	appendTo(t, path+".2", "part of a line")
	appendTo(t, path+".1", "and one more\n")
	n := 3*maxLines + 2
	r.want(slices.Concat(want[:n], []string{"and one more"}, want[n:])...)
	appendTo(t, path, "5\n")
	appendTo(t, path+".2", " and its end\n")
	r.all()
	if got := r.lines[len(r.lines)-2:]; !slices.Contains(got, "5") || !slices.Contains(got, "part of a line and its end") {
		t.Errorf("at last %q", got)
	}
}

// A file that goes away while it waits to be read holds up none of the others,
// and is read all the same.
func TestGoneBeforeItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := newReading(t, Options{Paths: []string{path + "*"}})
	defer r.close()
	for minute, name := range []string{path + ".2", path + ".1", path} {
		appendTo(t, name, filepath.Base(name)+"\n")
		written(t, name, minute)
	}
	r.step()
	if err := errors.Join(os.Truncate(path+".2", 0), os.Remove(path+".2"), os.Remove(path+".1")); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(time.Hour)
	r.want("a.log.2", "a.log.1", "a.log")
}

func copyTruncate(t fatal, path, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err = errors.Join(err, os.Truncate(path, 0)); err != nil {
		t.Fatalf("%v", err)
	}
}
