package statetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"millrace/operator"
	"millrace/state"
)

// testMemory changes what it handed over and what it was given.
func testMemory(t *testing.T, b state.Backend) {
	key, value, meta := []byte("a"), []byte("1"), []byte("m")
	writes := []operator.StateWrite{{Key: key, Value: value}, {Key: []byte("0"), Value: []byte("0")}}
	c := &state.Checkpoint{Block: 1, Meta: meta, Tables: []state.Table{{Stage: "s", Writes: writes}}}
	if _, err := b.Commit(c); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if string(writes[0].Key) != "a" || c.Tables[0].Stage != "s" {
		t.Error("commit has reordered what it was given")
	}
	key[0], value[0], meta[0] = 'x', 'x', 'x'
	for range 2 {
		got, err := b.Get("s", []byte("a"))
		if err != nil || string(got) != "1" {
			t.Fatalf("get: %q, %v; want 1", got, err)
		}
		got[0] = 'y'
		latest, err := b.Latest()
		if err != nil || string(latest.Meta) != "m" {
			t.Fatalf("meta: %q, %v; want m", latest.Meta, err)
		}
		latest.Meta[0] = 'y'
	}
	wantContents(t, b, "afterwards", "s/0=0 s/a=1")
}

func testLoad(t *testing.T, b state.Backend) {
	commit(t, b, 1, table("t", "b=1", "=2", "a=3"), table("s", "\xff=4", "b=5"))
	commit(t, b, 2, table("s", "a=6", "ab=7"), table("t", "-a"))
	wantContents(t, b, "in order", "s/a=6 s/ab=7 s/b=5 s/\xff=4 t/=2 t/b=1")
	stop, calls := errors.New("stop"), 0
	err := b.Load(func(string, []byte, []byte) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("load went on after an error: %d calls, %v", calls, err)
	}
}

func testDrop(t *testing.T, b state.Backend) {
	commit(t, b, 1, table("a", "=0", "k=1"), table("ab", "k=2", "\xff=3"), table("a\x01", "k=4"), table("b", "k=5"))
	if err := b.Drop("ab"); err != nil {
		t.Fatalf("drop: %v", err)
	}
	wantContents(t, b, "dropped ab", "a/=0 a/k=1 a\x01/k=4 b/k=5")
	if _, err := b.Get("ab", []byte("k")); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("get a dropped key: %v, want ErrNotFound", err)
	}
	if err := b.Drop("a"); err != nil {
		t.Fatalf("drop: %v", err)
	}
	if err := b.Drop("unknown"); err != nil {
		t.Errorf("drop a stage that is not there: %v", err)
	}
	wantContents(t, b, "dropped a", "a\x01/k=4 b/k=5")
	if c, err := b.Latest(); err != nil || c.Block != 1 {
		t.Errorf("latest %v, %v; want block 1", c, err)
	}
	commit(t, b, 2, table("ab", "k=6"))
	wantContents(t, b, "written again", "a\x01/k=4 ab/k=6 b/k=5")
}

func testCompact(t *testing.T, b state.Backend) {
	for i := range 20 {
		commit(t, b, uint64(i), table("s", fmt.Sprintf("a=%d", i), fmt.Sprintf("k%02d=%d", i, i), fmt.Sprintf("-k%02d", i-1)))
	}
	for range 2 {
		if err := b.Compact(); err != nil {
			t.Fatalf("compact: %v", err)
		}
		wantContents(t, b, "compacted", "s/a=19 s/k19=19")
	}
	commit(t, b, 20, table("s", "b=1"))
	wantContents(t, b, "committed afterwards", "s/a=19 s/b=1 s/k19=19")
	if c, err := b.Latest(); err != nil || c.Block != 20 {
		t.Errorf("latest %v, %v; want block 20", c, err)
	}
}

