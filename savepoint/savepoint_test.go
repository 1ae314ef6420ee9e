package savepoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/event"
	"millrace/objectstore"
	"millrace/objectstore/objectstoretest"
	"millrace/state"
)

// snapshot writes a directory of files, "name=content" each.
func snapshot(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// at is a description of a state of a block.
func at(block uint64) Contents {
	return Contents{
		Block: block, BlockTime: event.Time(1000 + block), StreamTime: 77, Watermark: event.MinTime, Events: 3 * block,
		Release: "test", Config: []byte(`{"a":1}`), Stages: []Stage{{Name: "s", Version: 2, Keys: 5, Bytes: 50}},
	}
}

func create(t testing.TB, s *Store, kind Kind, id string, block uint64, files ...string) *Manifest {
	t.Helper()
	m, err := s.Create(t.Context(), kind, id, snapshot(t, files...), at(block))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fetched is what comes back of an id, "name=content" in order.
func fetched(ctx context.Context, t testing.TB, s *Store, id string) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	_, err := s.Fetch(ctx, id, dir)
	if err != nil {
		if _, statErr := os.Stat(dir); !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("after %v something is left in %s", err, dir)
		}
		return "", err
	}
	return contents(t, dir), nil
}

func contents(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e.Name()+"="+string(data))
	}
	return strings.Join(list, " ")
}

func wantFetched(t testing.TB, s *Store, id, want string) {
	t.Helper()
	if got, err := fetched(t.Context(), t, s, id); err != nil || got != want {
		t.Errorf("fetch %s: %q, %v; want %q", id, got, err, want)
	}
}

// stored is how many objects there are below a folder.
func stored(t testing.TB, o objectstore.Store, folder string) int {
	t.Helper()
	list, err := o.List(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func ids(t testing.TB, s *Store) string {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.ID)
	}
	return strings.Join(names, " ")
}

func TestCreateListDescribeFetch(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	made := create(t, s, Savepoint, "before-upgrade", 9, "000001.sst=table", "LOCK=", "MANIFEST-1=names", "marker.x=", "000002.sst=table")
	create(t, s, Checkpoint, "newer", 12, "000001.sst=table", "b=more")
	create(t, s, Savepoint, "older", 3, "c=other")
	if got := ids(t, s); got != "older before-upgrade newer" {
		t.Errorf("list: %s", got)
	}
	wantFetched(t, s, "before-upgrade", "000001.sst=table 000002.sst=table MANIFEST-1=names marker.x=")
	m, err := New(objects).Describe(t.Context(), "before-upgrade")
	if err != nil {
		t.Fatal(err)
	}
	want := at(9)
	if m.Block != 9 || m.Kind != Savepoint || m.BlockTime != want.BlockTime || m.StreamTime != 77 || m.Watermark != event.MinTime ||
		m.Events != 27 || m.Release != "test" || !slices.Equal(m.Stages, want.Stages) || !slices.Equal(m.Files, made.Files) ||
		!m.Created.Equal(made.Created) || time.Since(m.Created) > time.Minute || m.Bytes() != 15 || len(m.Files) != 4 ||
		strings.Join(strings.Fields(string(m.Config)), "") != `{"a":1}` {
		t.Errorf("described as %+v", m)
	}
	if n := stored(t, objects, sharedFolder); n != 4 { // table, names, more, other
		t.Errorf("%d files are stored, want 4: equal ones once, empty ones not at all", n)
	}
	if n := stored(t, objects, lockFolder); n != 0 {
		t.Errorf("%d locks are left", n)
	}
	if _, err := s.Verify(t.Context(), "before-upgrade"); err != nil {
		t.Errorf("verify: %v", err)
	}
}

