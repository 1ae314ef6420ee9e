// Package viewtest is what every view.Store must do, as tests. A store passes
// it by calling Run from a test of its own.
package viewtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// Number is the value that the tests write.
type Number uint64

// AppendBinary implements operator.Value: eight bytes, big-endian.
func (n Number) AppendBinary(dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(n)), nil
}

// Decode reads what AppendBinary wrote, for stores that hold bytes.
func Decode(b []byte) (operator.Value, error) {
	if len(b) != 8 {
		return nil, fmt.Errorf("viewtest: a number has 8 bytes, not %d", len(b))
	}
	return Number(binary.BigEndian.Uint64(b)), nil
}

// Views are the names of the views that the tests write.
var Views = []string{"alpha", "beta"}

// Run tests the stores that open makes, each empty. Stores are closed by the
// tests.
func Run(t *testing.T, open func(t *testing.T) view.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s view.Store)
	}{
		{"nothing published", testEmpty},
		{"put, overwrite, delete", testWrites},
		{"any string is a key", testKeys},
		{"a snapshot stays as it is", testSnapshotStays},
		{"many snapshots at once", testManySnapshots},
		{"each in order", testEach},
		{"order of blocks", testBlockOrder},
		{"closed", testClosed},
		{"typed get", testTyped},
		{"blocks are atomic under load", testAtomic},
		{"old snapshots stay while blocks pass", testOldSnapshots},
		{"memory does not grow when keys churn", testChurn},
		{"memory does not grow beside an old snapshot", testChurnBesideSnapshot},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, s)
		})
	}
	t.Run("agrees with a model", func(t *testing.T) { testModel(t, open) })
}

func put(name, key string, n Number) operator.ViewWrite {
	return operator.ViewWrite{View: name, Key: key, Value: n}
}

func remove(name, key string) operator.ViewWrite {
	return operator.ViewWrite{View: name, Key: key}
}

// publish publishes a block at the stream time of as many seconds.
func publish(t testing.TB, s view.Store, block uint64, writes ...[]operator.ViewWrite) {
	t.Helper()
	if err := s.Publish(block, event.Time(block)*event.Second, writes...); err != nil {
		t.Fatalf("publish block %d: %v", block, err)
	}
}

// contents lists a view as "key=value key=value".
func contents(t testing.TB, s view.Store, name string) string {
	t.Helper()
	text, count := "", 0
	err := s.Each(name, func(key string, v operator.Value) error {
		if count++; count > 1 {
			text += " "
		}
		text += fmt.Sprintf("%s=%d", key, v)
		return nil
	})
	if err != nil {
		t.Fatalf("each of %s: %v", name, err)
	}
	if got := s.Len(name); got != count {
		t.Errorf("view %s has %d keys, Len says %d", name, count, got)
	}
	return text
}

// want checks one answer; 0 means that there must be none.
func want(t testing.TB, r view.Reader, name, key string, n Number) {
	t.Helper()
	got, ok := view.Get[Number](r, name, key)
	if ok != (n != 0) || got != n {
		t.Errorf("%s/%s = %d, %t; want %d", name, key, got, ok, n)
	}
}

func testEmpty(t *testing.T, s view.Store) {
	r := s.Snapshot()
	defer r.Close()
	if r.Block() != 0 || r.StreamTime() != event.MinTime {
		t.Errorf("snapshot of block %d at %d, want 0 at MinTime", r.Block(), r.StreamTime())
	}
	want(t, r, "alpha", "a", 0)
	if got := contents(t, s, "alpha"); got != "" {
		t.Errorf("contents %q", got)
	}
}

