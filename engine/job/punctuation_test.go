package job_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"millrace/engine/job"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// reading is a record of a source of which some are punctuation marks.
type reading struct {
	At    event.Time
	Meter string
	Mark  bool
}

// readings are the partitions of a source.
type readings [][]reading

func (r readings) Partitions() int { return len(r) }

func (r readings) Open(partition int, from uint64) (job.Reader[reading], error) {
	return &readingsReader{r[partition][from:]}, nil
}

type readingsReader struct{ left []reading }

func (r *readingsReader) Read(most int, emit func(event.Time, *reading)) (int, error) {
	n := min(most, len(r.left))
	for i := range n {
		emit(r.left[i].At, &r.left[i])
	}
	if r.left = r.left[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*readingsReader) Close() error { return nil }

type dueAt event.Time

func (d dueAt) AppendBinary(dst []byte) ([]byte, error) { return wire.AppendVarint(dst, int64(d)), nil }

// due answers for each key once time has come to its last record.
type due struct{ view *operator.ViewPort[dueAt] }

func (*due) Fold(c *operator.Context, _ string, _ *int64, r *reading) { c.SetTimer(r.At) }

func (*due) Timer(_ *operator.Context, _ string, s *int64, at event.Time) { *s = int64(at) }

func (*due) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (*due) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (o *due) Answer(key string, s *int64) {
	if s == nil || *s == 0 {
		o.view.Delete(key)
		return
	}
	o.view.Put(key, dueAt(*s))
}

func dueTopology(t *testing.T) *operator.Topology {
	topology, source := operator.NewTopology[reading]()
	operator.Add(source, operator.Stage[string, int64, reading]{
		Name: "due", Version: 1, Key: func(r *reading) string { return r.Meter },
		New: func(p *operator.Ports) operator.Operator[string, int64, reading] {
			return &due{operator.View[dueAt](p, "due")}
		},
	})
	if topology.Err() != nil {
		t.Fatal(topology.Err())
	}
	return topology
}

// Time comes as far as the last punctuation mark of the partition that is
// furthest behind, whatever the other records say: also when the job has been
// stopped after any block and goes on from its checkpoint.
func TestPunctuation(t *testing.T) {
	source := readings{
		{{10, "a", false}, {90, "b", false}, {20, "b", true}, {91, "c", false}, {60, "c", true}, {61, "c", false}, {62, "c", false}},
		{{5, "d", false}, {6, "e", true}, {70, "e", false}, {12, "f", true}, {13, "f", false}, {14, "g", false}, {80, "g", true}},
		{{1000, "h", true}},
	}
	// The keys that have answered after each block, of one record a partition.
	// Time comes to 5, 11 and 59, and when all has been read to its end.
	want := []string{"", "", "d", "a d e", "a d e", "a d e", "a b d e f g", "a b c d e f g h"}
	for stop := range len(want) {
		backend := memory.New()
		open := func() (*job.Job[reading], *viewmemory.Store) {
			views := viewmemory.New()
			j, err := job.New(job.Options[reading]{
				Topology: dueTopology(t), Source: source, Shards: 1 + stop%3, BlockRecords: 1, State: backend, Views: views,
				Watermarks:  func() watermark.Strategy { return watermark.NewPunctuated(nil) },
				Punctuation: func(r *reading) bool { return r.Mark },
				Now:         func() time.Time { return time.UnixMilli(5000) },
			})
			if err != nil {
				t.Fatal(err)
			}
			return j, views
		}
		j, views := open()
		for block, keys := range want {
			if block == stop {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				j, views = open()
			}
			if err := j.Step(); err != nil {
				t.Fatal(err)
			}
			if got := answered(views); got != keys {
				t.Errorf("stopped after block %d: block %d answers for %q, want %q", stop, block, got, keys)
			}
		}
		if !j.Ended() {
			t.Error("the job has not ended")
		}
		if err := errors.Join(j.Close(), backend.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// answered are the keys of the view due.
func answered(views *viewmemory.Store) string {
	snapshot := views.Snapshot()
	defer snapshot.Close()
	keys := ""
	for _, key := range "abcdefgh" {
		if _, ok := snapshot.Get("due", string(key)); ok {
			keys += fmt.Sprintf(" %c", key)
		}
	}
	return keys[min(1, len(keys)):]
}