func TestIDs(t *testing.T) {
	s := New(&objectstoretest.Memory{})
	create(t, s, Savepoint, "a", 1, "f=x")
	create(t, s, Checkpoint, "b", 1, "f=x")
	for _, id := range []string{"a", "b"} { // also of the other kind
		if _, err := s.Create(t.Context(), Savepoint, id, snapshot(t, "f=y"), at(2)); !errors.Is(err, ErrExists) {
			t.Errorf("create %s again: %v, want ErrExists", id, err)
		}
		wantFetched(t, s, id, "f=x")
	}
	for _, id := range []string{"", "A", "a/b", "..", "../a", "-a", "a-", "a b", strings.Repeat("a", 65)} {
		_, create := s.Create(t.Context(), Savepoint, id, snapshot(t, "f=y"), at(2))
		_, describe := s.Describe(t.Context(), id)
		for doing, err := range map[string]error{"create": create, "describe": describe, "dispose": s.Dispose(t.Context(), id)} {
			if !errors.Is(err, ErrID) {
				t.Errorf("%s %q: %v, want ErrID", doing, id, err)
			}
		}
	}
	_, err := fetched(t.Context(), t, s, "none")
	if !errors.Is(err, ErrNotFound) || !errors.Is(s.Dispose(t.Context(), "none"), ErrNotFound) {
		t.Errorf("what there is not: %v, want ErrNotFound", err)
	}
}

// Only files that are new are uploaded, and only those that nobody names any
// more are removed.
func TestIncremental(t *testing.T) {
	objects := &objectstoretest.Memory{}
	var put []string
	objects.Before = func(doing, key string) error {
		if doing == "put" && strings.HasPrefix(key, sharedFolder) {
			put = append(put, key)
		}
		return nil
	}
	s := New(objects)
	puts := func(want int) {
		t.Helper()
		if len(put) != want {
			t.Errorf("%d files were uploaded, want %d", len(put), want)
		}
		put = nil
	}
	create(t, s, Checkpoint, "c1", 1, "1.sst=one", "2.sst=two", "MANIFEST=1")
	puts(3)
	create(t, s, Checkpoint, "c2", 2, "2.sst=two", "3.sst=three", "MANIFEST=12")
	puts(2)
	create(t, New(objects), Savepoint, "s", 3, "2.sst=two", "3.sst=three", "4.sst=four") // another process
	puts(1)
	for _, step := range []struct {
		id   string
		left int
	}{{"c1", 4}, {"s", 3}, {"c2", 0}} {
		if err := s.Dispose(t.Context(), step.id); err != nil {
			t.Fatal(err)
		}
		if n := stored(t, objects, sharedFolder); n != step.left {
			t.Errorf("after %s was disposed of there are %d files, want %d", step.id, n, step.left)
		}
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if _, err := s.Verify(t.Context(), e.ID); err != nil {
				t.Errorf("after %s was disposed of: %v", step.id, err)
			}
		}
	}
}

// The checksums of tables are reckoned once, those of other files each time.
func TestHashesAreKept(t *testing.T) {
	s := New(&objectstoretest.Memory{})
	dir := snapshot(t, "1.sst=one", "MANIFEST=1")
	if _, err := s.Create(t.Context(), Checkpoint, "a", dir, at(1)); err != nil {
		t.Fatal(err)
	}
	for identity := range s.hashes {
		s.hashes[identity] = strings.Repeat("0", 64) // seen if it is used
	}
	m, err := s.Create(t.Context(), Checkpoint, "b", dir, at(1))
	if err != nil || m.Files[0].SHA256 != strings.Repeat("0", 64) || m.Files[1].SHA256 == strings.Repeat("0", 64) {
		t.Errorf("%+v, %v", m, err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "1.sst"), later, later); err != nil {
		t.Fatal(err)
	}
	m, err = s.Create(t.Context(), Checkpoint, "c", dir, at(1))
	if err != nil || m.Files[0].SHA256 == strings.Repeat("0", 64) {
		t.Errorf("another file of the name: %+v, %v", m, err)
	}
}

func TestRetain(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	for i := range 6 {
		kind, id := Checkpoint, fmt.Sprint("c", i)
		if i%3 == 0 {
			kind, id = Savepoint, fmt.Sprint("s", i)
		}
		create(t, s, kind, id, uint64(10+i), fmt.Sprintf("%d.sst=%d", i, i))
	}
	objects.Damage("checkpoints/c5.json", func(b []byte) []byte { return b[1:] })
	removed, err := s.Retain(t.Context(), 2)
	slices.Sort(removed)
	if err != nil || !slices.Equal(removed, []string{"c1", "c5"}) {
		t.Errorf("removed %v, %v; want c1 and c5, which can not be read", removed, err)
	}
	if got := ids(t, s); got != "s0 c2 s3 c4" {
		t.Errorf("left: %s", got)
	}
	if removed, err = s.Retain(t.Context(), 0); err != nil || len(removed) != 2 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := ids(t, s); got != "s0 s3" || stored(t, objects, sharedFolder) != 2 {
		t.Errorf("left: %s, %d files", got, stored(t, objects, sharedFolder))
	}
}

