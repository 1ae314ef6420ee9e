package objectstoretest

import (
	"errors"
	"io"
	"testing"

	"millrace/objectstore"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) objectstore.Store { return &Memory{} })
}

var errInjected = errors.New("injected")

// A failure before an operation prevents it, one after it does not.
func TestFailures(t *testing.T) {
	fail := func(doing, _ string) error {
		if doing == "put" {
			return errInjected
		}
		return nil
	}
	for _, c := range []struct {
		store *Memory
		want  string
	}{{&Memory{Before: fail}, ""}, {&Memory{After: fail}, "a:0"}} {
		if err := c.store.Put(t.Context(), "a", failing{}, 0); err == nil {
			t.Error("a reader's error is lost")
		}
		if err := c.store.Put(t.Context(), "a", onlyReader{eof{}}, 0); !errors.Is(err, errInjected) {
			t.Errorf("put: %v", err)
		}
		if got := keys(t, c.store.Clone(), ""); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
