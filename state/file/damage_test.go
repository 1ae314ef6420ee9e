package file

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/operator"
	"millrace/state"
	"millrace/state/statetest"
)

// past is a directory and what its checkpoints had, by block.
type past struct {
	fs          *vfs.MemFS
	checkpoints []map[string]string
}

// makePast commits blocks 0, 1, 2 and so on, with full snapshots where they
// are due after some of them.
func makePast(t *testing.T, blocks uint64, retain int) *past {
	t.Helper()
	p := &past{fs: vfs.NewCrashableMem()}
	b := open(t, "state", Options{FS: p.fs, Retain: retain})
	b.fullBytes = 80 << 10
	p.checkpoints = statetest.CommitHistory(t, b, blocks)
	// What is not needed is removed when it is opened too.
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, "state", Options{FS: p.fs, Retain: retain})
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *past) copy() *vfs.MemFS {
	return p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

// outcome opens a damaged copy and says of which block the state is, -1 if it
// was refused, -2 if there is none. Anything else fails the test: contents
// that no checkpoint had, or an error that does not say ErrCorrupt.
func (p *past) outcome(t *testing.T, fs vfs.FS, retain int, about string) (block int, err error) {
	t.Helper()
	b, err := Open("state", Options{FS: fs, Retain: retain})
	if err != nil {
		if !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: open: %v, which is not ErrCorrupt", about, err)
		}
		return -1, err
	}
	defer b.Close()
	latest, err := b.Latest()
	if errors.Is(err, state.ErrNone) {
		return -2, nil
	}
	if err != nil {
		t.Fatalf("%s: %v", about, err)
	}
	got, err := statetest.Contents(b)
	if err != nil || latest.Block >= uint64(len(p.checkpoints)) || !maps.Equal(got, p.checkpoints[latest.Block]) {
		t.Errorf("%s: %d keys that are not those of block %d, %v", about, len(got), latest.Block, err)
	}
	return int(latest.Block), nil
}

// damageTrials are the ways in which a file of a size is damaged.
func damageTrials(size int, random *rand.Rand) []statetest.Damage {
	trials := []statetest.Damage{{Name: "removed", Remove: true}, {Name: "empty"}, {Name: "shortened", Keep: size - 1, At: size - 1}}
	for range 5 {
		at := random.IntN(size)
		trials = append(trials, statetest.Damage{Name: "shortened", Keep: at, At: at})
	}
	for range 40 {
		trials = append(trials, statetest.Damage{Name: "changed", Keep: size, Flip: true, At: random.IntN(size), Bit: random.IntN(8)})
	}
	return trials
}

func read(t testing.TB, fs *vfs.MemFS, name string) []byte {
	t.Helper()
	return statetest.ReadFile(t, fs, "state/"+name)
}

func put(t testing.TB, fs *vfs.MemFS, name string, data []byte) {
	t.Helper()
	statetest.WriteFile(t, fs, "state/"+name, data)
}

// TestDamageIsRefused: with one retained checkpoint every damage is refused,
// with the name of the file and the place. The exception: when the last delta
// is not there at all, nothing tells that it ever was.
func TestDamageIsRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	p := makePast(t, 10, 1)
	files := names(t, p.fs, "state")
	if len(files) < 3 || !strings.HasSuffix(files[0], ".full") {
		t.Fatalf("files: %s; want a full snapshot and some deltas", files)
	}
	last := len(p.checkpoints) - 1
	if block, _ := p.outcome(t, p.copy(), 1, "whole"); block != last {
		t.Fatalf("block %d of a whole directory", block)
	}
	for i, name := range files {
		for _, trial := range damageTrials(len(read(t, p.fs, name)), random) {
			fs := p.copy()
			trial.Apply(t, fs, "state/"+name)
			about := fmt.Sprintf("%s %s at %d", name, trial.Name, trial.At)
			block, err := p.outcome(t, fs, 1, about)
			if trial.Remove && i == len(files)-1 {
				if block != last-1 {
					t.Errorf("%s: block %d, want %d", about, block, last-1)
				}
				continue
			}
			if block != -1 {
				t.Errorf("%s: block %d, want it refused", about, block)
				continue
			}
			words := []string{strings.TrimSuffix(strings.TrimSuffix(name, ".full"), ".delta"), "no older checkpoint"}
			if !trial.Remove {
				words[0] += "." // with its kind
				words = append(words, "at byte ")
			}
			if i > 0 {
				words[1] = fmt.Sprintf("the checkpoint of block %d is older and whole", last-len(files)+i)
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %v; want it to say %q", about, err, word)
				}
			}
		}
	}
}

// TestFallsBack: with several retained, the newest checkpoint that is whole is
// taken, whichever file is damaged: damage to a full snapshot loses nothing,
// as the one before it and the deltas lead to the same state.
func TestFallsBack(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	p := makePast(t, 14, 3)
	files := names(t, p.fs, "state")
	last := len(p.checkpoints) - 1
	fulls := 0
	for _, name := range files {
		h, ok := parseName(name)
		if !ok {
			t.Fatalf("%q is not a name of ours", name)
		}
		if h.full {
			fulls++
		}
		for _, trial := range damageTrials(len(read(t, p.fs, name)), random) {
			fs := p.copy()
			trial.Apply(t, fs, "state/"+name)
			about := fmt.Sprintf("%s %s at %d", name, trial.Name, trial.At)
			want := last
			if !h.full && int(h.at.block) > p.newestFull(t) {
				want = int(h.at.block) - 1
			}
			if block, err := p.outcome(t, fs, 3, about); block != want {
				t.Errorf("%s: block %d, %v; want %d", about, block, err, want)
			}
		}
	}
	if fulls < 2 {
		t.Errorf("files: %s; want two full snapshots", files)
	}
}