// As long as a manifest can not be read no file is removed, as it might be one
// of its.
func TestUnreadableManifestsKeepFiles(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	create(t, s, Savepoint, "a", 1, "f=a")
	create(t, s, Savepoint, "b", 2, "f=b")
	whole := objects.Clone()
	objects.Damage("savepoints/a.json", func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
	if err := s.Dispose(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context()); !errors.Is(err, state.ErrCorrupt) || stored(t, objects, sharedFolder) != 2 {
		t.Errorf("sweep: %v, %d files left", err, stored(t, objects, sharedFolder))
	}
	wantFetched(t, New(whole), "a", "f=a")
	if err := s.Dispose(t.Context(), "a"); err != nil { // also of what is damaged
		t.Fatal(err)
	}
	if n := stored(t, objects, ""); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

func TestFetchNewest(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	_, skipped, err := s.FetchNewest(t.Context(), filepath.Join(t.TempDir(), "d"), nil)
	if !errors.Is(err, ErrNone) || skipped != nil {
		t.Errorf("of nothing: %v, %v", skipped, err)
	}
	var last *Manifest
	for i := range uint64(5) {
		last = create(t, s, Checkpoint, fmt.Sprint("c", i), i, fmt.Sprintf("f=content %d", i))
	}
	objects.Damage(last.Files[0].key(), func(b []byte) []byte { b[0] ^= 1; return b })
	objects.Damage("checkpoints/c3.json", func(b []byte) []byte { return nil })
	refused := errors.New("refused")
	dir := filepath.Join(t.TempDir(), "d")
	m, skipped, err := s.FetchNewest(t.Context(), dir, func(m *Manifest) error {
		if m.Block == 2 {
			return refused
		}
		return nil
	})
	if err != nil || m.ID != "c1" || contents(t, dir) != "f=content 1" {
		t.Fatalf("%+v, %v", m, err)
	}
	why := map[string]error{}
	for _, k := range skipped {
		why[k.ID] = k.Err
	}
	if len(why) != 3 || !errors.Is(why["c3"], state.ErrCorrupt) || !errors.Is(why["c4"], state.ErrCorrupt) || !errors.Is(why["c2"], refused) {
		t.Errorf("skipped %v", skipped)
	}
	if !strings.Contains(why["c4"].Error(), "file f (shared/") {
		t.Errorf("%v does not name the file", why["c4"])
	}
	away := errors.New("away")
	objects.Before = func(doing, key string) error {
		if doing == "get" && strings.HasPrefix(key, sharedFolder) {
			return fmt.Errorf("%w: %w", objectstore.ErrUnavailable, away)
		}
		return nil
	}
	if _, _, err := s.FetchNewest(t.Context(), filepath.Join(t.TempDir(), "d"), nil); !errors.Is(err, away) {
		t.Errorf("a store that is away: %v, and not an older checkpoint", err)
	}
}

// A bit that flips anywhere in the store is noticed, or changes nothing.
func TestDamage(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	create(t, s, Savepoint, "a", 1, "1.sst=a table", "2.sst=another", "MANIFEST=which", "empty=")
	want, err := fetched(t.Context(), t, s, "a")
	if err != nil {
		t.Fatal(err)
	}
	list, err := objects.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	noticed := map[string]int{}
	for _, o := range list {
		folder, _, _ := strings.Cut(o.Key, "/")
		changes := map[string]func([]byte) []byte{
			"cut":     func(b []byte) []byte { return b[:len(b)-3] },
			"emptied": func([]byte) []byte { return nil },
			"longer":  func(b []byte) []byte { return append(b, '}') },
		}
		for at := range o.Size {
			changes[fmt.Sprint("bit of byte ", at)] = func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }
		}
		for name, change := range changes {
			damaged := objects.Clone()
			damaged.Damage(o.Key, change)
			got, err := fetched(t.Context(), t, New(damaged), "a")
			switch {
			case errors.Is(err, state.ErrCorrupt):
				noticed[folder]++
			case err != nil:
				t.Errorf("%s, %s: %v, which is not ErrCorrupt", o.Key, name, err)
			case got != want:
				t.Errorf("%s, %s: fetched %q", o.Key, name, got)
			case folder == sharedFolder[:6]:
				t.Errorf("%s, %s: not noticed", o.Key, name)
			}
		}
		damaged := objects.Clone()
		if err := damaged.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
		if _, err := fetched(t.Context(), t, New(damaged), "a"); !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s removed: %v", o.Key, err)
		}
	}
	if noticed["shared"] == 0 || noticed["savepoints"] < 100 {
		t.Errorf("noticed: %v", noticed)
	}
}

