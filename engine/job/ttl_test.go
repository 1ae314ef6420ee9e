package job_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/engine/checkpoint"
	"millrace/engine/job"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

// visit is a record of a source of which more comes from time to time.
type visit struct {
	At   event.Time
	User string
}

// visits are a source of one partition that does not end.
type visits struct{ all []visit }

func (*visits) Partitions() int { return 1 }

func (v *visits) Open(_ int, from uint64) (job.Reader[visit], error) {
	return &visitsReader{v, int(from)}, nil
}

type visitsReader struct {
	*visits
	next int
}

func (r *visitsReader) Read(most int, emit func(event.Time, *visit)) (int, error) {
	n := min(most, len(r.all)-r.next)
	for i := range n {
		emit(r.all[r.next+i].At, &r.all[r.next+i])
	}
	r.next += n
	return n, nil
}

func (*visitsReader) Close() error { return nil }

// count counts, and has no answers.
type count struct{}

func (count) Fold(_ *operator.Context, _ string, s *int64, _ *visit) { *s++ }

func (count) Timer(*operator.Context, string, *int64, event.Time) {}

func (count) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (count) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

// Keys without answers whose time has ended on disk are deleted by recovery, as
// many at a time as there is room for, also when those that live fill what is
// kept in memory; none that lives is lost.
func TestKeysThatEndOnDisk(t *testing.T) {
	for _, eventTime := range []bool{true, false} {
		t.Run(fmt.Sprint("event time ", eventTime), func(t *testing.T) { keysThatEndOnDisk(t, eventTime) })
	}
}

const oldUsers, liveUsers = 8000, 5000

// endingKeys is a job whose keys end, run again and again on one disk.
type endingKeys struct {
	t         *testing.T
	source    visits
	clock     time.Time
	disk      vfs.FS
	eventTime bool
}

// run reads what there is and counts the keys that are stored then.
func (k *endingKeys) run() (old, live int) {
	k.t.Helper()
	backend, err := pebble.Open("state", pebble.Options{FS: k.disk})
	if err != nil {
		k.t.Fatal(err)
	}
	topology, stream := operator.NewTopology[visit]()
	operator.Add(stream, operator.Stage[string, int64, visit]{
		Name: "count", Version: 1, Key: func(v *visit) string { return v.User },
		TTL: &operator.TTL{After: 1000, EventTime: k.eventTime},
		New: func(*operator.Ports) operator.Operator[string, int64, visit] { return count{} },
	})
	j, err := job.New(job.Options[visit]{
		Topology: topology, Source: &k.source, Shards: 2, State: backend, MemoryLimit: 400_000, Views: viewmemory.New(),
		Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() }, BlockRecords: 1000,
		Checkpoints: checkpoint.Policy{Interval: time.Hour}, Now: func() time.Time { return k.clock },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	for int(j.Records()) < len(k.source.all) {
		if err := j.Step(); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		k.t.Fatal(err)
	}
	err = backend.Load(func(_ string, key, _ []byte) error {
		if key[0] == 'z' {
			old++
		} else {
			live++
		}
		return nil
	})
	if err := errors.Join(err, backend.Close()); err != nil {
		k.t.Fatal(err)
	}
	return old, live
}

func keysThatEndOnDisk(t *testing.T, eventTime bool) {
	k := &endingKeys{t: t, clock: time.UnixMilli(1000), disk: vfs.NewMem(), eventTime: eventTime}
	source, run := &k.source, k.run
	for i := range oldUsers {
		source.all = append(source.all, visit{1000, fmt.Sprintf("z%05d", i)})
	}
	if old, _ := run(); old != oldUsers {
		t.Fatalf("%d keys are stored, want %d", old, oldUsers)
	}
	k.clock = time.UnixMilli(1999)
	for i := range liveUsers { // whose keys are loaded before the others
		source.all = append(source.all, visit{1999, fmt.Sprintf("a%05d", i)})
	}
	old, live := run()
	if live != liveUsers || old == 0 {
		t.Fatalf("%d and %d keys are stored", old, live)
	}
	k.clock = time.UnixMilli(2010)
	source.all = append(source.all, visit{2010, "a00000"}) // time comes past 2000
	run()
	for round := range 40 {
		source.all = append(source.all, visit{2010, "a00000"})
		left, live := run()
		if live != liveUsers {
			t.Fatalf("round %d: %d keys live, want %d", round, live, liveUsers)
		}
		if left == 0 {
			if round == 0 {
				t.Error("all were dropped at once: there is no bound")
			}
			return
		}
		if left >= old && round > 0 {
			t.Fatalf("round %d: %d keys that have ended are still there", round, left)
		}
		old = left
	}
	t.Errorf("%d keys that have ended are left", old)
}
