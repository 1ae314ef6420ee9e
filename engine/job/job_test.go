package job_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/engine/checkpoint"
	"millrace/engine/job"
	"millrace/reference"
	"millrace/reference/plain"
	"millrace/state"
	"millrace/state/file"
	"millrace/state/memory"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

var jobSeed = flag.Uint64("job.seed", 0, "run one scenario of TestJobsSurviveCrashes")

// TestJobsSurviveCrashes runs the reference jobs with any number of shards,
// blocks of any size and a bound of memory so small that most keys are on
// disk; it stops them or cuts the power at any point, and goes on from the
// newest checkpoint with other shards. The result must be the plain loop's.
func TestJobsSurviveCrashes(t *testing.T) {
	t.Parallel()
	if *jobSeed != 0 {
		(&scenario{t: t, seed: *jobSeed}).run()
		return
	}
	rounds := 60
	if os.Getenv("MILLRACE_SOAK") != "" {
		rounds = 2000
	}
	resumed := 0
	for seed := range uint64(rounds) {
		s := &scenario{t: t, seed: seed + 1}
		s.run()
		resumed += s.resumed
		if t.Failed() {
			t.Fatalf("repeat with -job.seed=%d", seed+1)
		}
	}
	if t.Logf("%d times a job went on from a checkpoint", resumed); resumed == 0 {
		t.Error("no job ever went on from a checkpoint")
	}
}

// scenario is one job's life.
type scenario struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	name    string
	source  reference.Generator
	open    func(fs vfs.FS) (state.Backend, error)
	mem     *vfs.MemFS
	clock   atomic.Int64 // nanoseconds
	resumed int
}

// now is the clock. It creeps, so that a checkpoint is encoded in parts, with
// blocks in between.
func (s *scenario) now() time.Time { return time.Unix(0, s.clock.Add(int64(200*time.Microsecond))) }

func (s *scenario) run() {
	s.random = rand.New(rand.NewPCG(s.seed, 1))
	s.name = reference.Names()[s.random.IntN(6)]
	s.source = reference.Generator{Events: uint64(2 * (1 + s.random.IntN(40_000))), Users: uint64(10 * (1 + s.random.IntN(300)))}
	s.open = func(fs vfs.FS) (state.Backend, error) {
		return pebble.Open("state", pebble.Options{FS: fs, Cache: 64 << 10})
	}
	if s.random.IntN(2) == 0 {
		s.open = func(fs vfs.FS) (state.Backend, error) { return file.Open("state", file.Options{FS: fs}) }
	}
	s.mem = vfs.NewCrashableMem()
	s.clock.Store(time.UnixMilli(1_700_000_000_000).UnixNano())
	for range s.random.IntN(4) {
		if s.live(1 + s.random.IntN(30)) {
			break
		}
	}
	s.live(1 << 30)
}

// live runs the job for so many blocks, or until the source has ended, which
// it reports.
func (s *scenario) live(blocks int) (ended bool) {
	backend, err := s.open(s.mem)
	if err != nil {
		s.t.Fatalf("seed %d: open the state: %v", s.seed, err)
	}
	views := viewmemory.New()
	o := job.Options[reference.Event]{
		Name: s.name, Topology: reference.Topology(s.name), Source: s.source, Watermarks: reference.Watermarks,
		Shards: 1 + s.random.IntN(4), BlockRecords: 1 + s.random.IntN(4000), State: backend, Views: views,
		Checkpoints: checkpoint.Policy{Interval: time.Second}, Now: s.now,
	}
	if s.random.IntN(3) == 0 {
		nodes := o.Topology.Nodes()
		o.Parallelism = map[string]int{nodes[s.random.IntN(len(nodes))].Name: 1 + s.random.IntN(6)}
	}
	if s.random.IntN(2) == 0 {
		o.MemoryLimit = int64(1000 + s.random.IntN(200_000))
	}
	j, err := job.New(o)
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	if j.Records() > 0 {
		s.resumed++
	}
	for range blocks {
		s.clock.Add(int64(time.Duration(s.random.IntN(400)) * time.Millisecond))
		if err := j.Step(); err != nil {
			s.t.Fatalf("seed %d: %v", s.seed, err)
		}
		if j.Ended() {
			break
		}
	}
	ended = j.Ended()
	if ended {
		s.check(views)
	}
	if !ended && s.random.IntN(2) == 0 { // what is not synced is lost, in part
		s.mem = s.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(s.seed, 2))})
		j.Abandon()
		_ = backend.Close()
		return false
	}
	if err := errors.Join(j.Close(), backend.Close()); err != nil {
		s.t.Fatalf("seed %d: close: %v", s.seed, err)
	}
	return ended
}