func testWrites(t *testing.T, s view.Store) {
	type writes = []operator.ViewWrite
	steps := []struct {
		about       string
		writes      []writes
		alpha, beta string
	}{
		{"put", []writes{{put("alpha", "a", 1)}}, "a=1", ""},
		{"two views, two slices",
			[]writes{{put("alpha", "b", 2), put("beta", "a", 3)}, {put("beta", "b", 4)}},
			"a=1 b=2", "a=3 b=4"},
		{"overwrite", []writes{{put("alpha", "a", 5)}}, "a=5 b=2", "a=3 b=4"},
		{"the last write of a key wins",
			[]writes{{put("alpha", "a", 6), put("beta", "a", 9), put("alpha", "a", 7)}},
			"a=7 b=2", "a=9 b=4"},
		{"delete", []writes{{remove("alpha", "b"), remove("beta", "a")}}, "a=7", "b=4"},
		{"delete what is not there", []writes{{remove("alpha", "b"), remove("gamma", "c")}}, "a=7", "b=4"},
		{"put again", []writes{{put("alpha", "b", 10)}}, "a=7 b=10", "b=4"},
		{"put and delete in one block", []writes{{put("alpha", "c", 1), remove("alpha", "c")}}, "a=7 b=10", "b=4"},
		{"delete and put in one block", []writes{{remove("alpha", "a"), put("alpha", "a", 11)}}, "a=11 b=10", "b=4"},
		{"nothing", nil, "a=11 b=10", "b=4"},
		{"empty a view", []writes{{remove("alpha", "a")}, {remove("alpha", "b")}}, "", "b=4"},
		{"fill it again", []writes{{put("alpha", "a", 12)}}, "a=12", "b=4"},
	}
	for i, step := range steps {
		block := uint64(i + 1)
		publish(t, s, block, step.writes...)
		if got := contents(t, s, "alpha"); got != step.alpha {
			t.Errorf("%s: alpha is %q, want %q", step.about, got, step.alpha)
		}
		if got := contents(t, s, "beta"); got != step.beta {
			t.Errorf("%s: beta is %q, want %q", step.about, got, step.beta)
		}
		r := s.Snapshot()
		if r.Block() != block || r.StreamTime() != event.Time(block)*event.Second {
			t.Errorf("%s: snapshot of block %d at %d", step.about, r.Block(), r.StreamTime())
		}
		r.Close()
	}
}

func testKeys(t *testing.T, s view.Store) {
	keys := []string{"", "a", "a\x00", "a\x00b", "a:b", "a b", "ä", "\xff\xfe", "{a}", "*"}
	var writes []operator.ViewWrite
	for i, key := range keys {
		writes = append(writes, put("alpha", key, Number(i+1)))
	}
	publish(t, s, 1, writes)
	r := s.Snapshot()
	defer r.Close()
	for i, key := range keys {
		want(t, r, "alpha", key, Number(i+1))
		want(t, r, "beta", key, 0)
	}
	if got := s.Len("alpha"); got != len(keys) {
		t.Errorf("%d keys, want %d", got, len(keys))
	}
}

func testEach(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "b", 2), put("alpha", "", 9), put("alpha", "a", 1)},
		[]operator.ViewWrite{put("alpha", "ab", 3), put("alpha", "\xff", 4), put("alpha", "B", 5), put("alpha", "gone", 6)})
	publish(t, s, 2, []operator.ViewWrite{remove("alpha", "gone")})
	if got, want := contents(t, s, "alpha"), "=9 B=5 a=1 ab=3 b=2 \xff=4"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	stop, calls := errors.New("stop"), 0
	err := s.Each("alpha", func(string, operator.Value) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("each went on after an error: %d calls, %v", calls, err)
	}
}

func testBlockOrder(t *testing.T, s view.Store) {
	publish(t, s, 7, []operator.ViewWrite{put("alpha", "a", 1)})
	publish(t, s, 7, []operator.ViewWrite{put("alpha", "b", 2)})
	err := s.Publish(6, 0, []operator.ViewWrite{put("alpha", "a", 3)})
	if !errors.Is(err, view.ErrOutOfOrder) {
		t.Errorf("block 6 after 7: %v, want ErrOutOfOrder", err)
	}
	if got := contents(t, s, "alpha"); got != "a=1 b=2" {
		t.Errorf("after a refused block: %q", got)
	}
	publish(t, s, 100, nil)
	r := s.Snapshot()
	defer r.Close()
	if r.Block() != 100 {
		t.Errorf("block %d, want 100", r.Block())
	}
}

func testClosed(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "a", 1)})
	r := s.Snapshot()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	want(t, r, "alpha", "a", 1)
	r.Close()
	r.Close()
	if err := s.Publish(2, 0); !errors.Is(err, view.ErrClosed) {
		t.Errorf("publish to a closed store: %v, want ErrClosed", err)
	}
}

type otherValue struct{ Number }

func testTyped(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "a", 1)})
	r := s.Snapshot()
	defer r.Close()
	if v, ok := view.Get[Number](r, "alpha", "a"); v != 1 || !ok {
		t.Errorf("got %d, %t", v, ok)
	}
	if v, ok := view.Get[operator.Value](r, "alpha", "a"); v != Number(1) || !ok {
		t.Errorf("as an interface: %d, %t", v, ok)
	}
	if _, ok := view.Get[otherValue](r, "alpha", "b"); ok {
		t.Error("found a key that is not there")
	}
	defer func() {
		if recover() == nil {
			t.Error("a value of another type was taken for the one asked for")
		}
	}()
	view.Get[otherValue](r, "alpha", "a")
}
