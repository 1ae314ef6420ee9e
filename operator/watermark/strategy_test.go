package watermark

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
)

// kinds are all strategies, each with what its watermark is by definition
// after some records, from the beginning.
var kinds = []struct {
	name  string
	make  func() Strategy
	model func(records []record) event.Time
}{
	{"bounded", func() Strategy { return NewBoundedOutOfOrderness(5) },
		func(rs []record) event.Time { return newest(rs) - 5 - 1 }},
	{"negative bound", func() Strategy { return NewBoundedOutOfOrderness(-5) },
		func(rs []record) event.Time { return newest(rs) - 1 }},
	{"monotonous", func() Strategy { return NewMonotonous() },
		func(rs []record) event.Time { return newest(rs) - 1 }},
	{"dynamic", func() Strategy { return NewDynamic(3) },
		func(rs []record) event.Time { return dynamicModel(rs, 3, false) }},
	{"dynamic by processing time", func() Strategy { return NewDynamicByProcessingTime(3) },
		func(rs []record) event.Time { return dynamicModel(rs, 3, true) }},
	{"punctuated", func() Strategy { return NewPunctuated(nil) },
		func(rs []record) event.Time {
			w := event.MinTime
			for _, r := range rs {
				if r.mark {
					w = max(w, r.t-1)
				}
			}
			return w
		}},
	{"punctuated by a function", func() Strategy { return NewPunctuated(everySeventh) },
		func(rs []record) event.Time {
			w := event.MinTime
			for _, r := range rs {
				w = max(w, everySeventh(r.t, r.mark))
			}
			return w
		}},
}

func everySeventh(t event.Time, punctuation bool) event.Time {
	if t%7 == 0 && !punctuation {
		return t
	}
	return event.MinTime
}

type record struct {
	t, processing event.Time
	mark          bool
}

func (r record) to(s Strategy) { s.Observe(r.t, r.processing, r.mark) }

func newest(rs []record) event.Time {
	latest := event.MinTime
	for _, r := range rs {
		latest = max(latest, r.t)
	}
	return latest
}

// dynamicModel is the definition, written down slowly.
func dynamicModel(rs []record, floor event.Duration, byProcessing bool) event.Time {
	watermark := event.MinTime
	for i := range rs {
		sum, n := event.Time(0), event.Time(0)
		for j := max(0, i-99); j <= i; j++ {
			now := newest(rs[:j+1])
			if byProcessing {
				now = rs[j].processing
			}
			sum += max(0, now-rs[j].t)
			n++
		}
		watermark = max(watermark, newest(rs[:i+1])-max(floor, sum*3/(2*n))-1)
	}
	return watermark
}

var records = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record {
	return record{
		t:          event.Time(rapid.IntRange(1, 300).Draw(t, "time")),
		processing: event.Time(rapid.IntRange(1, 400).Draw(t, "processing")),
		mark:       rapid.Bool().Draw(t, "mark"),
	}
}), 0, 250)

func each(t *testing.T, test func(t *rapid.T, make func() Strategy, model func([]record) event.Time)) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { test(rt, kind.make, kind.model) })
		})
	}
}

// TestDefinition: the watermark is what the definition says, it never goes
// back, and the stream time is the largest event time.
func TestDefinition(t *testing.T) {
	each(t, func(t *rapid.T, make func() Strategy, model func([]record) event.Time) {
		s, rs := make(), records.Draw(t, "records")
		if s.Watermark() != event.MinTime || s.StreamTime() != event.MinTime {
			t.Fatalf("watermark %d, stream time %d before the first record", s.Watermark(), s.StreamTime())
		}
		for i, r := range rs {
			before := s.Watermark()
			r.to(s)
			if s.Watermark() < before {
				t.Fatalf("back from %d to %d", before, s.Watermark())
			}
			if i%50 == 49 || i == len(rs)-1 {
				if want := model(rs[:i+1]); s.Watermark() != want || s.StreamTime() != newest(rs[:i+1]) {
					t.Fatalf("after %d records: watermark %d, want %d; stream time %d", i+1, s.Watermark(), want, s.StreamTime())
				}
			}
		}
	})
}

