package flink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/engine/job"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/reference"
	"millrace/view/memory"
)

// buildJob is the program of a reference job. All but J3 are keyed by user, so
// that a source of Flink's can make the key.
func buildJob(name string) (*flink.Program, error) {
	p := &flink.Program{
		Topology: reference.Topology(name),
		Source:   flink.Records[reference.Event](nil),
		Sinks:    map[string]string{reference.StageDigest: "result"},
	}
	if p.Topology == nil {
		return nil, fmt.Errorf("there is no job %q", name)
	}
	if name != "J3" {
		p.Key = &flink.PlanKey{Offset: reference.EventKeyOffset, Length: reference.EventKeyLength}
	}
	return p, nil
}

func planJob(t testing.TB, name string) *flink.Plan {
	t.Helper()
	p, err := buildJob(name)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := flink.NewPlan(name, p, []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func newWorker(limit int64) *flink.Worker {
	return flink.NewWorker(flink.Options{Build: func(b []byte) (*flink.Program, error) { return buildJob(string(b)) }, MemoryLimit: limit})
}

// want is what a job comes to on the engine for one process.
func want(t testing.TB, name string, events uint64) reference.Digest {
	t.Helper()
	views := memory.New()
	j, err := job.New(job.Options[reference.Event]{
		Topology: reference.Topology(name), Source: reference.Generator{Events: events, Users: 1000},
		Watermarks: reference.Watermarks, Views: views, Shards: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := views.Snapshot()
	defer s.Close()
	v, ok := s.Get(reference.ViewDigest, reference.DigestKey)
	if !ok {
		t.Fatal("no digest")
	}
	return *v.(*reference.Digest)
}

// feed reads the generator's partitions, from positions on.
type feed struct {
	t        testing.TB
	events   uint64
	position [2]uint64
	strategy [2]watermark.Strategy
	ended    [2]bool
	// stamped says that records travel with the watermark of all partitions: J3
	// is keyed by item, of which both partitions have events.
	stamped bool
}

func newFeed(t testing.TB, name string, events uint64) *feed {
	f := &feed{t: t, events: events, stamped: name == "J3"}
	for p := range f.strategy {
		f.strategy[p] = reference.Watermarks()
	}
	return f
}

// send sends so many events of a partition and its watermark.
func (f *feed) send(c *flinktest.Cluster, partition, n int) error {
	r, err := reference.Generator{Events: f.events, Users: 1000}.Open(partition, f.position[partition])
	if err != nil {
		return err
	}
	var failed error
	mark := min(f.strategy[0].Watermark(), f.strategy[1].Watermark())
	read, err := r.Read(n, func(t event.Time, e *reference.Event) {
		f.strategy[partition].Observe(t, t, false)
		if failed == nil {
			failed = c.Send(partition, operator.Meta{Time: t, Watermark: mark}, f.stamped, e.AppendRecord(nil))
		}
	})
	f.position[partition] += uint64(read)
	mark = f.strategy[partition].Watermark()
	if errors.Is(err, io.EOF) {
		mark, f.ended[partition] = event.MaxTime, true
	}
	if failed != nil {
		return failed
	}
	return c.Watermark(partition, mark)
}

// sums adds up what leaves for the sink.
type sums struct{ reference.Digest }

func (s *sums) add(o flinktest.Output) {
	var d reference.Digest
	d.ReadRecord(wire.NewReader(o.Record))
	s.Rows += d.Rows
	s.Sum += d.Sum
}

// Every job comes to the same on any number of subtasks, whatever batches there
// are, with sessions that are lost and restored on others, and with memory for
// nearly nothing.
func TestJobs(t *testing.T) {
	const events = 4_000
	for _, name := range reference.Names() {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(name, " seed ", seed), func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				limit := int64(seed % 2) // one byte: all that can be is evicted
				o := flinktest.Options{
					Plan: planJob(t, name), Dial: flinktest.Local(newWorker(limit)), Subtasks: 1 + int(seed), Partitions: 2, Seed: seed,
				}
				var got sums
				o.Result = got.add
				c, err := flinktest.New(o, nil)
				if err != nil {
					t.Fatal(err)
				}
				f := newFeed(t, name, events)
				saved, barrier := *f, uint64(0)
				for n := 0; !f.ended[0] || !f.ended[1]; n++ {
					partition := random.IntN(2)
					if f.ended[partition] {
						continue
					}
					if err := f.send(c, partition, 1+random.IntN(400)); err != nil {
						t.Fatal(err)
					}
					switch random.IntN(8) {
					case 0:
						at := *f
						if err := c.Checkpoint(); err != nil {
							t.Fatal(err)
						}
						if err := c.Drain(); err != nil {
							t.Fatal(err)
						}
						saved, barrier = at, barrier+1
					case 1:
						c.Kill()
						from, _ := c.Completed()
						o.Subtasks, o.Seed = 1+random.IntN(5), o.Seed*3
						if o.Dial = flinktest.Local(newWorker(limit)); barrier == 0 {
							from, saved = nil, *newFeed(t, name, events)
						}
						if c, err = flinktest.New(o, from); err != nil {
							t.Fatal(err)
						}
						at := saved
						at.ended = [2]bool{} // their last watermarks are lost as well
						at.strategy = [2]watermark.Strategy{reference.Watermarks(), reference.Watermarks()}
						f = &at
						barrier = 0
						if from != nil {
							barrier = 1
						}
					}
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				if w := want(t, name, events); got.Digest != w {
					t.Errorf("got %d rows, %016x; want %d, %016x", got.Rows, got.Sum, w.Rows, w.Sum)
				}
			})
		}
	}
}
