// Package objectstoretest is what every objectstore.Store must do, as tests,
// and a store in memory that fails when it is told to.
package objectstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/objectstore"
)

// Run tests the stores that open makes, each of them empty.
func Run(t *testing.T, open func(t *testing.T) objectstore.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s objectstore.Store)
	}{
		{"nothing stored", testEmpty},
		{"what is put is got", testRoundTrip},
		{"put replaces", testReplace},
		{"sizes that are not as said", testSize},
		{"a reader that fails", testReaderFails},
		{"readers that can not seek", testNoSeek},
		{"list", testList},
		{"delete", testDelete},
		{"keys", testKeys},
		{"modified", testModified},
		{"cancelled", testCancelled},
		{"many at a time", testConcurrent},
		{"readers see whole objects", testWhole},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func put(t testing.TB, s objectstore.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// read is all that a store has under a key.
func read(ctx context.Context, s objectstore.Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func want(t testing.TB, s objectstore.Store, key string, data []byte) {
	t.Helper()
	got, err := read(t.Context(), s, key)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("get %s: %d bytes, %v; want %d", key, len(got), err, len(data))
	}
	info, err := s.Stat(t.Context(), key)
	if err != nil || info.Key != key || info.Size != int64(len(data)) {
		t.Errorf("stat %s: %+v, %v; want %d bytes", key, info, err, len(data))
	}
}

func wantNone(t testing.TB, s objectstore.Store, key string) {
	t.Helper()
	if _, err := read(t.Context(), s, key); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("get %s: %v, want ErrNotFound", key, err)
	}
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("stat %s: %v, want ErrNotFound", key, err)
	}
}

func keys(t testing.TB, s objectstore.Store, prefix string) string {
	t.Helper()
	list, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	var names []string
	for _, o := range list {
		names = append(names, fmt.Sprintf("%s:%d", o.Key, o.Size))
	}
	return strings.Join(names, " ")
}

// noise is bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func testEmpty(t *testing.T, s objectstore.Store) {
	wantNone(t, s, "a")
	wantNone(t, s, "a/b")
	if got := keys(t, s, ""); got != "" {
		t.Errorf("list: %q, want nothing", got)
	}
	if got := keys(t, s, "a/"); got != "" {
		t.Errorf("list a/: %q, want nothing", got)
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	if s.String() == "" {
		t.Error("a store without a name")
	}
}

func testRoundTrip(t *testing.T, s objectstore.Store) {
	for _, size := range []int{0, 1, 1 << 10, 5<<20 + 1, 33 << 20} { // the last one goes up in parts
		key := fmt.Sprintf("folder/of-%d.sst", size)
		data := noise(size)
		put(t, s, key, data)
		want(t, s, key, data)
	}
	r, err := s.Get(t.Context(), "folder/of-1024.sst")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil { // without reading it
		t.Errorf("close: %v", err)
	}
}

func testReplace(t *testing.T, s objectstore.Store) {
	put(t, s, "a/b", []byte("a longer text"))
	put(t, s, "a/b", []byte("short"))
	want(t, s, "a/b", []byte("short"))
	if got := keys(t, s, ""); got != "a/b:5" {
		t.Errorf("list: %q", got)
	}
}

func testSize(t *testing.T, s objectstore.Store) {
	put(t, s, "kept", []byte("before"))
	for _, size := range []int64{0, 3, 7} {
		for _, key := range []string{"kept", "new"} {
			for _, r := range []io.Reader{strings.NewReader("after"), onlyReader{strings.NewReader("after")}} {
				if err := s.Put(t.Context(), key, r, size); !errors.Is(err, objectstore.ErrSize) {
					t.Errorf("put %s, %d bytes instead of 5, of a %T: %v, want ErrSize", key, size, r, err)
				}
			}
		}
	}
	want(t, s, "kept", []byte("before"))
	wantNone(t, s, "new")
}

var errReader = errors.New("reading failed")

func testReaderFails(t *testing.T, s objectstore.Store) {
	put(t, s, "kept", []byte("before"))
	for _, key := range []string{"kept", "new"} {
		r := io.MultiReader(strings.NewReader("half"), failing{})
		if err := s.Put(t.Context(), key, r, 8); !errors.Is(err, errReader) {
			t.Errorf("put %s: %v, want the reader's error", key, err)
		}
	}
	want(t, s, "kept", []byte("before"))
	wantNone(t, s, "new")
	if got := keys(t, s, ""); got != "kept:6" {
		t.Errorf("list: %q", got)
	}
}

// failing is a reader that fails at once.
type failing struct{}

// Read implements io.Reader.
func (failing) Read([]byte) (int, error) { return 0, errReader }

// onlyReader hides everything but Read.
type onlyReader struct{ io.Reader }