func (s *scenario) check(views *viewmemory.Store) {
	snapshot := views.Snapshot()
	defer snapshot.Close()
	var got reference.Digest
	if v, ok := snapshot.Get(reference.ViewDigest, reference.DigestKey); ok {
		got = *v.(*reference.Digest)
	}
	if want, _ := plain.Run(s.name, s.source); got != want {
		s.t.Errorf("seed %d: %s of %d events, %d users: got %v, want %v", s.seed, s.name, s.source.Events, s.source.Users, got, want)
	}
}

// A checkpoint of another job, or of a source with other partitions, is
// refused with words that say so.
func TestAnotherJobsCheckpointIsRefused(t *testing.T) {
	backend := memory.New()
	options := func(name string) job.Options[reference.Event] {
		return job.Options[reference.Event]{
			Name: name, Topology: reference.Topology("J1"), Source: reference.Generator{Events: 100}, State: backend,
			Watermarks: reference.Watermarks, Views: viewmemory.New(), Shards: 1,
		}
	}
	j, err := job.New(options("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Run(context.Background()), j.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := job.New(options("other")); !errors.Is(err, job.ErrOtherJob) || !strings.Contains(err.Error(), `"one"`) {
		t.Errorf("got %v", err)
	}
	if j, err = job.New(options("one")); err != nil || !j.Ended() || j.Records() != 100 {
		t.Errorf("the same job: %v", err)
	}
}

// More shards than cores, one, and more than key groups.
func TestShards(t *testing.T) {
	for _, shards := range []int{1, 7, 128, 129} {
		views := viewmemory.New()
		j, err := job.New(job.Options[reference.Event]{
			Topology: reference.Topology("J6"), Source: reference.Generator{Events: 20_000}, Watermarks: reference.Watermarks,
			Views: views, Shards: shards,
		})
		if shards > 128 {
			if err == nil {
				t.Error("129 shards are accepted")
			}
			continue
		}
		if err = errors.Join(err, j.Run(context.Background()), j.Close()); err != nil {
			t.Fatal(err)
		}
		s := &scenario{t: t, name: "J6", source: reference.Generator{Events: 20_000}}
		s.check(views)
	}
}

// broken is a backend to which nothing can be committed.
type broken struct{ *memory.Backend }

var errBroken = errors.New("the disk is full")

func (broken) Commit(*state.Checkpoint) (int64, error) { return 0, errBroken }

// A job that waits for a checkpoint, as its memory is full, can be stopped, and
// stops by itself when more has failed than is tolerated.
func TestFullMemoryAndFullDisk(t *testing.T) {
	for _, tolerated := range []int{0, 2} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			j, err := job.New(job.Options[reference.Event]{
				Topology: reference.Topology("J1"), Source: reference.Generator{Events: 100_000}, Watermarks: reference.Watermarks, Shards: 1,
				State: broken{memory.New()}, Checkpoints: checkpoint.Policy{Interval: time.Hour, Tolerated: tolerated}, MemoryLimit: 1000, Views: viewmemory.New(),
			})
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(j.Run(ctx), j.Close())
			want, most := checkpoint.ErrStopped, 2*time.Minute
			if tolerated > 0 {
				want, most = checkpoint.ErrTooManyFailures, 10*time.Second
			}
			if took := time.Since(began); !errors.Is(err, want) || !errors.Is(err, errBroken) || took > most {
				t.Errorf("tolerated %d: %v after %v", tolerated, err, took)
			}
		})
	}
}