// reload saves and restores, and fails unless that takes all bytes.
func reload(t interface{ Fatalf(string, ...any) }, s, into Strategy) Strategy {
	r := wire.NewReader(s.AppendTo(nil))
	if err := errors.Join(into.Load(r), r.End()); err != nil {
		t.Fatalf("load: %v", err)
	}
	return into
}

// TestRestore: saving and restoring in the middle changes nothing.
func TestRestore(t *testing.T) {
	each(t, func(t *rapid.T, make func() Strategy, _ func([]record) event.Time) {
		rs := records.Draw(t, "records")
		at := rapid.IntRange(0, len(rs)).Draw(t, "saved after")
		one, two := make(), make()
		for i, r := range rs {
			if i == at {
				two = reload(t, two, make())
			}
			r.to(one)
			r.to(two)
			if one.Watermark() != two.Watermark() || one.StreamTime() != two.StreamTime() {
				t.Fatalf("record %d, restored at %d: %d and %d", i, at, one.Watermark(), two.Watermark())
			}
		}
		if a, b := one.AppendTo(nil), two.AppendTo(nil); string(a) != string(b) {
			t.Fatalf("saved as %x and, restored in between, as %x", a, b)
		}
	})
}

// TestOtherStrategy: when a job goes on with another strategy, watermark and
// stream time are taken over, and do not go back.
func TestOtherStrategy(t *testing.T) {
	for _, from := range kinds {
		for _, to := range kinds {
			one := from.make()
			for i := range event.Time(150) {
				one.Observe(1000+i*7%50, 1100, i%5 == 0)
			}
			two := reload(t, one, to.make())
			if two.Watermark() != one.Watermark() || two.StreamTime() != one.StreamTime() {
				t.Errorf("%s to %s: watermark %d becomes %d", from.name, to.name, one.Watermark(), two.Watermark())
			}
			two.Observe(1001, 1001, true)
			if two.Watermark() < one.Watermark() || two.StreamTime() < one.StreamTime() {
				t.Errorf("%s to %s: watermark %d goes back to %d", from.name, to.name, one.Watermark(), two.Watermark())
			}
		}
	}
	large := NewBoundedOutOfOrderness(1000)
	small := NewBoundedOutOfOrderness(10)
	small.Observe(5000, 0, false)
	reload(t, small, large)
	if large.Observe(5001, 0, false); large.Watermark() != 4989 {
		t.Errorf("with a larger bound: %d, want it to hold at 4989", large.Watermark())
	}
}

// TestDynamicSteps is an example by hand: floor 10 ms.
func TestDynamicSteps(t *testing.T) {
	s := NewDynamic(10)
	for i, step := range []struct{ t, bound, watermark event.Time }{
		{1000, 10, 989},  // delay 0: the floor
		{900, 75, 989},   // delays 0 and 100: 1.5 x 50, and the watermark holds
		{2000, 50, 1949}, // delays 0, 100 and 0
		{1999, 37, 1962}, // sum 101, 4 delays: 37.875
	} {
		s.Observe(step.t, 0, false)
		if s.Bound() != step.bound || s.Watermark() != step.watermark {
			t.Errorf("step %d: bound %d, watermark %d; want %d, %d", i, s.Bound(), s.Watermark(), step.bound, step.watermark)
		}
	}
	for range 99 {
		s.Observe(3000, 0, false)
	}
	if s.Bound() != 10 || s.Watermark() != 2989 { // 1 ms of delay is left of 100
		t.Errorf("99 records later: bound %d, watermark %d", s.Bound(), s.Watermark())
	}
}

