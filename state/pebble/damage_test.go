package pebble

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/state"
	"millrace/state/statetest"
)

// history is a database and what its checkpoints had, by block.
type history struct {
	fs          *vfs.MemFS
	checkpoints []map[string]string
}

func makeHistory(t *testing.T) *history {
	t.Helper()
	h := &history{fs: vfs.NewCrashableMem()}
	b, err := Open("state", Options{FS: h.fs})
	if err != nil {
		t.Fatal(err)
	}
	b.tableBytes = 2 << 10
	h.checkpoints = statetest.CommitHistory(t, b, 12)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

// outcome opens a damaged copy and says what came of it: "refused", "latest"
// for the latest checkpoint, "older" for an earlier one, "none". Anything else
// fails the test: contents that no checkpoint had, or an error that does not
// say ErrCorrupt.
func (h *history) outcome(t *testing.T, fs vfs.FS, about string) string {
	t.Helper()
	b, err := Open("state", Options{FS: fs})
	if err != nil {
		if !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: open: %v, which is not ErrCorrupt", about, err)
		}
		return "refused"
	}
	defer b.Close()
	latest, err := b.Latest()
	if err == nil {
		var got map[string]string
		if got, err = statetest.Contents(b); err == nil {
			if latest.Block >= uint64(len(h.checkpoints)) || !maps.Equal(got, h.checkpoints[latest.Block]) {
				t.Errorf("%s: %d keys that are not those of block %d", about, len(got), latest.Block)
			}
			if latest.Block < uint64(len(h.checkpoints)-1) {
				return "older"
			}
			return "latest"
		}
	}
	if errors.Is(err, state.ErrNone) {
		return "none"
	}
	if !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("%s: %v, which is not ErrCorrupt", about, err)
	}
	return "refused"
}

// TestDamage changes, shortens and removes files. What was stored must come
// back whole or not at all. A manifest is a log: when its last record is
// damaged, or when it ends early at the end of a record, it looks like one
// that a power cut has left, and gives the checkpoint before.
func TestDamage(t *testing.T) {
	const seed = 5
	random := rand.New(rand.NewPCG(seed, 5))
	h := makeHistory(t)
	names, err := h.fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	outcomes := map[string]int{}
	for _, name := range names {
		stat, err := h.fs.Stat("state/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if stat.IsDir() || name == "LOCK" {
			continue
		}
		kind := strings.Trim(name[:strings.IndexAny(name, "-0123456789")], ".")
		if kind == "" {
			kind = strings.TrimLeft(name, "0123456789")
		}
		for _, trial := range damageTrials(int(stat.Size()), random) {
			fs := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random})
			trial.Apply(t, fs, "state/"+name)
			about := fmt.Sprintf("seed %d: %s %s at %d", seed, name, trial.Name, trial.At)
			outcomes[kind+" "+trial.Name+": "+h.outcome(t, fs, about)]++
		}
	}
	for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%s: %d", outcome, outcomes[outcome])
	}
	for _, must := range []string{".sst removed: refused", ".sst shortened: refused", ".sst changed: refused",
		"MANIFEST changed: refused", "MANIFEST removed: refused", "marker.manifest removed: refused"} {
		if outcomes[must] == 0 {
			t.Errorf("never: %s", must)
		}
	}
	for outcome, count := range outcomes {
		manifest := strings.HasPrefix(outcome, "MANIFEST")
		if strings.HasSuffix(outcome, ": none") && outcome != "MANIFEST shortened: none" ||
			strings.HasSuffix(outcome, ": older") && !manifest ||
			outcome == ".sst removed: latest" || outcome == ".sst shortened: latest" {
			t.Errorf("%s: %d", outcome, count)
		}
	}
}

// damageTrials are the ways in which a file of a size is damaged.
func damageTrials(size int, random *rand.Rand) []statetest.Damage {
	trials := []statetest.Damage{{Name: "removed", Remove: true}}
	if size == 0 {
		return trials
	}
	for range 3 {
		at := random.IntN(size)
		trials = append(trials, statetest.Damage{Name: "shortened", Keep: at, At: at})
	}
	for range 12 {
		trials = append(trials, statetest.Damage{Name: "changed", Keep: size, Flip: true, At: random.IntN(size), Bit: random.IntN(8)})
	}
	return trials
}

// TestRecords: only the last record of a manifest may be unfinished.
func TestRecords(t *testing.T) {
	h := makeHistory(t)
	d, err := pebble.Peek("state", h.fs)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := readFile(h.fs, d.ManifestFilename)
	if err != nil {
		t.Fatal(err)
	}
	var starts []int
	for at := 0; at < len(whole); {
		_, next, ok := chunk(whole, at)
		if !ok {
			t.Fatalf("no chunk at %d of %d", at, len(whole))
		}
		starts = append(starts, at)
		at = next
	}
	if len(starts) < 12 {
		t.Fatalf("%d records in the manifest", len(starts))
	}
	last := starts[len(starts)-1]
	for at := range whole {
		data := slices.Clone(whole)
		data[at] ^= 0x10
		if err := checkRecords(data); (at < last) != errors.Is(err, state.ErrCorrupt) {
			t.Errorf("changed at %d, the last record begins at %d: %v", at, last, err)
		}
		if err := checkRecords(whole[:at]); err != nil {
			t.Errorf("shortened to %d: %v", at, err)
		}
	}
	for _, tail := range []int{1, 100, 40_000} {
		if err := checkRecords(append(slices.Clone(whole), make([]byte, tail)...)); err != nil {
			t.Errorf("with %d zeros behind it: %v", tail, err)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add(make([]byte, 100), blockSize-50)
	f.Fuzz(func(t *testing.T, data []byte, shift int) {
		if shift > 0 && shift < 2*blockSize {
			data = append(make([]byte, shift), data...)
		}
		if err := checkRecords(data); err != nil && !errors.Is(err, state.ErrCorrupt) {
			t.Error(err)
		}
	})
}

func FuzzLatest(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendLatest(nil, &state.Checkpoint{}))
	f.Add(appendLatest(nil, &state.Checkpoint{Block: 1 << 60, Time: -5, Meta: []byte("meta")}))
	f.Add([]byte{latestVersion, 1, 1, 200, 200, 200, 200, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseLatest(data)
		if err != nil {
			if !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, state.ErrNewer) {
				t.Errorf("%v is neither ErrCorrupt nor ErrNewer", err)
			}
			return
		}
		again, err := parseLatest(appendLatest(nil, c))
		if err != nil || again.Block != c.Block || again.Time != c.Time || string(again.Meta) != string(c.Meta) {
			t.Errorf("%v became %v, %v", c, again, err)
		}
	})
}