// What a later release has written is told from what is damaged, and is left
// alone.
func TestLaterReleases(t *testing.T) {
	objects := &objectstoretest.Memory{}
	s := New(objects)
	m := create(t, s, Checkpoint, "a", 1, "f=a")
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(data), `"format": 1`, `"format": 2`, 1)
	_, inner, _ := strings.Cut(later, `"manifest":`)
	later = resealed(strings.TrimSuffix(inner, "}\n"))
	objects.Damage("checkpoints/a.json", func([]byte) []byte { return []byte(later) })
	if _, err := s.Describe(t.Context(), "a"); !errors.Is(err, state.ErrNewer) {
		t.Errorf("%v, want ErrNewer", err)
	}
	if removed, err := s.Retain(t.Context(), 0); err != nil || len(removed) > 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// A manifest can not make Fetch write anywhere but into its directory.
func TestNamesOfFiles(t *testing.T) {
	for _, name := range []string{"../evil", "/etc/evil", "a/b", "", ".", "..", ".hidden", "a\x00b"} {
		m := &Manifest{ID: "a", Kind: Savepoint, Contents: at(1), Files: []File{{Name: name, Size: 1, SHA256: strings.Repeat("a", 64)}}}
		data, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(data, Savepoint, "a"); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("a file %q: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestCheckStages(t *testing.T) {
	program := []Stage{{Name: "kept", Version: 3}, {Name: "added", Version: 1}}
	for _, c := range []struct {
		stored  []Stage
		allowed bool
		lost    string
		err     error
	}{
		{stored: []Stage{{Name: "kept", Version: 3, Keys: 1}}},
		{stored: []Stage{{Name: "kept", Version: 1, Keys: 1}}},
		{stored: nil},
		{stored: []Stage{{Name: "kept", Version: 4, Keys: 1}}, err: state.ErrNewer},
		{stored: []Stage{{Name: "kept", Version: 4, Keys: 1}}, allowed: true, err: state.ErrNewer},
		{stored: []Stage{{Name: "gone", Version: 1, Keys: 1}, {Name: "kept", Version: 1, Keys: 1}}, err: state.ErrStageMissing},
		{stored: []Stage{{Name: "gone", Version: 9, Keys: 1}, {Name: "kept", Version: 1, Keys: 1}}, allowed: true, lost: "gone"},
		{stored: []Stage{{Name: "gone", Version: 1}}}, // without keys nothing is lost
	} {
		lost, err := CheckStages(c.stored, program, c.allowed)
		if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) || c.err == nil && strings.Join(lost, " ") != c.lost {
			t.Errorf("%+v: lost %v, %v; want %q, %v", c.stored, lost, err, c.lost, c.err)
		}
	}
	_, err := CheckStages([]Stage{{Name: "gone", Keys: 1}}, program, false)
	if err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("%v does not name the stage", err)
	}
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{ID: "a", Kind: Savepoint, Contents: at(1), Files: []File{{Name: "f", Size: 1, SHA256: strings.Repeat("a", 64)}}}
	data, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(resealed(`{"format":1}`))
	f.Add(resealed(`{"format":1,"id":"a","kind":"savepoint","files":[{"name":"../x"}]}`))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := decode([]byte(text), Savepoint, "a")
		if err != nil {
			if !unreadable(err) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, f := range m.Files {
			if filepath.Base(f.Name) != f.Name {
				t.Errorf("file %q", f.Name)
			}
		}
	})
}
