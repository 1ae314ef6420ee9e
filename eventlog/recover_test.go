package eventlog

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var recoverRounds = flag.Int("recover.rounds", 40, "rounds of TestFailuresAndRecoveries")

// sickFS is a file system whose changes fail while it is sick, of the files
// that match. A write that fails may have written a part, and a sync that
// fails may have synced.
type sickFS struct {
	vfs.FS
	mu    sync.Mutex
	rng   *rand.Rand
	match func(name string) bool // nil while it is well
	met   int                    // operations that failed
}

func (s *sickFS) set(match func(name string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.match = match
}

// fails says whether an operation on the file fails, and how much of it is
// done all the same.
func (s *sickFS) fails(name string, size int) (part int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.match == nil || !s.match(path.Base(name)) {
		return size, nil
	}
	s.met++
	return s.rng.IntN(size + 1), &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
}

func (s *sickFS) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met
}

func (s *sickFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := s.fails(name, 0); err != nil {
		return nil, err
	}
	f, err := s.FS.Create(name, c)
	return &sickFile{f, s, name}, err
}

type sickFile struct {
	vfs.File
	fs   *sickFS
	name string
}

func (f *sickFile) Write(p []byte) (int, error) {
	n, failed := f.fs.fails(f.name, len(p))
	n, err := f.File.Write(p[:n])
	if failed != nil {
		return n, failed
	}
	return n, err
}

func (f *sickFile) Sync() error {
	done, failed := f.fs.fails(f.name, 1)
	if done == 1 {
		if err := f.File.Sync(); err != nil {
			return err
		}
	}
	return failed
}

func (f *sickFile) SyncData() error { return f.Sync() }

func (f *sickFile) SyncTo(int64) (bool, error) { return true, f.Sync() }

// sicknesses are the files that can not be changed.
var sicknesses = map[string]func(name string) bool{
	"everything":          func(string) bool { return true },
	"write-ahead logs":    isWAL,
	"tables":              func(name string) bool { return strings.HasSuffix(name, ".sst") },
	"manifests":           func(name string) bool { return strings.HasPrefix(name, "MANIFEST") },
	"tables and manifest": func(name string) bool { return !isWAL(name) && name != "probe" },
}

// recovering is a log that fails and recovers under load.
type recovering struct {
	t    *testing.T
	disk *sickFS
	log  *Log
	a    *Appender

	mu        sync.Mutex
	next      int
	acked     map[uint64]string // payload by block, of those that were acknowledged
	delivered []string          // by block
}

