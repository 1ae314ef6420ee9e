package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"millrace/catalog/sqlite"
	"millrace/event"
)

// After Erase a deleted user is in no file of the database, though it is open.
func TestEraseLeavesNothingOfADeletedUser(t *testing.T) {
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	user := &event.User{ID: "victimzq7f3a9c", Age: 44, Gender: "f"}
	for i, kind := range []event.ChangeKind{event.PutUser, event.DeleteUser} {
		if err := store.Apply(t.Context(), uint64(i+1), []event.Change{{Kind: kind, User: user}}); err != nil {
			t.Fatal(err)
		}
	}
	if !found(t, dir, user.ID) {
		t.Fatal("the user is in no file before Erase either: the test tests nothing")
	}
	if err := store.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found(t, dir, user.ID) {
		t.Error("the deleted user is still in a file")
	}
}

func found(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}
