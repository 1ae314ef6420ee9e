package viewtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"millrace/operator"
	"millrace/view"
)

// RunKeyed tests stores on another machine, which read key by key: those that
// can not freeze all keys at one moment, as Run demands. What they promise
// instead is the level "keyed":
//
//   - What was published before a snapshot was opened is seen by it.
//   - An answer is as of the snapshot's block, or newer: never older.
//   - A snapshot gives the same answer again.
//   - Of one key, later snapshots never see an older answer.
//   - The last write of a key counts, in all other respects as in Run.
func RunKeyed(t *testing.T, open func(t *testing.T) view.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s view.Store)
	}{
		{"nothing published", testEmpty},
		{"put, overwrite, delete", testWrites},
		{"any string is a key", testKeys},
		{"each in order", testEach},
		{"order of blocks", testBlockOrder},
		{"closed", testClosed},
		{"typed get", testTyped},
		{"the same answer again", testSameAgain},
		{"fetched together", testPrefetch},
		{"answers are not older than the block, under load", testNotOlder},
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
	t.Run("agrees with a model", func(t *testing.T) {
		fewerChecks(t)
		rapid.Check(t, func(rt *rapid.T) { checkModel(rt, open(t), false) })
	})
}

// keyedChecks is how many random schedules a store of another process is tried
// with: a hundred, as elsewhere, take two minutes where each read is three trips.
const keyedChecks = "25"

// fewerChecks has a test's rapid.Check make keyedChecks, unless all are wanted.
func fewerChecks(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if os.Getenv("MILLRACE_SOAK") != "" || checks.Value.String() != checks.DefValue {
		return
	}
	t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
	if err := checks.Value.Set(keyedChecks); err != nil {
		t.Fatal(err)
	}
}

func testSameAgain(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "a", 1), put("alpha", "gone", 2)})
	r := s.Snapshot()
	defer r.Close()
	want(t, r, "alpha", "a", 1)
	want(t, r, "alpha", "gone", 2)
	want(t, r, "beta", "a", 0)
	publish(t, s, 2, []operator.ViewWrite{put("alpha", "a", 3), remove("alpha", "gone"), put("beta", "a", 4)})
	want(t, r, "alpha", "a", 1)
	want(t, r, "alpha", "gone", 2)
	want(t, r, "beta", "a", 0)
}

func testPrefetch(t *testing.T, s view.Store) {
	publish(t, s, 1, []operator.ViewWrite{put("alpha", "a", 1), put("beta", "b", 2)})
	r := s.Snapshot()
	defer r.Close()
	if !view.Prefetches(r) {
		t.Error("a store on another machine does not want to know what is asked for")
	}
	view.Prefetch(r, view.Key{View: "alpha", Key: "a"}, view.Key{View: "beta", Key: "b"}, view.Key{View: "beta", Key: "a"}, view.Key{View: "alpha", Key: "a"})
	publish(t, s, 2, []operator.ViewWrite{put("alpha", "a", 3), put("beta", "b", 4), put("beta", "a", 5)})
	want(t, r, "alpha", "a", 1)
	want(t, r, "beta", "b", 2)
	want(t, r, "beta", "a", 0)
	if err := view.Err(r); err != nil {
		t.Error(err)
	}
}

// keyedBlocks is how many blocks the load has.
const keyedBlocks = 300

// testNotOlder publishes as fast as it can while readers look for an answer
// that is older than the snapshot's block, or than one that was seen before.
func testNotOlder(t *testing.T, s view.Store) {
	var done atomic.Bool
	var readers sync.WaitGroup
	publish(t, s, 1, loadWrites(1)...)
	for seed := range 4 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(seed), 3))
			last := map[string]Number{}
			for !done.Load() {
				if wrong := checkKeyed(s, random, last); wrong != "" {
					t.Error(wrong)
					done.Store(true)
				}
			}
		})
	}
	for block := uint64(2); block <= keyedBlocks && !done.Load(); block++ {
		publish(t, s, block, loadWrites(block)...)
	}
	done.Store(true)
	readers.Wait()
}

// checkKeyed reads some keys of one snapshot, and says what is wrong with them.
func checkKeyed(s view.Store, random *rand.Rand, last map[string]Number) string {
	r := s.Snapshot()
	defer r.Close()
	var keys []view.Key
	for range 5 {
		keys = append(keys, view.Key{View: Views[random.IntN(len(Views))], Key: fmt.Sprint("key", random.IntN(loadKeys))})
	}
	if random.IntN(2) == 0 {
		view.Prefetch(r, keys...)
	}
	for _, k := range keys {
		v, _ := view.Get[Number](r, k.View, k.Key)
		if err := view.Err(r); err != nil {
			return err.Error()
		}
		if block := r.Block(); uint64(v) < block {
			return fmt.Sprintf("in block %d %s/%s is of block %d", block, k.View, k.Key, v)
		}
		id := k.View + "/" + k.Key
		if v < last[id] {
			return fmt.Sprintf("%s is of block %d, and was of %d before", id, v, last[id])
		}
		last[id] = v
	}
	return ""
}
