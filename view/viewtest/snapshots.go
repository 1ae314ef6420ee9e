package viewtest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"millrace/operator"
	"millrace/view"
)

func testSnapshotStays(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "changed", 1), put("alpha", "deleted", 2)})
	before := s.Snapshot()
	defer before.Close()
	publish(t, s, 2, []operator.ViewWrite{
		put("alpha", "changed", 3), remove("alpha", "deleted"), put("alpha", "added", 4), put("beta", "added", 5)})
	between := s.Snapshot()
	defer between.Close()
	publish(t, s, 3, []operator.ViewWrite{
		remove("alpha", "changed"), put("alpha", "deleted", 6), remove("alpha", "added"), remove("beta", "added")})
	after := s.Snapshot()
	defer after.Close()

	for _, expect := range []struct {
		r                     view.Snapshot
		block                 uint64
		changed, deleted      Number
		alphaAdded, betaAdded Number
	}{
		{before, 1, 1, 2, 0, 0},
		{between, 2, 3, 0, 4, 5},
		{after, 3, 0, 6, 0, 0},
	} {
		if expect.r.Block() != expect.block {
			t.Errorf("block %d, want %d", expect.r.Block(), expect.block)
		}
		want(t, expect.r, "alpha", "changed", expect.changed)
		want(t, expect.r, "alpha", "deleted", expect.deleted)
		want(t, expect.r, "alpha", "added", expect.alphaAdded)
		want(t, expect.r, "beta", "added", expect.betaAdded)
	}
}

// testManySnapshots keeps more snapshots open than any fixed number of
// places, and closes them in a random order while blocks pass.
func testManySnapshots(t *testing.T, s view.Store) {
	const count = 400
	random := rand.New(rand.NewPCG(1, 1))
	var open []view.Snapshot
	block := uint64(0)
	next := func() {
		block++
		publish(t, s, block, []operator.ViewWrite{put("alpha", "a", Number(block)), put("beta", "a", Number(block))})
	}
	for range count {
		next()
		open = append(open, s.Snapshot(), s.Snapshot())
	}
	for len(open) > 0 {
		i := random.IntN(len(open))
		want(t, open[i], "alpha", "a", Number(open[i].Block()))
		want(t, open[i], "beta", "a", Number(open[i].Block()))
		open[i].Close()
		open = slices.Delete(open, i, i+1)
		next()
	}
}

// The load: in block b every key of the views but one has the value b, and
// the last key is there in even blocks only.
const (
	loadBlocks = 3000
	loadKeys   = 12
)

func loadWrites(block uint64) [][]operator.ViewWrite {
	shards := make([][]operator.ViewWrite, 2)
	for _, name := range Views {
		for k := range loadKeys {
			shard := k % len(shards)
			shards[shard] = append(shards[shard], put(name, fmt.Sprint("key", k), Number(block)))
		}
		last := remove(name, "even")
		if block%2 == 0 {
			last = put(name, "even", Number(block))
		}
		shards[0] = append(shards[0], last)
	}
	return shards
}

// checkLoad says what is wrong with a snapshot under the load, "" if nothing.
func checkLoad(r view.Reader, block uint64) string {
	for _, name := range Views {
		for k := range loadKeys {
			key := fmt.Sprint("key", k)
			if v, _ := view.Get[Number](r, name, key); uint64(v) != block {
				return fmt.Sprintf("in block %d %s/%s is of block %d", block, name, key, v)
			}
		}
		expect := block
		if block%2 == 1 {
			expect = 0
		}
		if v, _ := view.Get[Number](r, name, "even"); uint64(v) != expect {
			return fmt.Sprintf("in block %d %s/even is %d", block, name, v)
		}
	}
	return ""
}

// testAtomic publishes as fast as it can while readers look for a snapshot
// that mixes two blocks, is older than one seen before, or changes while it
// is held.
func testAtomic(t *testing.T, s view.Store) {
	var done atomic.Bool
	var readers sync.WaitGroup
	for seed := range 4 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(seed), 2))
			last := uint64(0)
			for !done.Load() {
				r := s.Snapshot()
				block := r.Block()
				if block < last {
					t.Errorf("snapshot of block %d after one of %d", block, last)
				}
				last = block
				for range 1 + random.IntN(4) {
					if wrong := checkLoad(r, block); wrong != "" {
						t.Error(wrong)
						done.Store(true)
						break
					}
					runtime.Gosched()
				}
				r.Close()
			}
		})
	}
	for block := uint64(1); block <= loadBlocks && !done.Load(); block++ {
		publish(t, s, block, loadWrites(block)...)
		if block%64 == 0 {
			runtime.Gosched()
		}
	}
	done.Store(true)
	readers.Wait()
}

// testOldSnapshots holds snapshots over thousands of blocks.
func testOldSnapshots(t *testing.T, s view.Store) {
	var held []view.Snapshot
	for block := uint64(1); block <= loadBlocks; block++ {
		publish(t, s, block, loadWrites(block)...)
		if block%500 == 1 {
			held = append(held, s.Snapshot())
		}
	}
	for _, r := range held {
		if wrong := checkLoad(r, r.Block()); wrong != "" {
			t.Errorf("held over %d blocks: %s", loadBlocks-r.Block(), wrong)
		}
		r.Close()
	}
}

// heap is how many bytes of memory are in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The churn: every block brings keys that were never seen before and deletes
// those of the block before. Kept, they would take at least 100 bytes each.
const (
	churnBlocks = 120
	churnKeys   = 1000
	churnBound  = churnBlocks * churnKeys * 100 / 4 // bytes
)

func churn(t *testing.T, s view.Store, block uint64) {
	writes := make([]operator.ViewWrite, 0, 2*churnKeys+1)
	for k := range churnKeys {
		writes = append(writes, put("alpha", fmt.Sprint("key", block, "-", k), Number(block)))
		if block > 1 {
			writes = append(writes, remove("alpha", fmt.Sprint("key", block-1, "-", k)))
		}
	}
	publish(t, s, block, append(writes, put("alpha", "hot", Number(block))))
}

// testChurn has a reader all the time, but never one for long.
func testChurn(t *testing.T, s view.Store) {
	churn(t, s, 1)
	start := heap()
	r := s.Snapshot()
	for block := uint64(2); block <= churnBlocks; block++ {
		churn(t, s, block)
		want(t, r, "alpha", "hot", Number(block-1))
		r.Close()
		r = s.Snapshot()
	}
	r.Close()
	if grown := heap() - start; grown > churnBound {
		t.Errorf("%d keys came and went; memory grew by %d bytes, at most %d allowed",
			churnBlocks*churnKeys, grown, churnBound)
	}
	if got := s.Len("alpha"); got != churnKeys+1 {
		t.Errorf("%d keys are left, want %d", got, churnKeys+1)
	}
	runtime.KeepAlive(s)
}

// testChurnBesideSnapshot also holds a snapshot from the beginning to the
// end: it may keep what it can read, and no more.
func testChurnBesideSnapshot(t *testing.T, s view.Store) {
	publish(t, s, 1, loadWrites(1)...)
	old := s.Snapshot()
	defer old.Close()
	start := heap()
	r := s.Snapshot()
	for block := uint64(2); block <= churnBlocks; block++ {
		churn(t, s, block)
		r.Close()
		r = s.Snapshot()
	}
	r.Close()
	if grown := heap() - start; grown > churnBound {
		t.Errorf("beside a snapshot of block 1 memory grew by %d bytes, at most %d allowed", grown, churnBound)
	}
	if wrong := checkLoad(old, 1); wrong != "" {
		t.Error(wrong)
	}
	runtime.KeepAlive(s)
}
