package checkpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func record(block uint64) Record {
	return Record{Block: block, Started: time.Unix(int64(block), 0).UTC(), Duration: time.Second, Bytes: int64(block)}
}

func opened(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournalStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := opened(t, path)
	for i := range uint64(1000) {
		if err := j.Append(record(i + 1)); err != nil {
			t.Fatal(err)
		}
		if i%77 == 0 {
			j = opened(t, path)
		}
		text, err := os.ReadFile(path)
		if n := strings.Count(string(text), "\n"); err != nil || n > 2*keptRecords {
			t.Fatalf("%d lines, %v", n, err)
		}
	}
	list := opened(t, path).Records()
	if len(list) != keptRecords || list[0] != record(901) || list[keptRecords-1] != record(1000) {
		t.Errorf("%d records, %+v", len(list), list)
	}
}

// What a crash or a person has left in the file is passed over, and gone after
// the next record.
func TestJournalReadsWhatItCan(t *testing.T) {
	const good = `{"block":7,"started":"2024-01-01T00:00:00Z","duration_ns":5,"stall_ns":0,"bytes":1,"keys":1,"total_bytes":9}` + "\n"
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"empty", "", 0}, {"good", good, 1},
		{"cut off", good + good[:30], 1}, {"without its end", strings.TrimSuffix(good, "\n"), 1},
		{"nonsense", "nonsense\n" + good, 1}, {"zeros", "\x00\x00\x00\n" + good, 1},
		{"the same again", good + good, 1},
	} {
		path := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		j := opened(t, path)
		if got := j.Records(); len(got) != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		for i := range uint64(2) {
			if err := j.Append(record(8 + i)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got := opened(t, path); len(got.Records()) != c.want+2 || got.torn {
			t.Errorf("%s: afterwards %+v", c.name, got.Records())
		}
	}
}

// A file that can not be written is an error that nobody has to heed.
func TestJournalThatCanNotBeWritten(t *testing.T) {
	j := opened(t, filepath.Join(t.TempDir(), "none", "j"))
	if err := j.Append(record(1)); err == nil {
		t.Error("no error")
	}
	if got := j.Records(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := OpenJournal(t.TempDir()); err == nil {
		t.Error("a directory is read")
	}
	var none *Journal
	if err := none.Append(record(1)); err != nil || none.Records() != nil {
		t.Error("no journal keeps something")
	}
}
