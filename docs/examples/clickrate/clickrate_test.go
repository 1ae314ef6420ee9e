package clickrate_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"millrace/docs/examples/clickrate"
	"millrace/engine/harness"
	"millrace/engine/job"
	"millrace/event"
	"millrace/operator/watermark"
	"millrace/state/pebble"
	"millrace/view"
	"millrace/view/memory"
)

func TestRates(t *testing.T) {
	h := harness.New[clickrate.Shown](t, clickrate.Topology(), harness.Options{})
	h.Send(1*event.Second, clickrate.Shown{User: "ann", Item: "lamp"})
	h.Send(2*event.Second, clickrate.Shown{User: "bob", Item: "lamp"})
	h.Send(5*event.Second, clickrate.Shown{User: "ann", Item: "lamp", Click: true})
	h.Watermark(30 * event.Second)
	h.ExpectView(clickrate.ViewName, "lamp", &clickrate.Rate{Until: 30 * event.Second, Shown: 2, Clicks: 1})

	h.Restore(h.Snapshot(), 5) // onto five shards
	h.Watermark(event.Minute)
	h.ExpectView(clickrate.ViewName, "lamp", &clickrate.Rate{Until: event.Minute, Shown: 2, Clicks: 1})
	h.ProcessingTime(25 * event.Hour)
	h.ExpectView(clickrate.ViewName, "lamp", nil)
}

// records is a source of one partition.
type records []harness.Record[clickrate.Shown]

func (records) Partitions() int { return 1 }

func (r records) Open(_ int, from uint64) (job.Reader[clickrate.Shown], error) {
	return &reader{r[from:]}, nil
}

type reader struct{ rest records }

func (r *reader) Read(most int, emit func(event.Time, *clickrate.Shown)) (int, error) {
	n := min(most, len(r.rest))
	for i := range r.rest[:n] {
		emit(r.rest[i].Time, &r.rest[i].Record)
	}
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (*reader) Close() error { return nil }

func TestJob(t *testing.T) {
	source := records{
		harness.At(1*event.Second, clickrate.Shown{User: "ann", Item: "lamp"}),
		harness.At(5*event.Second, clickrate.Shown{User: "ann", Item: "lamp", Click: true}),
		harness.At(70*event.Second, clickrate.Shown{User: "bob", Item: "lamp"}),
		harness.At(80*event.Second, clickrate.Shown{User: "bob", Item: "lamp", Click: true}),
	}
	backend, err := pebble.Open(t.TempDir(), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	views := memory.New()
	j, err := job.New(job.Options[clickrate.Shown]{
		Name: "click rates", Topology: clickrate.Topology(), Source: source, State: backend, Views: views,
		Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(5 * event.Second) },
	})
	if err != nil {
		t.Fatal(err)
	}
	err = j.Run(context.Background())
	if err := errors.Join(err, j.Close()); err != nil { // takes a last checkpoint, unless Run has failed
		t.Fatal(err)
	}
	snapshot := views.Snapshot()
	defer snapshot.Close()
	rate, ok := view.Get[*clickrate.Rate](snapshot, clickrate.ViewName, "lamp")
	if want := (clickrate.Rate{Until: 2 * event.Minute, Shown: 1, Clicks: 1}); !ok || *rate != want {
		t.Errorf("rate is %v, want %v", rate, want)
	}
}

// The page shows this code: it must be this code.
func TestThePageShowsThisCode(t *testing.T) {
	page, err := os.ReadFile("../../your-own-job.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("clickrate.go")
	if err != nil {
		t.Fatal(err)
	}
	test, err := os.ReadFile("clickrate_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(page), "```go\n") {
		block, _, _ = strings.Cut(block, "```")
		if i > 0 && !strings.Contains(string(code), strings.TrimSpace(block)) && !strings.Contains(string(test), strings.TrimSpace(block)) {
			t.Errorf("the page shows code that is not there:\n%s", block)
		}
	}
}
