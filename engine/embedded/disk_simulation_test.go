package embedded

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/engine/checkpoint"
	"millrace/eventlog"
	"millrace/internal/crashfs"
	"millrace/state"
	statememory "millrace/state/memory"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

// The disk simulation runs the engine over the real event log and the real
// state backend, both on one disk that the simulation owns: its power is cut
// before a random write, which leaves what was synced and any part of what was
// not, and then bits flip or files lose their end. Event times are out of
// order and the clock is the simulation's. After each recovery everything that
// was acknowledged must be there, once, and state and answers must equal those
// of a clean replay; damage must be noticed or harmless. What Pebble does in
// its own goroutines makes two runs of a seed similar, not equal.

// diskRounds is how many scenarios `make test` runs; `make soak` more.
func diskRounds() int {
	switch {
	case testing.Short():
		return 50
	case os.Getenv("MILLRACE_SOAK") != "":
		return 10_000
	}
	return 200
}

func TestDiskSimulation(t *testing.T) {
	t.Parallel()
	if seed := os.Getenv("MILLRACE_SEED"); seed != "" {
		n, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		(&diskSimulation{t: t, seed: n}).run()
		return
	}
	var all diskTotals
	for seed := range uint64(diskRounds()) {
		s := &diskSimulation{t: t, seed: seed + 1}
		s.run()
		all.add(s.diskTotals)
		if t.Failed() {
			t.Fatalf("failed with seed %d: repeat with MILLRACE_SEED=%d go test -run DiskSimulation ./engine/embedded", seed+1, seed+1)
		}
	}
	t.Logf("%d power cuts, %d checkpoints, %d times damage, %d of them noticed, %d rebuilt from the log",
		all.cuts, all.commits, all.damaged, all.noticed, all.rebuilt)
	if all.cuts == 0 || all.commits == 0 || all.damaged == 0 || all.noticed == 0 || all.rebuilt == 0 {
		t.Error("the simulation does not try what it is for")
	}
}

type diskTotals struct{ cuts, commits, damaged, noticed, rebuilt int }

func (d *diskTotals) add(e diskTotals) {
	d.cuts += e.cuts
	d.commits += e.commits
	d.damaged += e.damaged
	d.noticed += e.noticed
	d.rebuilt += e.rebuilt
}

// diskSimulation is one scenario.
type diskSimulation struct {
	diskTotals
	t      *testing.T
	seed   uint64
	model  *simulation // makes blocks, and holds those that were acknowledged
	random *rand.Rand
	mem    *vfs.MemFS

	log    *eventlog.Log
	state  *pebble.Backend
	engine *Engine

	disk    *crashfs.Disk // of mem
	image   *vfs.MemFS    // what the cut left
	mutex   sync.Mutex
	acked   int // blocks that were acknowledged
	atCut   int // of them, when the power was cut
	current *eventlog.Block
}

func (s *diskSimulation) run() {
	s.random = rand.New(rand.NewPCG(s.seed, 11))
	s.model = &simulation{t: s.t, seed: s.seed, random: s.random, clock: time.UnixMilli(1_700_000_000_000), log: &simulatedLog{}}
	s.model.users = 1 + s.random.IntN(12)
	s.mem = vfs.NewCrashableMem()
	for range 1 + s.random.IntN(4) {
		if !s.live() {
			return
		}
	}
	if s.open() {
		s.compare("at the end")
		s.close()
	}
}

// live is from one start to a power cut, and the damage that follows.
func (s *diskSimulation) live() bool {
	if !s.open() {
		return false
	}
	s.compare("after recovery")
	s.disk.CutAt(int64(5+s.random.IntN(150)), func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if s.image == nil {
			s.takeImage()
		}
	})
	for !s.disk.IsCut() && !s.t.Failed() {
		if !s.step() {
			break
		}
	}
	s.cutPower()
	s.commits += len(s.engine.Checkpoints())
	s.close()
	s.mem = s.image
	if s.random.IntN(3) == 0 {
		s.damage()
	}
	return !s.t.Failed()
}

