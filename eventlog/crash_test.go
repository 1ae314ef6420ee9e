package eventlog

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/event"
	"millrace/internal/crashfs"
)

var (
	crashSeed   = flag.Uint64("crash.seed", 1, "first seed of TestCrashes")
	crashRounds = flag.Int("crash.rounds", 1500, "power cuts of TestCrashes")
)

// disk is a file system in memory whose power is cut before its cutAt-th
// write. What it holds at that moment is what was synced, and of the rest
// whatever chance keeps.
type disk struct {
	vfs.FS
	power *crashfs.Disk
	once  sync.Once
	cut   func()
	after *vfs.MemFS // what is left, nil while the power is on
}

// newDisk makes a disk of mem. keep is the percentage of unsynced pieces that
// survive, and atCut is called at the moment of the cut.
func newDisk(mem *vfs.MemFS, cutAt int64, keep int, rng *rand.Rand, atCut func()) *disk {
	d := &disk{power: crashfs.New(mem)}
	d.cut = func() {
		atCut()
		d.after = d.power.Left(keep, rng)
	}
	d.FS = d.power.FS()
	if cutAt > 0 {
		d.power.CutAt(cutAt, func() { d.once.Do(d.cut) })
	}
	return d
}

// left is the file system after the cut, which comes now if it has not come.
func (d *disk) left() *vfs.MemFS {
	d.once.Do(d.cut)
	return d.after
}

// history is what a client of the log knows across its crashes.
type history struct {
	blocks  []string // by number, as they were submitted
	acked   int      // that many were acknowledged
	letters int      // dead letters submitted
	heard   int      // that many of them were acknowledged
}

// TestCrashes appends blocks and dead letters, cuts the power before a random
// file operation, opens what is left, and demands that everything that was
// acknowledged by then is there, that nothing else is but what was being
// written, and that no block is missing or damaged in between.
func TestCrashes(t *testing.T) {
	t.Parallel()
	began := time.Now()
	lost, kept, rounds := 0, 0, 0
	for seed := *crashSeed; rounds < *crashRounds; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		mem := vfs.NewCrashableMem()
		h := &history{}
		for life := range 1 + rng.IntN(8) {
			d := h.live(t, mem, rng)
			mem = d.left()
			unsure := len(h.blocks) - h.acked
			h.check(t, mem)
			kept += len(h.blocks) - h.acked
			lost += unsure - (len(h.blocks) - h.acked)
			h.acked = len(h.blocks)
			rounds++
			if t.Failed() {
				t.Fatalf("failed at seed %d, life %d: run with -crash.seed=%d", seed, life, seed)
			}
		}
	}
	if lost == 0 || kept == 0 {
		t.Errorf("of what was not acknowledged %d blocks were lost and %d kept: the crashes come at the wrong times", lost, kept)
	}
	t.Logf("seeds from %d: %d crashes in %v; of blocks not acknowledged %d were lost, %d kept",
		*crashSeed, rounds, time.Since(began).Round(time.Millisecond), lost, kept)
}

// live opens the log and works on it until it is closed; somewhere on the way
// the power is cut, and h is what was known then.
func (h *history) live(t *testing.T, mem *vfs.MemFS, rng *rand.Rand) *disk {
	now := *h
	var mu sync.Mutex // of now: the cut may come in a goroutine of Pebble
	update := func(fn func()) { mu.Lock(); fn(); mu.Unlock() }
	keep := []int{0, 50, 100}[rng.IntN(3)]
	d := newDisk(mem, int64(1+rng.IntN(60)), keep, rand.New(rand.NewPCG(rng.Uint64(), 0)), func() {
		update(func() { *h = now })
	})
	l, err := Open("data/log", Options{FS: d, MemTableBytes: 32 << 10, MaxDeadLetters: 5})
	if err != nil {
		t.Fatal(err)
	}
	for steps := rng.IntN(8); steps > 0 && !d.power.IsCut(); steps-- {
		if rng.IntN(5) == 0 {
			update(func() { now.letters++ })
			err = l.AppendDeadLetters(letters(now.letters, now.letters))
			update(func() { now.heard = now.letters })
		} else {
			var blocks []*Block
			for range 1 + rng.IntN(3) {
				b := block(event.Time(len(now.blocks)), randomText(rng, []int{100, 20_000}[rng.IntN(2)]))
				blocks = append(blocks, b)
				update(func() { now.blocks = append(now.blocks, string(b.Payload)) })
			}
			err = l.Append(blocks...)
			update(func() { now.acked = len(now.blocks) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// If the power is still on it is cut now: like a kill, with nothing closed.
	d.left()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// check opens what a crash left and takes over what is there.
func (h *history) check(t *testing.T, mem *vfs.MemFS) {
	l, err := Open("data/log", Options{FS: mem, ReadOnly: true})
	if err != nil {
		if h.acked > 0 || h.heard > 0 || !strings.Contains(err.Error(), ErrNotFound.Error()) {
			t.Errorf("open: %v", err)
		}
		h.blocks, h.letters = nil, 0
		return
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	n := int(l.Last())
	if n < h.acked || n > len(h.blocks) {
		t.Errorf("%d blocks are left; %d were acknowledged and %d submitted", n, h.acked, len(h.blocks))
		return
	}
	next := 0
	err = l.Scan(1, func(b *Block) error {
		if string(b.Payload) != h.blocks[next] {
			t.Errorf("block %d is not what was submitted", b.Number)
		}
		next++
		return nil
	})
	if err != nil || next != n {
		t.Errorf("scanned %d of %d blocks: %v", next, n, err)
	}
	h.blocks = h.blocks[:n]
	h.checkLetters(t, l)
}

// checkLetters demands the newest dead letters, at most the bound of live.
func (h *history) checkLetters(t *testing.T, l *Log) {
	got, _ := times(t, l, "", 100)
	newest := 0
	if len(got) > 0 {
		newest = got[len(got)-1]
	}
	if newest < h.heard || newest > h.letters {
		t.Errorf("the newest dead letter is %d; %d were acknowledged and %d submitted", newest, h.heard, h.letters)
	}
	var want []int
	for i := max(1, newest-4); i <= newest; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) || l.DeadLetterCount() != len(want) {
		t.Errorf("dead letters %v, counted %d, want %v", got, l.DeadLetterCount(), want)
	}
	h.letters, h.heard = newest, newest
}