// Storage fails in every way while clients append, and comes back. What was
// acknowledged is there; what the receiver got is what the log has, in its
// order, and no power cut changes that; clients can append again; nothing of
// the failed storage is left behind.
func TestFailuresAndRecoveries(t *testing.T) {
	leakCheck(t)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := vfs.NewCrashableMem()
	r := &recovering{t: t, disk: &sickFS{FS: mem, rng: rand.New(rand.NewPCG(seed, 1))}, acked: map[uint64]string{}}
	var err error
	if r.log, err = Open("log", Options{FS: r.disk, MemTableBytes: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	r.a = NewAppender(r.log, AppenderOptions{
		RecoverEvery: time.Millisecond, MaxBlockEvents: 1,
		Deliver: func(b *Block) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.delivered = append(r.delivered, string(b.Payload))
			if b.Number != uint64(len(r.delivered)) {
				t.Errorf("block %d was delivered as number %d", b.Number, len(r.delivered))
			}
		},
	})
	names := []string{"everything", "write-ahead logs", "tables", "manifests", "tables and manifest"}
	for round := range *recoverRounds {
		name := names[rng.IntN(len(names))]
		r.load(sicknesses[name], rng)
		if t.Failed() {
			t.Fatalf("seed %d: failed in round %d, when %s could not be changed", seed, round, name)
		}
	}
	if err := r.a.Close(); err != nil {
		t.Fatal(err)
	}
	r.check(mem.CrashClone(vfs.CrashCloneCfg{}))
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	r.check(mem)
	if r.disk.failures() == 0 || len(r.delivered) == len(r.acked) {
		t.Errorf("%d operations failed, %d blocks of %d were acknowledged: the test tests too little",
			r.disk.failures(), len(r.acked), len(r.delivered))
	}
	t.Logf("seed %d: %d operations failed, %d blocks were acknowledged, %d more turned out to be stored",
		seed, r.disk.failures(), len(r.acked), len(r.delivered)-len(r.acked))
}

// load lets clients append while the disk gets sick and well again.
func (r *recovering) load(sick func(string) bool, rng *rand.Rand) {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		size := 100 + rng.IntN(20_000)
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.append(size)
				}
			}
		})
	}
	pause := func() { time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond) }
	pause()
	before := r.disk.failures()
	r.disk.set(sick)
	for began := time.Now(); r.disk.failures() == before && time.Since(began) < time.Second; {
		time.Sleep(time.Millisecond)
	}
	pause()
	r.disk.set(nil)
	close(stop)
	clients.Wait()
	for began := time.Now(); !r.append(10); {
		if time.Since(began) > 20*time.Second {
			r.t.Errorf("the log has not recovered: %v", r.a.Err())
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// append appends a block and reports whether it was acknowledged.
func (r *recovering) append(size int) bool {
	r.mu.Lock()
	r.next++
	payload := fmt.Sprintf("<%d>%s", r.next, strings.Repeat("x", size))
	r.mu.Unlock()
	ticket, err := r.a.Submit(config(payload))
	if err == nil {
		err = ticket.Err()
	}
	if err != nil {
		wantErr(r.t, "append", err, ErrUnavailable)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked[ticket.Block()] = payload
	return true
}

// check opens what is on a disk.
func (r *recovering) check(disk vfs.FS) {
	l := open(r.t, "log", Options{FS: disk, ReadOnly: true})
	var got []string
	err := l.Scan(1, func(b *Block) error {
		got = append(got, string(b.Payload))
		return nil
	})
	if err != nil || !slices.Equal(got, r.delivered) {
		r.t.Errorf("%d blocks were delivered, and %d others are in the log (%v)", len(r.delivered), len(got), err)
	}
	for number, payload := range r.acked {
		if number > uint64(len(got)) || got[number-1] != payload {
			r.t.Errorf("block %d was acknowledged and is not there, or another is", number)
		}
	}
}

// A log is not opened on a disk that is full, and says so instead of waiting
// for ever; later it is opened with all that it had.
func TestOpenOnAFullDisk(t *testing.T) {
	leakCheck(t)
	mem := vfs.NewCrashableMem()
	l := open(t, "log", Options{FS: mem})
	for range 3 {
		if err := l.Append(block(0, "block")); err != nil {
			t.Fatal(err)
		}
	}
	for name, match := range sicknesses {
		disk := &sickFS{FS: mem.CrashClone(vfs.CrashCloneCfg{}), rng: rand.New(rand.NewPCG(1, 1)), match: match}
		for range 2 {
			_, err := Open("log", Options{FS: disk})
			wantErr(t, name, err, ErrUnavailable)
			wantErr(t, name, err, syscall.ENOSPC)
		}
		disk.set(nil)
		if got := scanAll(t, open(t, "log", Options{FS: disk}), 1); len(got) != 3 {
			t.Errorf("%s: %d blocks are left of 3", name, len(got))
		}
	}
}

// fail makes a log fail by a write that does.
func fail(t *testing.T, l *Log, disk *sickFS) {
	t.Helper()
	disk.set(isWAL)
	wantErr(t, "append", l.Append(block(0, "fails")), ErrUnavailable)
	wantErr(t, "the log", l.Err(), ErrUnavailable)
	select {
	case <-l.Failed():
	default:
		t.Error("the log has not failed")
	}
	disk.set(nil)
}

func TestRecoverWaitsForRoom(t *testing.T) {
	leakCheck(t)
	mem := vfs.NewMem()
	disk := &sickFS{FS: mem, rng: rand.New(rand.NewPCG(1, 1))}
	l := open(t, "log", Options{FS: disk})
	if err := l.Append(block(0, "block")); err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(); err != nil {
		t.Errorf("a log that works recovers with %v", err)
	}
	fail(t, l, disk)
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: recoverBytes - 1})
	wantErr(t, "recover without room", l.Recover(), syscall.ENOSPC)
	if got := scanAll(t, l, 1); len(got) != 1 {
		t.Errorf("while it waits %d blocks can be read, want 1", len(got))
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: recoverBytes})
	disk.set(func(name string) bool { return name == "probe" })
	wantErr(t, "recover where nothing can be written", l.Recover(), ErrUnavailable)
	disk.set(sicknesses["tables and manifest"])
	wantErr(t, "recover where it can not be opened", l.Recover(), ErrUnavailable)
	wantErr(t, "a read then", l.Scan(1, func(*Block) error { return nil }), ErrUnavailable)
	disk.set(nil)
	if err := l.Recover(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(block(0, "after")); err != nil {
		t.Errorf("after recovery: %v", err)
	}
	if got := scanAll(t, l, l.Last()); len(got) != 1 || !strings.Contains(got[0], `"after"`) {
		t.Errorf("the last block is %q", got)
	}
}

// swapFS is a file system that can be replaced by another one.
type swapFS struct {
	vfs.FS
}

// A disk that has lost what it had acknowledged is not written to.
func TestRecoverNoticesLostBlocks(t *testing.T) {
	mem := vfs.NewCrashableMem()
	swap := &swapFS{FS: mem}
	disk := &sickFS{FS: swap, rng: rand.New(rand.NewPCG(1, 1))}
	l, err := Open("log", Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(block(0, "kept")); err != nil {
		t.Fatal(err)
	}
	older := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := l.Append(block(0, "lost")); err != nil {
		t.Fatal(err)
	}
	fail(t, l, disk)
	swap.FS = older
	for range 2 {
		wantErr(t, "recover", l.Recover(), ErrCorrupt)
		wantErr(t, "append", l.Append(block(0, "later")), ErrCorrupt)
	}
	wantErr(t, "close", l.Close(), ErrCorrupt)
}

// What a storage engine does after it was fenced off changes no file.
func TestFencedOff(t *testing.T) {
	mem := vfs.NewMem()
	write := func(f vfs.File, text string) {
		t.Helper()
		if n, err := f.Write([]byte(text)); err != nil || n != len(text) {
			t.Fatalf("wrote %d bytes: %v", n, err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	read := func(fsys vfs.FS, name string) string {
		t.Helper()
		f, err := fsys.Open(name)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		b := make([]byte, 100)
		n, _ := f.Read(b)
		return string(b[:n])
	}
	s := newStoreFS(mem, newHealth(Options{}.withDefaults().Logger, "log"), &dirLock{})
	f, err := s.Create("old", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	write(f, "before")
	s.fenceOff()
	write(f, " and after")
	made, err := s.Create("dir/new", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	write(made, "new")
	for what, err := range map[string]error{
		"remove": s.Remove("old"), "remove all": s.RemoveAll("old"), "make a folder": s.MkdirAll("folder", 0o755),
		"link": s.Link("old", "linked"), "rename": s.Rename("dir/new", "dir/newer"), "close": f.Close(),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if names, err := mem.List(""); err != nil || !slices.Equal(names, []string{"old"}) {
		t.Errorf("on disk are %q, %v", names, err)
	}
	if got := read(mem, "old"); got != "before" {
		t.Errorf("the file holds %q", got)
	}
	if got := read(s, "dir/newer"); got != "new" {
		t.Errorf("what was written afterwards is read as %q", got)
	}
}

// Failures are the appender's business also where it did not meet them, and
// while the receiver is not ready nothing is taken.
func TestAnAppenderNoticesFailuresOfOthers(t *testing.T) {
	leakCheck(t)
	disk := &sickFS{FS: vfs.NewMem(), rng: rand.New(rand.NewPCG(1, 1))}
	l := open(t, "log", Options{FS: disk})
	recovered := make(chan uint64)
	a := NewAppender(l, AppenderOptions{RecoverEvery: time.Millisecond, Recovered: func(last uint64) { recovered <- last }})
	defer a.Close()
	if err := errors.Join(a.Err(), submit(t, a, events(1, "early")).Err()); err != nil {
		t.Fatal(err)
	}
	disk.set(isWAL)
	wantErr(t, "dead letters", l.AppendDeadLetters(letters(1, 1)), ErrUnavailable)
	wantErr(t, "the appender", a.Err(), ErrUnavailable)
	disk.set(nil)
	for l.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	_, err := a.Submit(events(1, "too early"))
	wantErr(t, "submit", err, ErrUnavailable)
	wantErr(t, "the appender whose receiver is not ready", a.Err(), ErrUnavailable)
	if last := <-recovered; last != 1 {
		t.Errorf("the receiver was told of block %d, want 1", last)
	}
	for a.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	if err := submit(t, a, events(1, "late")).Err(); err != nil {
		t.Error(err)
	}
}