// cutPower cuts the power now, if it is still on.
func (s *diskSimulation) cutPower() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.image == nil {
		s.takeImage()
	}
	s.acked = s.atCut
}

func (s *diskSimulation) takeImage() {
	s.cuts++
	s.atCut = s.acked
	s.image = s.disk.Left([]int{0, 25, 50, 100}[s.seed%4], rand.New(rand.NewPCG(s.seed, uint64(s.cuts))))
}

// powered is the file system of a disk whose power is on.
func (s *diskSimulation) powered() vfs.FS {
	s.disk = crashfs.New(s.mem)
	return s.disk.FS()
}

// open starts everything on what the disk has, and adopts a block that was
// stored and not acknowledged.
func (s *diskSimulation) open() bool {
	s.image = nil
	fs := s.powered()
	var err error
	if s.log, err = eventlog.Open("data/log", eventlog.Options{FS: fs, MemTableBytes: 32 << 10}); err != nil {
		return s.fail("open the log: %v", err)
	}
	if s.state, err = pebble.Open("data/state", pebble.Options{FS: fs, Cache: 64 << 10}); err != nil {
		return s.fail("open the state: %v", err)
	}
	last := int(s.log.Last())
	if s.current != nil && last == s.acked+1 {
		s.model.log.blocks = append(s.model.log.blocks, s.current)
		s.acked++
	}
	s.current = nil
	if last != s.acked {
		return s.fail("%d blocks were acknowledged, the log has %d", s.acked, last)
	}
	if last == 0 && !s.append(s.model.block(eventlog.Config, 1, []byte("1"))) {
		return false
	}
	if s.engine, err = s.start(s.state); err != nil {
		return s.fail("recover: %v", err)
	}
	return true
}

func (s *diskSimulation) start(backend state.Backend) (*Engine, error) {
	return open(Options{
		Build: simulationProgram, Shards: 1 + s.random.IntN(4), Log: s.log, State: backend, Views: viewmemory.New(),
		Checkpoints: checkpoint.Policy{Interval: time.Second}, Now: s.model.now,
		Duplicates: Duplicates{Stage: "first", Port: "repeats", Row: func(r any) int { return r.(*repeat).row }},
		Logger:     slog.New(slog.DiscardHandler),
	}, func(f func()) { f() })
}

func (s *diskSimulation) fail(format string, args ...any) bool {
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
	return false
}

func (s *diskSimulation) close() {
	if err := errors.Join(s.log.Close(), s.state.Close()); err != nil {
		s.fail("close: %v", err)
	}
}

// step does one thing. What it does after the power is cut is lost.
func (s *diskSimulation) step() bool {
	s.model.clock = s.model.clock.Add(time.Duration(s.random.IntN(900)) * time.Millisecond)
	switch n := s.random.IntN(12); {
	case n < 6:
		return s.append(s.model.events())
	case n == 6:
		return s.append(s.model.catalogue())
	case n == 7:
		return s.append(s.model.block(eventlog.Config, 1, []byte(strconv.Itoa(1+s.random.IntN(2)))))
	default:
		if err := s.engine.publish(); err != nil {
			return s.fail("publish: %v", err)
		}
		s.engine.checkpoint(false)
	}
	return true
}

// append stores a block, which acknowledges it, and has it processed.
func (s *diskSimulation) append(b *eventlog.Block) bool {
	s.mutex.Lock()
	if s.image == nil {
		s.current = b
	}
	s.mutex.Unlock()
	if err := s.log.Append(b); err != nil {
		return s.fail("append: %v", err)
	}
	s.mutex.Lock()
	on := s.image == nil
	if on {
		s.model.log.blocks = append(s.model.log.blocks, b)
		s.acked, s.current = s.acked+1, nil
	}
	s.mutex.Unlock()
	if on && s.engine != nil && s.engine.core.block+1 == b.Number {
		if err := s.engine.process(b, s.random.IntN(3) == 0); err != nil {
			return s.fail("block %d: %v", b.Number, err)
		}
	}
	return on
}