func testNoSeek(t *testing.T, s objectstore.Store) {
	for _, size := range []int{0, 10, 20 << 20} {
		data := noise(size)
		if err := s.Put(t.Context(), "a", onlyReader{bytes.NewReader(data)}, int64(size)); err != nil {
			t.Fatalf("put %d bytes: %v", size, err)
		}
		want(t, s, "a", data)
	}
	half := bytes.NewReader([]byte("skipped, kept"))
	if _, err := half.Seek(9, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", half, 4); err != nil {
		t.Fatal(err)
	}
	want(t, s, "a", []byte("kept"))
}

func testList(t *testing.T, s objectstore.Store) {
	for i, key := range []string{"b/2", "b/10", "b/c/1", "a", "bb/1", "B/1", "b-x"} {
		put(t, s, key, noise(i))
	}
	for prefix, want := range map[string]string{
		"":     "B/1:5 a:3 b-x:6 b/10:1 b/2:0 b/c/1:2 bb/1:4",
		"b/":   "b/10:1 b/2:0 b/c/1:2",
		"b/c/": "b/c/1:2",
		"c/":   "",
		"a/":   "", // which is no folder
	} {
		if got := keys(t, s, prefix); got != want {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
}

func testDelete(t *testing.T, s objectstore.Store) {
	put(t, s, "a/1", []byte("x"))
	put(t, s, "a/2", []byte("y"))
	for range 2 { // the second time it is not there
		if err := s.Delete(t.Context(), "a/1"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	wantNone(t, s, "a/1")
	if got := keys(t, s, ""); got != "a/2:1" {
		t.Errorf("list: %q", got)
	}
	put(t, s, "a/1", []byte("again"))
	want(t, s, "a/1", []byte("again"))
}

func testKeys(t *testing.T, s objectstore.Store) {
	ctx := t.Context()
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", `a\b`, "a\x00", strings.Repeat("x", 513)} {
		_, get := s.Get(ctx, key)
		_, stat := s.Stat(ctx, key)
		for doing, err := range map[string]error{
			"put": s.Put(ctx, key, strings.NewReader("x"), 1), "get": get, "stat": stat, "delete": s.Delete(ctx, key),
		} {
			if !errors.Is(err, objectstore.ErrKey) {
				t.Errorf("%s %q: %v, want ErrKey", doing, key, err)
			}
		}
	}
	for _, prefix := range []string{"a", "/", "../", "a//"} {
		if _, err := s.List(ctx, prefix); !errors.Is(err, objectstore.ErrKey) {
			t.Errorf("list %q: %v, want ErrKey", prefix, err)
		}
	}
	long := strings.Repeat("x", 200) + "/" + strings.Repeat("y", 200)
	put(t, s, long, []byte("z"))
	want(t, s, long, []byte("z"))
}

func testModified(t *testing.T, s objectstore.Store) {
	put(t, s, "a", []byte("x"))
	first, err := s.Stat(t.Context(), "a")
	if err != nil || time.Since(first.Modified).Abs() > time.Hour {
		t.Errorf("modified %v, %v", first.Modified, err)
	}
	list, err := s.List(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Modified.Sub(first.Modified).Abs() > time.Second {
		t.Errorf("list: %+v, %v; stat: %v", list, err, first.Modified)
	}
}

func testCancelled(t *testing.T, s objectstore.Store) {
	put(t, s, "a", []byte("x"))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Put(ctx, "b", strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := read(ctx, s, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.List(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if got := keys(t, s, ""); got != "a:1" {
		t.Errorf("list: %q", got)
	}
}

func testConcurrent(t *testing.T, s objectstore.Store) {
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			key := fmt.Sprintf("folder-%d/%d", i%3, i)
			data := noise(1000 + i)
			if err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
				t.Errorf("put: %v", err)
			}
			if got, err := read(t.Context(), s, key); err != nil || !bytes.Equal(got, data) {
				t.Errorf("get %s: %d bytes, %v", key, len(got), err)
			}
			if i%2 == 0 {
				if err := s.Delete(t.Context(), key); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(strings.Fields(keys(t, s, ""))); n != 8 {
		t.Errorf("%d objects, want 8", n)
	}
}

// testWhole reads an object while it is being replaced.
func testWhole(t *testing.T, s objectstore.Store) {
	version := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100_000) }
	put(t, s, "a", version(0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			data := version(i)
			if err := s.Put(t.Context(), "a", bytes.NewReader(data), int64(len(data))); err != nil {
				t.Errorf("put: %v", err)
			}
		}
	}()
	for {
		data, err := read(t.Context(), s, "a")
		if err != nil || len(data) != 100_000 || !bytes.Equal(data, version(int(data[0]))) {
			t.Fatalf("%d bytes of several versions, or %v", len(data), err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
