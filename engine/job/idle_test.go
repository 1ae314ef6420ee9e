package job_test

import (
	"testing"
	"time"

	"millrace/engine/job"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/watermark"
	"millrace/operator/window"
	"millrace/state/memory"
	"millrace/view"
	viewmemory "millrace/view/memory"
)

// silent is a source whose partitions have their records, some of them not yet,
// and then nothing.
type silent struct {
	readings
	there func(*reading) bool
}

func (s silent) Open(partition int, from uint64) (job.Reader[reading], error) {
	return &silentReader{s.readings[partition][from:], s.there}, nil
}

type silentReader struct {
	left  []reading
	there func(*reading) bool
}

func (r *silentReader) Read(most int, emit func(event.Time, *reading)) (n int, err error) {
	for ; n < most && len(r.left) > 0 && r.there(&r.left[0]); n++ {
		emit(r.left[0].At, &r.left[0])
		r.left = r.left[1:]
	}
	return n, nil
}

func (*silentReader) Close() error { return nil }

// Time goes on where nothing arrives: processing time, and event time when the
// partition that holds it up counts as idle. A job that goes on from a
// checkpoint knows how far it had come.
func TestTimeGoesOnWithoutRecords(t *testing.T) {
	now, backend := time.UnixMilli(100_000), memory.New()
	open := func() (*job.Job[reading], *[]string) {
		var got []string
		topology, source := operator.NewTopology[reading]()
		add := func(name string, processing bool) {
			windows := window.Add(source, window.Spec[string, reading, int64, string]{
				Name: name, Key: func(r *reading) string { return r.Meter }, Windows: window.Tumbling(10_000), ProcessingTime: processing,
				Add: func(n *int64, _ *reading) { *n++ }, Accumulator: codec.Int64[int64](),
				Result: func(w window.Window[string], _ *int64, emit func(string)) { emit(name + " " + w.Key) },
			})
			operator.Add(window.Results[string](windows), operator.Stage[string, struct{}, string]{
				Name: "of " + name, Version: 1, Key: func(s *string) string { return *s },
				New: func(*operator.Ports) operator.Operator[string, struct{}, string] { return noting{&got} },
			})
		}
		add("event", false)
		add("processing", true)
		j, err := job.New(job.Options[reading]{
			Topology: topology, Shards: 1, State: backend, Views: view.Store(viewmemory.New()), Idle: 60 * event.Second,
			Source: silent{
				readings{{{At: 5_000, Meter: "a"}, {At: 35_000, Meter: "b"}}, {{At: 2_000, Meter: "c"}}},
				func(r *reading) bool { return r.Meter != "b" || now.UnixMilli() >= 130_000 },
			},
			Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() },
			Now:        func() time.Time { return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		return j, &got
	}
	j, got := open()
	step := func(when string, want ...string) {
		t.Helper()
		for range 3 {
			if err := j.Step(); err != nil {
				t.Fatal(err)
			}
		}
		if !equalSets(*got, want) {
			t.Errorf("%s: got %q, want %q", when, *got, want)
		}
		*got = nil
	}
	step("when all that is there has been read")
	now = now.Add(9 * time.Second)
	step("before the window in processing time ends")
	now = now.Add(time.Second)
	step("when it ends", "processing a", "processing c")
	now = now.Add(20 * time.Second)
	step("when a partition goes on")
	now = now.Add(10 * time.Second)
	step("when its window ends", "processing b")
	now = now.Add(19 * time.Second)
	step("before the other partition is idle")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, got = open()
	step("after a restart")
	now = now.Add(time.Second)
	step("when the other partition is idle", "event a", "event c")
	now = now.Add(100 * time.Second)
	step("when all are idle: then event time stands")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// noting notes what comes.
type noting struct{ got *[]string }

func (o noting) Fold(c *operator.Context, _ string, _ *struct{}, in *string) {
	*o.got = append(*o.got, *in)
	c.Unchanged()
}

func (noting) Timer(*operator.Context, string, *struct{}, event.Time) {}

func (noting) Append(dst []byte, _ *struct{}) []byte { return dst }

func (noting) Load(uint8, []byte, *struct{}) error { return nil }

func equalSets(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
