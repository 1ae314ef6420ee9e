package checkpoint

import (
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistoryAndSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{Interval: time.Second})
		for i := range 250 {
			r.backend.takes.set(time.Duration(10+10*(i%2)) * time.Millisecond)
			if i == 249 {
				n := 2
				r.backend.fail = func() error {
					if n--; n >= 0 {
						return errBroken
					}
					return nil
				}
			}
			r.run(time.Second)
			r.Step(r.subject, true)
		}
		h := r.History()
		if len(h) != keptRecords || h[len(h)-1].Failures != 2 || h[len(h)-1].Failure != "" || h[0].First || h[0].Full {
			t.Fatalf("%d records, %+v to %+v", len(h), h[0], h[len(h)-1])
		}
		for i := range h[1:] {
			if h[i].Block >= h[i+1].Block {
				t.Fatalf("block %d before %d", h[i].Block, h[i+1].Block)
			}
		}
		if s := r.Summary(); s.Completed < 250 || s.Failed != 2 || s.Duration.Min != 10*time.Millisecond || s.Duration.Max < 2*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

func TestSummarize(t *testing.T) {
	if s := Summarize(nil); s != (Summary{}) {
		t.Errorf("of nothing: %+v", s)
	}
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	s := Summarize([]Record{
		{Block: 1, Started: at(0), Duration: 2 * time.Second, Stall: 3, Bytes: 10, First: true, Full: true},
		{Block: 2, Started: at(10), Duration: 4 * time.Second, Stall: 9, Bytes: 40},
		{Block: 3, Started: at(20), Duration: 100 * time.Second, Stall: 100, Bytes: 1000, Failure: "no", Failures: 4},
		{Block: 4, Started: at(1000), Duration: 3 * time.Second, Stall: 6, Bytes: 40, First: true, Failures: 1},
	})
	want := Summary{
		Completed: 3, Failed: 5, Duration: Range[time.Duration]{3 * time.Second, 2 * time.Second, 4 * time.Second},
		Stall: Range[time.Duration]{6, 3, 9}, Bytes: Range[int64]{30, 10, 40},
		Pause: Range[time.Duration]{7 * time.Second, 6 * time.Second, 8 * time.Second},
	}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

// The history of an engine goes on where that of the one before it ended.
func TestHistoryAcrossStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "checkpoints.jsonl")
		r := newRig(t, Policy{})
		var before []Record
		for i := range 3 {
			j, err := OpenJournal(path)
			if err != nil {
				t.Fatal(err)
			}
			r.stop = make(chan struct{})
			r.open(Policy{Interval: time.Second}, j)
			if got := r.History(); !reflect.DeepEqual(withoutClock(got), withoutClock(before)) {
				t.Fatalf("start %d: %+v, want %+v", i, got, before)
			}
			fails := 1
			r.backend.fail = func() error {
				if fails--; fails == 0 {
					return errBroken
				}
				return nil
			}
			r.run(5 * time.Second)
			r.Step(r.subject, true)
			if s := r.Summary(); s.Failed != 1 || s.Completed < 3 {
				t.Errorf("start %d: %+v", i, s)
			}
			h := r.History()
			if first := h[len(before)]; !first.First || first.Full != (i == 0) || first.Failures != 1 || h[len(h)-1].First {
				t.Errorf("start %d: %+v", i, first)
			}
			before = h
			time.Sleep(time.Hour) // without a server
		}
		if s := Summarize(before); s.Pause.Max > 2*time.Second {
			t.Errorf("a stop counts as a pause: %+v", s)
		}
	})
}

// withoutClock are records without what does not survive JSON: the monotonic clock.
func withoutClock(list []Record) (out []Record) {
	for _, r := range list {
		r.Started = r.Started.Round(0).UTC()
		out = append(out, r)
	}
	return out
}
