package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"millrace/engine/checkpoint"
	"millrace/engine/job"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/state"
	"millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// errAway is the error of a partition that can not be read.
var errAway = errors.New("the broker is away")

// faulty is a source of which a partition can not be read from a record on.
type faulty struct {
	readings
	partition, from int // from 0: it can
}

func (f faulty) Open(partition int, from uint64) (job.Reader[reading], error) {
	r := &faultyReader{readingsReader: readingsReader{f.readings[partition][from:]}}
	if partition == f.partition && f.from > 0 {
		r.left, r.broken = f.from-int(from), true
	}
	return r, nil
}

type faultyReader struct {
	readingsReader
	left   int
	broken bool
}

func (r *faultyReader) Read(most int, emit func(event.Time, *reading)) (int, error) {
	if !r.broken {
		return r.readingsReader.Read(most, emit)
	}
	n, err := r.readingsReader.Read(min(most, r.left), emit)
	if r.left -= n; r.left == 0 {
		err = errAway
	}
	return n, err
}

// total counts, and fails on one meter if it is to.
type total struct {
	of  map[string]int64
	bad string
}

func (o total) Fold(_ *operator.Context, key string, s *int64, r *reading) {
	*s++
	if r.Meter == o.bad && *s == 50 {
		panic("that meter is broken")
	}
	o.of[key] = *s
}

func (total) Timer(*operator.Context, string, *int64, event.Time) {}

func (total) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (o total) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

// totals is a job that counts the readings of each meter in a stage of a name.
func totals(t *testing.T, stage string, source job.Source[reading], backend state.Backend, bad string, allow bool) (*job.Job[reading], map[string]int64, error) {
	t.Helper()
	of := map[string]int64{}
	topology, stream := operator.NewTopology[reading]()
	operator.Add(stream, operator.Stage[string, int64, reading]{
		Name: stage, Version: 1, Key: func(r *reading) string { return r.Meter },
		New: func(*operator.Ports) operator.Operator[string, int64, reading] { return total{of, bad} },
	})
	j, err := job.New(job.Options[reading]{
		Topology: topology, Source: source, Shards: 1, State: backend, Views: viewmemory.New(), BlockRecords: 7,
		Checkpoints: checkpoint.Policy{Interval: time.Hour}, AllowNonRestoredState: allow,
		Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() },
		Logger:     slog.New(slog.DiscardHandler), Now: func() time.Time { return time.UnixMilli(5000) },
	})
	return j, of, err
}

func manyReadings() readings {
	all := make(readings, 2)
	for i := range 400 {
		all[i%2] = append(all[i%2], reading{At: event.Time(i), Meter: fmt.Sprint("m", i%5)})
	}
	return all
}

// A job that has failed takes no checkpoint when it is closed: of the block in
// which it failed some records are in its state and some are not. The next job
// goes on from the last checkpoint, and counts every record once.
func TestAFailedJobTakesNoCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		source job.Source[reading]
		bad    string
		want   error
	}{
		"an operator panics":         {source: manyReadings(), bad: "m3", want: pipeline.ErrOperator},
		"a partition can't be read":  {source: faulty{manyReadings(), 1, 150}, want: errAway},
		"the first can't be read":    {source: faulty{manyReadings(), 0, 3}, want: errAway},
		"one that ends within a run": {source: faulty{manyReadings(), 1, 199}, want: errAway},
	} {
		t.Run(name, func(t *testing.T) {
			backend := memory.New()
			j, _, err := totals(t, "total", c.source, backend, c.bad, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Run(context.Background()); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err := j.Step(); !errors.Is(err, c.want) {
				t.Errorf("another step: got %v, want %v again", err, c.want)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j, of, err := totals(t, "total", manyReadings(), backend, "", false)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(j.Run(context.Background()), j.Close()); err != nil {
				t.Fatal(err)
			}
			for meter, n := range of {
				if n != 80 || len(of) != 5 {
					t.Errorf("%s is counted %d times, want 80; %d meters", meter, n, len(of))
				}
			}
		})
	}
}

// State of a stage that the topology does not have is refused, or dropped for
// good: a job that has the stage again does not go on from what has become
// stale.
func TestStateOfAStageThatIsGone(t *testing.T) {
	backend := memory.New()
	run := func(stage string, allow bool) (int64, error) {
		t.Helper()
		j, of, err := totals(t, stage, manyReadings(), backend, "", allow)
		if err != nil {
			return 0, err
		}
		err = errors.Join(j.Run(context.Background()), j.Close())
		return of["m1"], err
	}
	if n, err := run("old", false); n != 80 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := run("new", false); !errors.Is(err, state.ErrStageMissing) || !strings.Contains(err.Error(), "old (keys: 5)") {
		t.Errorf("a stage is gone: got %v", err)
	}
	if n, err := run("old", false); n != 0 || err != nil { // all has been read
		t.Errorf("it is there again: %d, %v", n, err)
	}
	if _, err := run("new", true); err != nil {
		t.Error(err)
	}
	keys := 0
	if err := backend.Load(func(string, []byte, []byte) error { keys++; return nil }); err != nil || keys != 0 {
		t.Errorf("%d keys are left: %v", keys, err)
	}
	if _, err := run("old", false); err != nil {
		t.Error(err)
	}
}
