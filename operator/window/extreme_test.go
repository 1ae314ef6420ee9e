package window_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// Whatever its time, an input is in one window or late, and what is stored of it
// can be restored.
func TestWindowsAtTheEdgesOfTime(t *testing.T) {
	for name, w := range map[string]window.Assigner{
		"tumbling": window.Tumbling(event.Minute), "sliding": window.Sliding(event.Minute, 7*event.Second),
		"the longest": window.Tumbling(window.Longest), "long and sliding": window.Sliding(window.Longest, window.Longest/2),
		"sessions": window.Session(event.Minute), "the longest sessions": window.Session(window.Longest),
	} {
		for _, lateness := range []event.Duration{0, 5 * event.Second, window.Longest} {
			for _, at := range []event.Time{
				event.MinTime, event.MinTime + 1, event.MinTime / 2, -window.Longest - 1, -window.Longest, -1,
				window.Longest, window.Longest + 1, event.MaxTime / 2, event.MaxTime - 1, event.MaxTime,
			} {
				t.Run(fmt.Sprintf("%s, lateness %d, at %d", name, int64(lateness), int64(at)), func(t *testing.T) {
					atTheEdge(t, kind{windows: w, lateness: lateness}, at)
				})
			}
		}
	}
}

func atTheEdge(t *testing.T, k kind, at event.Time) {
	h := harness.Stage(t, harness.Options{
		Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(10) }, Seed: 1,
	}, func(s stream) {
		summed(s, k, "windows", false)
		if k.windows.Ends() && k.windows != window.Session(event.Minute) && k.windows != window.Session(window.Longest) {
			summed(s, k, "combined", true)
		}
	})
	for _, value := range []int64{1, 2} {
		h.Send(at, visit{Who: 1, Value: value})
	}
	h.Restore(h.Snapshot(), 3)
	h.Send(at, visit{Who: 1, Value: 4})
	h.Watermark(event.MaxTime)
	late := harness.Emitted[visit](h, "windows", window.PortLate)
	results := harness.Emitted[row](h, "windows", window.PortResults)
	if outside := at < -window.Longest || at > window.Longest; outside {
		if len(results) > 0 || len(late) != 1 { // the others were emitted before the snapshot
			t.Errorf("got %v and %v late, want them to be late", results, late)
		}
		return
	}
	for _, r := range results {
		if r.Record.Of != "7" || at < r.Record.Start || at >= r.Record.End {
			t.Errorf("got %s, want the sum 7 of a window of %d", line(r.Time, r.Record), int64(at))
		}
	}
	if len(results) == 0 || len(late) > 0 {
		t.Errorf("got %v and %v late, want results", results, late)
	}
}

func TestLengthsThatOverflow(t *testing.T) {
	for name, k := range map[string]kind{
		"lateness":         {windows: window.Tumbling(10), lateness: math.MaxInt64},
		"windows":          {windows: window.Tumbling(math.MaxInt64)},
		"slide":            {windows: window.Sliding(10, window.Longest+1)},
		"session":          {windows: window.Session(window.Longest + 1)},
		"shared windows":   {windows: window.Tumbling(10), more: []window.Assigner{window.Tumbling(math.MaxInt64)}},
		"trigger":          {windows: window.Global(), trigger: window.Trigger{Every: math.MaxInt64}},
		"processing clock": {windows: window.Global(), trigger: window.Trigger{EveryProcessing: math.MaxInt64}},
	} {
		topology, source := operator.NewTopology[visit]()
		summed(source, k, "windows", false)
		if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
			t.Errorf("%s: got %v, want ErrTopology", name, err)
		}
	}
}
