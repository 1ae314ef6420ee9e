package directory

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/objectstore"
	"millrace/objectstore/objectstoretest"
)

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	objectstoretest.Run(t, func(t *testing.T) objectstore.Store {
		return open(t, filepath.Join(t.TempDir(), "made", "by the first put"))
	})
}

// Opening, reading and listing make nothing.
func TestNothingIsMadeInVain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	s := open(t, root)
	if _, err := s.List(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is %s: %v", root, err)
	}
}

// What a Put that was cut off has left is not listed, and is removed once
// nobody can be writing it any more.
func TestLeftovers(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if err := s.Put(t.Context(), "a", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(root, incoming, "old"), filepath.Join(root, incoming, "young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * leftoverAge)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "somebody else's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := s.Put(t.Context(), "b", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old file is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young file is gone: %v", err)
	}
}

// Where a folder of a key can not be made the store is at fault, and not the key.
func TestFileInTheWay(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, root).Put(t.Context(), "a/b", strings.NewReader("x"), 1); !errors.Is(err, objectstore.ErrUnavailable) {
		t.Errorf("put: %v, want ErrUnavailable", err)
	}
	if _, err := open(t, root).Get(t.Context(), "a/b"); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("get: %v, want ErrNotFound", err)
	}
}

func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, objectstore.ErrURL) {
		t.Errorf("%v, want ErrURL", err)
	}
}
