package watermark

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
)

// step is one call of a Combined.
type step struct {
	partition int // or -1: a block starts
	ends      bool
	record
}

func (s step) to(c *Combined) {
	switch {
	case s.partition < 0:
		c.StartBlock(s.processing)
	case s.ends:
		c.End(s.partition)
	default:
		c.Observe(s.partition, s.t, s.processing, s.mark)
	}
}

const modelPartitions = 3

// steps are blocks of records with a clock that goes on, for the most part.
func steps(t *rapid.T) []step {
	var all []step
	now := event.Time(1000)
	for range rapid.IntRange(0, 30).Draw(t, "blocks") {
		now += event.Time(rapid.IntRange(-5, 30).Draw(t, "later"))
		all = append(all, step{partition: -1, record: record{processing: now}})
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			all = append(all, step{
				partition: rapid.IntRange(0, modelPartitions-1).Draw(t, "partition"),
				ends:      rapid.IntRange(0, 15).Draw(t, "ends") == 0,
				record:    record{event.Time(rapid.IntRange(1, 300).Draw(t, "time")), now, rapid.Bool().Draw(t, "mark")},
			})
		}
	}
	return all
}

// model is a Combined written down slowly.
type model struct {
	timeout   event.Duration
	each      [modelPartitions]Strategy
	active    [modelPartitions]event.Time
	idle      [modelPartitions]bool
	ended     [modelPartitions]bool
	began     bool
	now       event.Time
	watermark event.Time
}

func (m *model) step(s step) {
	i := s.partition
	switch {
	case i < 0:
		m.now = max(m.now, s.processing)
		for i := range m.each {
			if !m.began {
				m.active[i] = m.now
			}
			m.idle[i] = m.idle[i] || m.timeout > 0 && !m.ended[i] && m.now-m.active[i] >= m.timeout
		}
		m.began = true
	case s.ends:
		m.ended[i], m.idle[i] = true, false
	default:
		s.record.to(m.each[i])
		m.active[i] = max(m.active[i], m.now, s.processing)
		m.idle[i], m.ended[i] = false, false
	}
	least, counting, ended := event.MaxTime, 0, 0
	for i, strategy := range m.each {
		if m.ended[i] {
			ended++
		} else if !m.idle[i] {
			counting++
			least = min(least, strategy.Watermark())
		}
	}
	if counting > 0 || ended == modelPartitions {
		m.watermark = max(m.watermark, least)
	}
}

// TestCombined: the minimum of those that count; never back; restored in the
// middle, it goes on in the same way.
func TestCombined(t *testing.T) {
	for _, kind := range kinds {
		for _, timeout := range []event.Duration{0, 1, 50} {
			rapid.Check(t, func(t *rapid.T) {
				m := &model{timeout: timeout, watermark: event.MinTime, now: event.MinTime}
				for i := range m.each {
					m.each[i] = kind.make()
				}
				all := steps(t)
				at := rapid.IntRange(0, len(all)).Draw(t, "saved after")
				c := NewCombined(modelPartitions, timeout, kind.make)
				for i, s := range all {
					if i == at {
						c = restored(t, c, modelPartitions, timeout, kind.make)
					}
					before := c.Watermark()
					m.step(s)
					s.to(c)
					if c.Watermark() != m.watermark || c.Watermark() < before {
						t.Fatalf("step %d %+v: watermark %d after %d, want %d", i, s, c.Watermark(), before, m.watermark)
					}
					for p := range m.each {
						w, idle, ended := c.Partition(p)
						if w != m.each[p].Watermark() || idle != m.idle[p] || ended != m.ended[p] {
							t.Fatalf("step %d %+v: partition %d: %d, %t, %t", i, s, p, w, idle, ended)
						}
					}
				}
			})
		}
	}
}

func restored(t interface{ Fatalf(string, ...any) }, c *Combined, n int, timeout event.Duration, strategy func() Strategy) *Combined {
	into := NewCombined(n, timeout, strategy)
	r := wire.NewReader(c.AppendTo(nil))
	if err := errors.Join(into.Load(r), r.End()); err != nil {
		t.Fatalf("load: %v", err)
	}
	return into
}