// TestExtremes: no times and no bounds overflow.
func TestExtremes(t *testing.T) {
	const lowest, highest event.Time = -1 << 63, 1<<63 - 1
	times := []event.Time{lowest, event.MinTime, event.MinTime + 1, -1, 0, 1, event.MaxTime - 1, event.MaxTime, highest}
	for _, bound := range times {
		for _, s := range []Strategy{NewBoundedOutOfOrderness(bound), NewDynamic(bound), NewDynamicByProcessingTime(bound), NewPunctuated(nil)} {
			c := NewCombined(2, 1, func() Strategy { return s })
			for range 200 {
				for i, at := range times {
					before := s.Watermark()
					s.Observe(at, times[len(times)-1-i], true)
					c.StartBlock(at)
					c.Observe(0, at, times[len(times)-1-i], true)
					if w := s.Watermark(); w < before || w > s.StreamTime() || w > event.MaxTime {
						t.Fatalf("%T of %d at %d: watermark %d after %d", s, bound, at, w, before)
					}
				}
			}
			if s.StreamTime() != event.MaxTime {
				t.Errorf("%T: stream time %d", s, s.StreamTime())
			}
		}
	}
}

// TestPunctuatedBeyond: a function may say the end of time.
func TestPunctuatedBeyond(t *testing.T) {
	s := NewPunctuated(func(event.Time, bool) event.Time { return 1<<63 - 1 })
	s.Observe(1, 0, false)
	c := NewCombined(1, 0, func() Strategy { return s })
	c.Observe(0, 1, 0, false)
	if s.Watermark() != event.MaxTime || c.Watermark() != event.MaxTime {
		t.Errorf("watermarks %d and %d, want %d", s.Watermark(), c.Watermark(), event.MaxTime)
	}
}

// TestLoadDamaged: damage and later formats are errors that change nothing.
func TestLoadDamaged(t *testing.T) {
	for _, kind := range kinds {
		s := kind.make()
		for i := range event.Time(150) {
			s.Observe(1000+i*7%50, 1100, true)
		}
		saved := s.AppendTo(nil)
		for cut := range saved {
			other := kind.make()
			other.Observe(7, 7, true)
			before := fmt.Sprint(other)
			if err := other.Load(wire.NewReader(saved[:cut])); !errors.Is(err, wire.ErrCorrupt) {
				t.Errorf("%s cut to %d of %d: %v", kind.name, cut, len(saved), err)
			}
			if after := fmt.Sprint(other); after != before {
				t.Errorf("%s: became %s", kind.name, after)
			}
		}
		saved[0]++
		if err := kind.make().Load(wire.NewReader(saved)); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: a later format: %v", kind.name, err)
		}
		saved[0] = 0
		if err := kind.make().Load(wire.NewReader(saved)); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("%s: format 0: %v", kind.name, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, kind := range kinds {
		c := NewCombined(3, 10, kind.make)
		f.Add(c.AppendTo(nil))
		for i := range event.Time(20) {
			c.StartBlock(i)
			c.Observe(int(i)%2, i*7%50, i, i%2 == 0)
		}
		c.End(1)
		f.Add(c.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range kinds {
			c := NewCombined(3, 10, kind.make)
			if c.Load(wire.NewReader(data)) != nil {
				continue
			}
			saved := c.AppendTo(nil)
			again := NewCombined(3, 10, kind.make)
			r := wire.NewReader(saved)
			if err := errors.Join(again.Load(r), r.End()); err != nil || string(again.AppendTo(nil)) != string(saved) {
				t.Errorf("%s: %x was loaded, and saved as %x: %v", kind.name, data, saved, err)
			}
			before := c.Watermark()
			c.StartBlock(100)
			for i := range 3 {
				c.Observe(i, 200, 100, true)
			}
			if c.Watermark() < before {
				t.Errorf("%s: back from %d to %d", kind.name, before, c.Watermark())
			}
		}
	})
}
