package memory

import (
	"fmt"
	"testing"

	"millrace/operator"
	"millrace/view"
	"millrace/view/viewtest"
)

func TestStore(t *testing.T) {
	viewtest.Run(t, func(*testing.T) view.Store { return New() })
}

// nodes counts the values that a store holds, newest and older.
func (s *Store) nodes() (cells, nodes int) {
	for _, t := range *s.tables.Load() {
		t.cells.Range(func(_ string, c *cell) bool {
			cells++
			for n := c.newest.Load(); n != nil; n = n.older.Load() {
				nodes++
			}
			return true
		})
	}
	return cells, nodes
}

// TestCutting pins down which values are kept for which snapshots.
func TestCutting(t *testing.T) {
	s := New()
	block := uint64(0)
	write := func(writes ...operator.ViewWrite) {
		t.Helper()
		block++
		if err := s.Publish(block, 0, writes); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key string) operator.ViewWrite {
		return operator.ViewWrite{View: "v", Key: key, Value: viewtest.Number(block)}
	}
	remove := func(key string) operator.ViewWrite { return operator.ViewWrite{View: "v", Key: key} }
	expect := func(about string, cells, nodes int) {
		t.Helper()
		if c, n := s.nodes(); c != cells || n != nodes {
			t.Errorf("%s: %d keys with %d values, want %d with %d", about, c, n, cells, nodes)
		}
	}

	write(put("a"), put("b"))
	write(put("a"), put("b"))
	expect("nobody reads: one value a key", 2, 2)

	old := s.Snapshot() // block 2
	write(put("a"))
	expect("the old value of a is kept for the snapshot", 2, 3)
	for range 10 {
		write(put("a"))
	}
	expect("and not the values between", 2, 3)

	middle := s.Snapshot()
	write(put("a"), remove("b"))
	expect("one value for each snapshot", 2, 5)
	middle.Close()
	write(put("a"))
	expect("the middle one is cut when a is written again", 2, 4)

	write(put("c"))
	write(remove("c"))
	expect("no snapshot saw c: nothing is left of it", 2, 4)

	old.Close()
	write()
	expect("all is cut after the last snapshot, and b is gone", 1, 1)
	if len(s.waiting) != 0 {
		t.Errorf("%d lists are waiting", len(s.waiting))
	}
}

// TestOvertaken opens a snapshot whose reader was held up after it had seen
// which version is published, while the writer went on and cut that version.
func TestOvertaken(t *testing.T) {
	s := New()
	publish := func(block uint64) {
		t.Helper()
		w := []operator.ViewWrite{{View: "v", Key: "a", Value: viewtest.Number(block)}}
		if err := s.Publish(block, 0, w); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	seen := s.published.Load()
	publish(2)
	publish(3)
	r := s.hold(seen)
	publish(4)
	if v, _ := r.Get("v", "a"); r.Block() != 3 || v != viewtest.Number(3) {
		t.Errorf("block %d with value %v, want 3 with 3", r.Block(), v)
	}
	r.Close()
}

func TestUseAfterClose(t *testing.T) {
	s := New()
	r := s.Snapshot()
	r.Close()
	defer func() {
		if recover() == nil {
			t.Error("a closed snapshot answered")
		}
	}()
	r.Get("v", "a")
}

func filled(b *testing.B, keys int) (*Store, [][]operator.ViewWrite) {
	s := New()
	var all []operator.ViewWrite
	for i := range keys {
		all = append(all, operator.ViewWrite{View: fmt.Sprint("view", i%4), Key: fmt.Sprint("user-", i), Value: viewtest.Number(i)})
	}
	if err := s.Publish(1, 0, all); err != nil {
		b.Fatal(err)
	}
	var blocks [][]operator.ViewWrite
	const each = 1000
	for from := 0; from+each <= len(all); from += each {
		var writes []operator.ViewWrite
		for i := range each {
			writes = append(writes, all[(from+i)*7919%len(all)])
		}
		blocks = append(blocks, writes)
	}
	return s, blocks
}

// BenchmarkRead is Snapshot, one Get and Close.
func BenchmarkRead(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			s, blocks := filled(b, keys)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w := &blocks[i/1000%len(blocks)][i%1000]
				i++
				r := s.Snapshot()
				if _, ok := r.Get(w.View, w.Key); !ok {
					b.Fatal("not found")
				}
				r.Close()
			}
		})
	}
}

func BenchmarkReadParallel(b *testing.B) {
	s, blocks := filled(b, 1000)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			w := &blocks[0][i%1000]
			r := s.Snapshot()
			r.Get(w.View, w.Key)
			r.Close()
		}
	})
}

// BenchmarkPublish reports the time for a block of 1,000 keys out of many,
// alone and with a snapshot open that was taken a block before.
func BenchmarkPublish(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		for _, reading := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/reading=%t", keys, reading), func(b *testing.B) {
				s, blocks := filled(b, keys)
				b.ReportAllocs()
				block := uint64(1)
				var r view.Snapshot
				for b.Loop() {
					last := r
					if reading {
						r = s.Snapshot()
					}
					block++
					if err := s.Publish(block, 0, blocks[block%uint64(len(blocks))]); err != nil {
						b.Fatal(err)
					}
					if last != nil {
						last.Close()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/key")
			})
		}
	}
}