// TestBlockBoundaries: where blocks are cut does not matter, as long as their
// processing times are the same; and without an idle timeout, whatever they
// are. The order of the records of different partitions does not matter for
// where the watermark is at the end.
func TestBlockBoundaries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		make := func() Strategy { return NewDynamic(5) }
		timeout := event.Duration(rapid.SampledFrom([]int{0, 20}).Draw(t, "timeout"))
		one, cut := NewCombined(modelPartitions, timeout, make), NewCombined(modelPartitions, timeout, make)
		for i, s := range steps(t) {
			s.to(one)
			if rapid.Bool().Draw(t, "cut") {
				now := s.processing
				if timeout == 0 {
					now = event.Time(rapid.IntRange(0, 5000).Draw(t, "now"))
				}
				if s.processing > 0 && !s.ends {
					cut.StartBlock(now)
				}
			}
			s.to(cut)
			if one.Watermark() != cut.Watermark() || one.StreamTime() != cut.StreamTime() {
				t.Fatalf("step %d: watermarks %d and %d", i, one.Watermark(), cut.Watermark())
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		rs := records.Draw(t, "records")
		make := func() Strategy { return NewBoundedOutOfOrderness(5) }
		mixed, apart := NewCombined(2, 0, make), NewCombined(2, 0, make)
		for _, r := range rs {
			mixed.Observe(int(r.processing)%2, r.t, r.processing, r.mark)
		}
		for p := range 2 {
			for _, r := range rs {
				if int(r.processing)%2 == p {
					apart.Observe(p, r.t, r.processing, r.mark)
				}
			}
		}
		if mixed.Watermark() != apart.Watermark() {
			t.Fatalf("mixed %d, one partition after the other %d", mixed.Watermark(), apart.Watermark())
		}
	})
}

// TestIdleness is an example by hand: two partitions, an idle timeout of 100.
func TestIdleness(t *testing.T) {
	c := NewCombined(2, 100, func() Strategy { return NewMonotonous() })
	want := func(about string, watermark event.Time) {
		t.Helper()
		if c.Watermark() != watermark {
			t.Errorf("%s: %d, want %d", about, c.Watermark(), watermark)
		}
	}
	c.StartBlock(1000)
	c.Observe(0, 51, 1000, false)
	want("the other one has had no record", event.MinTime)
	c.StartBlock(1099)
	c.Observe(0, 61, 1099, false)
	want("99 ms later", event.MinTime)
	c.StartBlock(1100)
	want("the other one is idle", 60)
	c.Observe(1, 11, 1100, false)
	want("it comes back, and does not move the watermark back", 60)
	c.Observe(0, 71, 1100, false)
	want("but holds it", 60)
	c.Observe(1, 66, 1100, false)
	want("until it has caught up", 65)
	c.StartBlock(1200)
	want("all are idle", 65)
	c.Observe(1, 68, 1200, false)
	want("one is back", 67)
	c.Observe(0, 91, 1200, false)
	c.End(1)
	want("and ends", 90)
	c.StartBlock(1300)
	want("the only one that has not ended is idle", 90)
	c.Observe(1, 95, 1300, false)
	want("one that had ended goes on after all", 94)
	c.End(1)
	c.End(0)
	want("all have ended", event.MaxTime)
	if c.StreamTime() != 95 || c.Partitions() != 2 {
		t.Errorf("stream time %d of %d partitions", c.StreamTime(), c.Partitions())
	}
}

