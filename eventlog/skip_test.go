package eventlog

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
)

// A record that is skipped is marked in every scan, now and after a restart,
// and is a dead letter; its block stays as it was stored.
func TestSkip(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, "log", Options{FS: fs})
	for range 3 {
		if err := l.Append(&Block{Kind: Events, Time: 1, Count: 4, Payload: []byte("four")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []int{3, 1, 3} {
		if err := l.Skip(2, row, DeadLetter{Time: event.Time(row), Raw: []byte("raw"), Error: "it failed", User: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		err := l.Scan(1, func(b *Block) error {
			var want []int
			if b.Number == 2 {
				want = []int{1, 3}
			}
			if !slices.Equal(b.Skipped, want) || b.Count != 4 || string(b.Payload) != "four" {
				t.Errorf("%s: block %d: skipped %v, %d records", when, b.Number, b.Skipped, b.Count)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := l.DeadLetters("", 10)
		if err != nil || len(list) != 3 || list[0].Error != "it failed" || list[0].User != "ann" || l.DeadLetterCount() != 3 {
			t.Errorf("%s: dead letters %v, %v", when, list, err)
		}
	}
	check("before a restart")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, "log", Options{FS: fs})
	check("after a restart")
}
