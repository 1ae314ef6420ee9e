package generate

import (
	"errors"
	"io"
	"testing"

	"millrace/event"
	"millrace/source"
)

func readAll(t *testing.T, r source.Reader) (rows []string) {
	t.Helper()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		if record.Event != nil {
			rows = append(rows, string(event.AppendEvent(nil, record.Event)))
		} else {
			rows = append(rows, string(event.AppendChange(nil, record.Change)))
		}
	}
}

func TestReader(t *testing.T) {
	const events = 3000
	cfg := busy()
	open := func() source.Reader {
		r, err := NewReader(cfg, events)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	whole := open()
	rows := readAll(t, whole)
	if got := len(rows) - cfg.Items - cfg.Users; got < events || got > events+100 || whole.Done() != whole.Total() {
		t.Errorf("%d records after the catalogue, %d of %d done", got, whole.Done(), whole.Total())
	}
	for _, skip := range []int{0, 1, cfg.Items + cfg.Users, cfg.Items + cfg.Users + 1234, len(rows), len(rows) + 5} {
		r := open()
		if err := r.Skip(uint64(skip)); err != nil {
			t.Fatal(err)
		}
		rest := readAll(t, r)
		if want := rows[min(skip, len(rows)):]; len(rest) != len(want) || len(rest) > 0 && rest[0] != want[0] {
			t.Errorf("%d rows after skipping %d, want %d", len(rest), skip, len(want))
		}
	}
	other := cfg
	other.Items++
	if r, _ := NewReader(other, events); r.Name() == whole.Name() || open().Name() != whole.Name() {
		t.Errorf("name %q does not stand for the configuration", whole.Name())
	}
	if _, err := NewReader(Config{}, 1); !errors.Is(err, ErrConfig) {
		t.Errorf("NewReader of an empty Config: %v", err)
	}
}