// TestPartitionsAdded: a source may have more partitions after a restart.
func TestPartitionsAdded(t *testing.T) {
	make := func() Strategy { return NewMonotonous() }
	c := NewCombined(2, 100, make)
	c.StartBlock(1000)
	c.Observe(0, 50, 1000, false)
	c.Observe(1, 60, 1000, false)
	more := restored(t, c, 3, 100, make)
	if more.Watermark() != 49 {
		t.Errorf("watermark %d, want 49", more.Watermark())
	}
	more.Observe(0, 80, 1050, false)
	if more.StartBlock(1050); more.Watermark() != 49 {
		t.Errorf("the new partition has had no record: watermark %d, want 49", more.Watermark())
	}
	more.Observe(2, 70, 1050, false)
	if more.Watermark() != 59 {
		t.Errorf("watermark %d, want 59", more.Watermark())
	}
	fewer := NewCombined(1, 100, make)
	if err := fewer.Load(wire.NewReader(more.AppendTo(nil))); err == nil || !strings.Contains(err.Error(), "3 partitions") {
		t.Errorf("fewer partitions: %v", err)
	}
	never := NewCombined(3, 0, make)
	more.StartBlock(5000)
	if err := never.Load(wire.NewReader(more.AppendTo(nil))); err != nil {
		t.Fatal(err)
	}
	if _, idle, _ := never.Partition(1); idle {
		t.Error("idle although there is no idle timeout any more")
	}
}

// TestNoAllocations: not one a record.
func TestNoAllocations(t *testing.T) {
	for _, kind := range kinds {
		s := kind.make()
		c := NewCombined(4, 100, kind.make)
		i := event.Time(0)
		if n := testing.AllocsPerRun(1000, func() {
			i++
			s.Observe(i, i, i%2 == 0)
			c.StartBlock(i)
			c.Observe(int(i%4), i, i, i%2 == 0)
			sink = s.Watermark() + c.Watermark() + c.StreamTime()
		}); n > 0 {
			t.Errorf("%s: %v allocations a record", kind.name, n)
		}
	}
}

var sink event.Time

// TestNamed: a Named is the Combined of the partitions that it has met, and
// restored it goes on in the same way with others that are new.
func TestNamed(t *testing.T) {
	for _, kind := range kinds {
		rapid.Check(t, func(t *rapid.T) {
			names := []string{"x", "", "y"}
			n := NewNamed(20, func(string) Strategy { return kind.make() })
			c := NewCombined(0, 20, nil)
			var met []string
			for i, s := range steps(t) {
				if rapid.IntRange(0, 9).Draw(t, "saved") == 0 {
					saved := n.AppendTo(nil)
					into := NewNamed(20, func(string) Strategy { return kind.make() })
					r := wire.NewReader(saved)
					if err := errors.Join(into.Load(r), r.End()); err != nil || string(into.AppendTo(nil)) != string(saved) {
						t.Fatalf("load: %v", err)
					}
					n = into
				}
				if s.partition >= 0 {
					name := names[s.partition]
					if s.partition = slices.Index(met, name); s.partition < 0 {
						s.partition = c.Add(kind.make())
						met = append(met, name)
					}
					if number := n.Number(name); number != s.partition {
						t.Fatalf("step %d: %q is number %d, want %d", i, name, number, s.partition)
					}
				} else if want := c.Lapses(s.processing); n.Lapses(s.processing) != want {
					t.Fatalf("step %d: lapses: want %t", i, want)
				}
				s.to(c)
				s.to(n.Combined)
				if n.Watermark() != c.Watermark() || n.StreamTime() != c.StreamTime() {
					t.Fatalf("step %d %+v: watermark %d, want %d", i, s, n.Watermark(), c.Watermark())
				}
			}
			if !slices.Equal(n.names, met) {
				t.Fatalf("%q, want %q", n.names, met)
			}
		})
	}
}

// TestLapses: a block at that time makes a partition idle, and one before does
// not.
func TestLapses(t *testing.T) {
	c := NewCombined(0, 100, nil)
	c.StartBlock(1000)
	a := c.Add(NewMonotonous())
	if c.Lapses(1099) || !c.Lapses(1100) {
		t.Error("a new partition has its time")
	}
	c.Observe(a, 5, 1050, false)
	if c.Lapses(1149) || !c.Lapses(1150) {
		t.Error("a record gives it more")
	}
	c.StartBlock(1150)
	if c.Lapses(9999) {
		t.Error("one that is idle can not become so")
	}
	c.Expect(a)
	if c.Lapses(1249) || !c.Lapses(1250) {
		t.Error("one that is expected has its time")
	}
}