// TestTwoFull: with two retained, each file may be damaged and something can be
// restored, from when a second full snapshot has been made.
func TestTwoFull(t *testing.T) {
	for blocks := uint64(7); blocks < 30; blocks++ {
		p := makePast(t, blocks, 2)
		for _, name := range names(t, p.fs, "state") {
			fs := p.copy()
			statetest.Damage{Name: "empty"}.Apply(t, fs, "state/"+name)
			if block, err := p.outcome(t, fs, 2, name); block < 0 {
				t.Errorf("%d blocks, %s is damaged: %v", blocks, name, err)
			}
		}
	}
}

// newestFull is the block of the newest full snapshot.
func (p *past) newestFull(t *testing.T) int {
	newest := -1
	for _, name := range names(t, p.fs, "state") {
		if h, _ := parseName(name); h.full {
			newest = max(newest, int(h.at.block))
		}
	}
	return newest
}

// TestRetained: the newest n checkpoints can all be restored, at any time.
func TestRetained(t *testing.T) {
	for _, retain := range []int{1, 2, 5, 12} {
		for blocks := uint64(1); blocks < 40; blocks++ {
			p := makePast(t, blocks, retain)
			fs := p.copy()
			for want := int(blocks) - 1; want >= max(0, int(blocks)-retain); want-- {
				about := fmt.Sprintf("retain %d, block %d of %d", retain, want, blocks)
				if block, err := p.outcome(t, fs, max(retain, 2), about); block != want {
					t.Fatalf("%s: block %d, %v", about, block, err)
				}
				for _, name := range names(t, fs, "state") { // take the newest away
					if h, _ := parseName(name); int(h.at.block) == want {
						if err := fs.Remove("state/" + name); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
}

// TestGoesOn after a checkpoint was skipped: what is committed then is on top
// of the older one, and what was skipped never comes back.
func TestGoesOn(t *testing.T) {
	p := makePast(t, 9, 2)
	fs := p.copy()
	files := names(t, fs, "state")
	damaged := files[len(files)-2]
	size := len(read(t, fs, damaged))
	statetest.Damage{Keep: size, Flip: true, At: size / 2}.Apply(t, fs, "state/"+damaged)
	var log strings.Builder
	open := func() *Backend {
		t.Helper()
		b, err := Open("state", Options{FS: fs, Retain: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	if b.Skipped() != 2 {
		t.Errorf("%d were skipped", b.Skipped())
	}
	want := maps.Clone(p.checkpoints[6])
	for _, word := range []string{damaged, "checksum", "block=6", "skipped=2"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("not logged: %s; but %s", word, log.String())
		}
	}
	if now := names(t, fs, "state"); !slices.Equal(now, files) {
		t.Errorf("files are %s, and were %s: damaged ones should be left", now, files)
	}
	for block := uint64(7); block < 30; block++ {
		statetest.Commit(t, b, block, statetest.Write("new", fmt.Sprint(block)))
		want["new"] = fmt.Sprint(block)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open()
		got, err := statetest.Contents(b)
		if err != nil || !maps.Equal(got, want) || b.Skipped() != 0 {
			t.Fatalf("block %d: %d keys, %v; want %d", block, len(got), err, len(want))
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if now := names(t, fs, "state"); slices.Contains(now, damaged) {
		t.Errorf("the damaged file is still there: %s", now)
	}
}

// TestMixed: files that do not belong together are refused, however whole each
// of them is.
func TestMixed(t *testing.T) {
	p, other := makePast(t, 8, 1), vfs.NewMem()
	b, err := Open("state", Options{FS: other})
	if err != nil {
		t.Fatal(err)
	}
	for block := range uint64(8) {
		c := &state.Checkpoint{Block: block, Time: 7, Tables: []state.Table{{Stage: "s",
			Writes: []operator.StateWrite{statetest.Write(fmt.Sprint("k", block), "1")}}}}
		if _, err := b.Commit(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files := names(t, p.fs, "state")
	fs := p.copy()
	put(t, fs, files[len(files)-2], read(t, other, files[len(files)-2]))
	if block, err := p.outcome(t, fs, 1, "mixed"); block != -1 || !strings.Contains(err.Error(), "was expected") {
		t.Errorf("a delta of another directory: block %d, %v", block, err)
	}
	fs = p.copy()
	put(t, fs, files[len(files)-1], read(t, fs, files[len(files)-2]))
	if block, err := p.outcome(t, fs, 1, "renamed"); block != -1 || !strings.Contains(err.Error(), "it was "+files[len(files)-2]) {
		t.Errorf("a delta with the name of another: block %d, %v", block, err)
	}
}

// TestNewerRelease: a file of a later format is no damage, and is not skipped.
func TestNewerRelease(t *testing.T) {
	p := makePast(t, 8, 3)
	files := names(t, p.fs, "state")
	last := files[len(files)-1]
	h, _ := parseName(last)
	for _, fix := range []bool{true, false} {
		fs := p.copy()
		data := append([]byte(nil), magic...)
		data = append(data, formatVersion+1)
		data = seal(data, [][]byte{(&header{at: h.at}).append([]byte{frameHeader})})
		if !fix {
			data = read(t, fs, last)
			data[len(magic)]++
		}
		put(t, fs, last, data)
		_, err := Open("state", Options{FS: fs, Retain: 3})
		if fix != errors.Is(err, state.ErrNewer) {
			t.Errorf("checksum is right: %t; %v", fix, err)
		}
	}
}