// compare compares the engine with a clean replay of what was acknowledged.
func (s *diskSimulation) compare(when string) {
	if err := s.engine.publish(); err != nil {
		s.fail("publish: %v", err)
		return
	}
	o := s.model.cleanOptions(1 + s.random.IntN(5))
	clean, err := open(o, func(f func()) { f() })
	if err != nil {
		s.fail("clean replay: %v", err)
		return
	}
	differences, err := Compare(s.engine, clean, 5)
	if err != nil {
		s.fail("compare: %v", err)
	}
	for _, d := range differences {
		s.fail("%s: differs from a clean replay: %+v", when, d)
	}
	if a, b := s.engine.core.meta(), clean.core.meta(); string(a) != string(b) {
		s.fail("%s: watermark, positions or counters differ from a clean replay", when)
	}
}

// cleanOptions are those of a clean replay.
func (s *simulation) cleanOptions(shards int) Options {
	s.state = &simulatedState{Backend: statememory.New()}
	return s.options(shards)
}

// damage flips a bit or cuts a file short, and demands that this is noticed, or
// that it makes no difference. Then the damage is undone, or the state is made
// anew from the log.
func (s *diskSimulation) damage() {
	s.damaged++
	whole := s.mem
	s.mem = whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(s.seed, 3))})
	name := s.victim(s.mem)
	if name == "" {
		return
	}
	spoil(s.t, s.mem, name, s.random)
	current, blocks := s.current, s.model.log.blocks
	err := s.tryDamaged()
	s.current, s.model.log.blocks = current, blocks
	if err != nil {
		s.noticed++
		if !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, eventlog.ErrCorrupt) {
			s.fail("%s was damaged: the error does not say so: %v", name, err)
		}
	}
	s.mem = whole
	if err != nil && strings.HasPrefix(name, "data/state/") { // what is computed can be computed again
		s.rebuilt++
		if err := s.mem.RemoveAll("data/state"); err != nil {
			s.fail("remove the state: %v", err)
		}
	}
}

// tryDamaged starts on a damaged disk, and returns the error that notices it.
func (s *diskSimulation) tryDamaged() (err error) {
	fs := s.powered()
	log, err := eventlog.Open("data/log", eventlog.Options{FS: fs, MemTableBytes: 32 << 10})
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	backend, err := pebble.Open("data/state", pebble.Options{FS: fs, Cache: 64 << 10})
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	s.log = log
	e, err := s.start(backend)
	if err != nil {
		return err
	}
	if last := int(log.Last()); last == s.acked+1 && s.current != nil {
		s.model.log.blocks = append(s.model.log.blocks[:s.acked:s.acked], s.current)
	} else if last != s.acked {
		s.fail("damage took acknowledged blocks: %d of %d are left", last, s.acked)
		return nil
	}
	s.engine = e
	s.compare("after damage that nobody noticed")
	return nil
}

// victim is a file that is damaged. What a crash has left at the end of the
// log's write-ahead log can not be told from damage, see eventlog/README.md.
func (s *diskSimulation) victim(fs vfs.FS) string {
	var names []string
	for _, dir := range []string{"data/log", "data/state"} {
		list, err := fs.List(dir)
		if err != nil {
			continue // it was not made yet
		}
		for _, name := range list {
			info, err := fs.Stat(dir + "/" + name)
			if err == nil && !info.IsDir() && info.Size() > 0 && (dir != "data/log" || !strings.HasSuffix(name, ".log")) {
				names = append(names, dir+"/"+name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[s.random.IntN(len(names))]
}

// spoil flips a bit of a file, or takes a table away or a part of it.
func spoil(t *testing.T, fs vfs.FS, name string, random *rand.Rand) {
	if random.IntN(6) == 0 && strings.HasSuffix(name, ".sst") {
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	at := random.IntN(len(data))
	if random.IntN(4) == 0 && strings.HasSuffix(name, ".sst") {
		data = data[:at]
	} else {
		data[at] ^= 1 << random.IntN(8)
	}
	f, err = fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
