package generate

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
)

// A wheel gives what a list sorted by time, stable in the order of pushes,
// gives.
func TestWheelIsAQueueByTime(t *testing.T) {
	type due struct {
		at event.Time
		n  int
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWheel[int]()
		now := event.Time(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "start"))
		var model []due
		pushed := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "push") {
				at := now + event.Time(rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, span-1)).Draw(t, "ahead"))
				w.push(at, pushed)
				model = append(model, due{at, pushed})
				slices.SortStableFunc(model, func(a, b due) int { return int(a.at - b.at) })
				pushed++
				continue
			}
			next := w.next(now)
			if len(model) == 0 {
				if next != event.MaxTime {
					t.Fatalf("next of an empty wheel is %v", next)
				}
				continue
			}
			if next != model[0].at {
				t.Fatalf("next is %d after now, want %d", next-now, model[0].at-now)
			}
			now = next
			if got := w.first(now); got == nil || *got != model[0].n {
				t.Fatalf("first is %v, want %d", got, model[0].n)
			}
			w.pop(now)
			model = model[1:]
		}
		if len(w.nodes) > pushed || w.size != len(model) {
			t.Fatalf("%d nodes for %d values, %d pushed", len(w.nodes), w.size, pushed)
		}
	})
}

func TestZipf(t *testing.T) {
	z := newZipf(1000)
	for _, n := range []int{1, 2, 10, 1000} {
		if first, last := z.rank(0, n), z.rank(1<<64-1, n); first != 0 || last != n-1 {
			t.Errorf("ranks of %d go from %d to %d", n, first, last)
		}
	}
	rnd := newRandom(1)
	counts := make([]int, 100)
	for range 200_000 {
		counts[z.rank(rnd.pcg.Uint64(), 100)]++
	}
	// Rank r has weight 1/(r+3): the first is 34 times the hundredth.
	if ratio := float64(counts[0]) / float64(counts[99]); ratio < 28 || ratio > 41 {
		t.Errorf("the first rank is drawn %.1f times as often as the last", ratio)
	}
}

func TestRhythm(t *testing.T) {
	sum := 0.0
	for m := range 24 * 60 {
		sum += rhythm(event.Time(m) * event.Minute)
	}
	if mean := sum / (24 * 60); mean < 0.998 || mean > 1.002 {
		t.Errorf("the mean of a day is %v, want 1", mean)
	}
	for _, c := range []struct {
		at   event.Time
		want float64
	}{
		{20*event.Hour + 30*event.Minute, 1.81},
		{4*event.Hour + 30*event.Minute, 0.2},
		{-event.Day + 4*event.Hour + 30*event.Minute, 0.2},
		{5 * event.Hour, 0.225},
		{0, 0.9},
	} {
		if got := rhythm(c.at); got != c.want {
			t.Errorf("rhythm(%v) = %v, want %v", c.at, got, c.want)
		}
	}
}
