package eventlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
)

func letters(from, to int) []DeadLetter {
	var list []DeadLetter
	for i := from; i <= to; i++ {
		list = append(list, DeadLetter{
			Time:  event.Time(i),
			Raw:   fmt.Appendf(nil, `{"user_id":"u%d"}`, i),
			Error: fmt.Sprint("error ", i),
			User:  fmt.Sprint("u", i),
		})
	}
	return list
}

// times reads dead letters and gives their times.
func times(t *testing.T, l *Log, cursor string, n int) ([]int, string) {
	t.Helper()
	list, next, err := l.DeadLetters(cursor, n)
	if err != nil {
		t.Fatal(err)
	}
	got := []int{}
	for i, d := range list {
		at := int(d.Time)
		want := letters(at, at)[0]
		if string(d.Raw) != string(want.Raw) || d.Error != want.Error || d.User != want.User {
			t.Errorf("letter %d: got %+v", i, d)
		}
		got = append(got, at)
	}
	return got, next
}

func TestDeadLettersAreReadOnceEachInOrder(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, "log", Options{FS: fs})
	step := func(what string, cursor string, n int, want ...int) string {
		t.Helper()
		got, next := times(t, l, cursor, n)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
		return next
	}
	add := func(from, to int) {
		t.Helper()
		if err := l.AppendDeadLetters(letters(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	step("nothing yet", "", 10)
	add(1, 5)
	c := step("first page", "", 2, 1, 2)
	add(6, 7)
	c = step("second page after new ones came", c, 4, 3, 4, 5, 6)
	c = step("the rest", c, 4, 7)
	c = step("the end", c, 4)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, "log", Options{FS: fs})
	add(8, 9)
	step("those that came later, after a restart", c, 4, 8, 9)
	step("at least one", "", 0, 1)
	l.dead.mu.Lock() // as a writer does that waits for the disk
	n := l.DeadLetterCount()
	l.dead.mu.Unlock()
	if n != 9 {
		t.Errorf("count %d", n)
	}
	if got, _ := times(t, l, "", 1<<30); len(got) != 9 {
		t.Errorf("a huge page has %d", len(got))
	}
	for _, bad := range []string{"1", "AAAAAAAAAA", "!", "AAAAAAAAAAA=", strings.Repeat("A", 1000)} {
		_, _, err := l.DeadLetters(bad, 1)
		wantErr(t, bad, err, ErrInvalid)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	value := len(sealValue(appendDeadLetter(nil, &letters(10, 10)[0]), 0))
	for _, test := range []struct {
		name string
		o    Options
		want []int
	}{
		{"by number", Options{MaxDeadLetters: 3}, []int{17, 18, 19}},
		{"by bytes", Options{MaxDeadLetterBytes: int64(2*value + 1)}, []int{18, 19}},
		{"by fewer bytes than one has", Options{MaxDeadLetterBytes: 1}, []int{}},
	} {
		for _, step := range []int{1, 2, 5, 10} {
			fs := vfs.NewMem()
			test.o.FS = fs
			l := open(t, "log", test.o)
			_, cursor := times(t, l, "", 1)
			for from := 10; from < 20; from += step {
				if err := l.AppendDeadLetters(letters(from, from+step-1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, "log", test.o)
			got, _ := times(t, l, cursor, 100)
			if !slices.Equal(got, test.want) || l.DeadLetterCount() != len(test.want) {
				t.Errorf("%s, %d at once: kept %v of %d, want %v", test.name, step, got, l.DeadLetterCount(), test.want)
			}
			if want := uint64(len(test.want) * value); l.dead.bytes != want {
				t.Errorf("%s, %d at once: %d bytes counted, want %d", test.name, step, l.dead.bytes, want)
			}
		}
	}
}

func TestLongDeadLettersAreCut(t *testing.T) {
	for _, test := range []struct {
		name      string
		raw       string
		keep      int
		wantError string
	}{
		{"fits", strings.Repeat("x", MaxDeadLetterRaw), MaxDeadLetterRaw, "bad"},
		{"long", strings.Repeat("x", MaxDeadLetterRaw+1), MaxDeadLetterRaw, "bad (the input has 4097 bytes, the first 4096 are kept)"},
		{"within a character", strings.Repeat("x", MaxDeadLetterRaw-1) + "ä", MaxDeadLetterRaw - 1, "bad (the input has 4097 bytes, the first 4095 are kept)"},
		{"not UTF-8", strings.Repeat("\x80", 100_000), MaxDeadLetterRaw, "bad (the input has 100000 bytes, the first 4096 are kept)"},
	} {
		l := openMem(t)
		if err := l.AppendDeadLetters([]DeadLetter{{Raw: []byte(test.raw), Error: "bad", User: strings.Repeat("u", 100_000)}}); err != nil {
			t.Fatal(err)
		}
		list, _, err := l.DeadLetters("", 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%d letters, error %v", len(list), err)
		}
		d := list[0]
		if string(d.Raw) != test.raw[:test.keep] || d.Error != test.wantError || len(d.User) != maxDeadLetterUser {
			t.Errorf("%s: kept %d bytes, user of %d, error %q", test.name, len(d.Raw), len(d.User), d.Error)
		}
	}
	l := openMem(t)
	if err := l.AppendDeadLetters([]DeadLetter{{Error: strings.Repeat("e", 1<<20)}}); err != nil {
		t.Fatal(err)
	}
	if list, _, _ := l.DeadLetters("", 1); len(list[0].Error) != maxDeadLetterError {
		t.Errorf("an error of %d bytes is kept", len(list[0].Error))
	}
}

func TestPurgeDeadLetters(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, "log", Options{FS: fs, MaxDeadLetters: 9})
	keep := func(n int, user, raw string) DeadLetter {
		return DeadLetter{Time: event.Time(n), User: user, Raw: []byte(raw)}
	}
	err := l.AppendDeadLetters([]DeadLetter{
		keep(1, "eve", `{"user_id":"eve"}`),
		keep(2, "adam", `{"user_id":"adam","item_id":"eve"}`), // an item of that name is not the user
		keep(3, "", `{"user_id":"eve"`),
		keep(4, "", `eve`),
		keep(5, "", `eve eve`),
		keep(6, "", `{"user_id":"steve"`),
		keep(7, "", `{"user_id":"eve2"`),
		keep(8, "", `steve, eve`),
		keep(9, "", ``),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.PurgeDeadLetters("eve"); err != nil {
			t.Fatal(err)
		}
		list, _, err := l.DeadLetters("", 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, d := range list {
			got = append(got, int(d.Time))
		}
		if want := []int{2, 6, 7, 9}; !slices.Equal(got, want) || l.DeadLetterCount() != len(want) {
			t.Errorf("kept %v of %d, want %v", got, l.DeadLetterCount(), want)
		}
	}
	// The bounds count what is left.
	if err := l.AppendDeadLetters(letters(10, 14)); err != nil || l.DeadLetterCount() != 9 {
		t.Errorf("%d kept, error %v", l.DeadLetterCount(), err)
	}
	if err := l.AppendDeadLetters(letters(15, 20)); err != nil || l.DeadLetterCount() != 9 {
		t.Errorf("%d kept, error %v", l.DeadLetterCount(), err)
	}
	if got, _ := times(t, l, "", 100); !slices.Equal(got, []int{12, 13, 14, 15, 16, 17, 18, 19, 20}) {
		t.Errorf("kept %v", got)
	}
}