func testSize(t *testing.T, b state.Backend) {
	size := func() int64 {
		n, err := b.Size()
		if err != nil || n < 0 {
			t.Errorf("size: %d, %v", n, err)
		}
		return n
	}
	before := size()
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * i >> 7 * 31)
	}
	commit(t, b, 1, state.Table{Stage: "s", Writes: []operator.StateWrite{{Key: []byte("a"), Value: value}}})
	full := size()
	if full <= before {
		t.Errorf("%d bytes, and %d with a MiB more", before, full)
	}
	commit(t, b, 2, table("s", "-a"))
	if err := b.Compact(); err != nil {
		t.Fatalf("compact: %v", err)
	}
	if after := size(); after >= full {
		t.Errorf("%d bytes, and %d when all is deleted", full, after)
	}
}

func testClosed(t *testing.T, b state.Backend) {
	commit(t, b, 1, table("s", "a=1"))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	for _, use := range []struct {
		name string
		call func() error
	}{
		{"commit", func() error { _, err := b.Commit(&state.Checkpoint{Block: 2}); return err }},
		{"latest", func() error { _, err := b.Latest(); return err }},
		{"load", func() error { return b.Load(func(string, []byte, []byte) error { return nil }) }},
		{"get", func() error { _, err := b.Get("s", []byte("a")); return err }},
		{"drop", func() error { return b.Drop("s") }},
		{"compact", func() error { return b.Compact() }},
		{"size", func() error { _, err := b.Size(); return err }},
	} {
		if err := use.call(); !errors.Is(err, state.ErrClosed) {
			t.Errorf("%s after close: %v, want ErrClosed", use.name, err)
		}
	}
}

// testLoadIsAtomic loads while checkpoints are committed, the state is
// compacted, and single keys are read. Every checkpoint sets all keys of two
// stages to its block.
func testLoadIsAtomic(t *testing.T, b state.Backend) {
	const blocks, keys = 60, 50
	checkpoint := func(block uint64) []state.Table {
		var writes []string
		for k := range keys {
			writes = append(writes, fmt.Sprintf("k%d=%d", k, block))
		}
		return []state.Table{table("s", writes...), table("t", writes...)}
	}
	commit(t, b, 1, checkpoint(1)...)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last := ""; ; {
				var first string
				count := 0
				err := b.Load(func(_ string, _, value []byte) error {
					if count++; count == 1 {
						first = string(value)
					}
					if string(value) != first {
						return fmt.Errorf("values of blocks %s and %s", first, value)
					}
					return nil
				})
				if err != nil || count != 2*keys || len(first) < len(last) || len(first) == len(last) && first < last {
					t.Errorf("load: %d keys of block %s after %s, %v", count, first, last, err)
				}
				last = first
				if _, err := b.Get("s", []byte("k1")); err != nil {
					t.Errorf("get: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for block := uint64(2); block <= blocks; block++ {
		commit(t, b, block, checkpoint(block)...)
		if block%20 == 0 {
			if err := b.Compact(); err != nil {
				t.Errorf("compact: %v", err)
			}
		}
	}
	close(done)
	readers.Wait()
}

func testReopen(t *testing.T, open func() (state.Backend, error)) {
	want := ""
	for block := range uint64(5) {
		b, err := open()
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		wantContents(t, b, "opened again", want)
		if c, err := b.Latest(); block > 0 && (err != nil || c.Block != block-1 || string(c.Meta) != "m") {
			t.Errorf("latest: %v, %v; want block %d", c, err, block-1)
		}
		if _, err := b.Commit(&state.Checkpoint{Block: block, Meta: []byte("m"),
			Tables: []state.Table{table("s", fmt.Sprint(block, "=", block), fmt.Sprint("-", block-1))}}); err != nil {
			t.Fatalf("commit: %v", err)
		}
		want = fmt.Sprint("s/", block, "=", block)
		if err := b.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

func testInUse(t *testing.T, open func() (state.Backend, error)) {
	b := opened(t, open)
	commit(t, b, 1, table("s", "a=1"))
	if err := b.Compact(); err != nil {
		t.Fatalf("compact: %v", err)
	}
	for range 2 {
		if second, err := open(); !errors.Is(err, state.ErrInUse) {
			t.Errorf("opened a second time: %v, %v; want ErrInUse", second, err)
		}
	}
	wantContents(t, b, "after others have tried", "s/a=1")
	if err := b.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wantContents(t, opened(t, open), "opened when it was free again", "s/a=1")
}
