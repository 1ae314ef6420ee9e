package eventclock_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

func bounded(by event.Duration) func() watermark.Strategy {
	return func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(by) }
}

func named(string) watermark.Strategy { return watermark.NewBoundedOutOfOrderness(10) }

func with(t *testing.T, c *eventclock.Clock, o eventclock.Options) *eventclock.Clock {
	t.Helper()
	next, err := c.With(o)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// restored is a clock that goes on from what another one has saved.
func restored(c *eventclock.Clock, o eventclock.Options) (*eventclock.Clock, error) {
	next, err := eventclock.New().With(o)
	if err != nil {
		return nil, err
	}
	err = next.LoadSource(wire.NewReader(c.AppendSource(nil)))
	if err == nil && !c.Plain() {
		err = next.Load(wire.NewReader(c.AppendTo(nil)))
	}
	return next, err
}

// By hand: two partitions, one of which is behind, and then idle.
func TestPartitions(t *testing.T) {
	for _, apart := range []bool{true, false} {
		t.Run(fmt.Sprint("apart ", apart), func(t *testing.T) {
			c := with(t, eventclock.New(), eventclock.Options{Source: bounded(10), Partitions: &eventclock.Partitions{Idle: 1000, Strategy: named, Apart: apart}})
			stamp := func(partition string, at, want event.Time) {
				t.Helper()
				c.Enter(partition)
				if m := c.Stamp(at, 0, false); m != (operator.Meta{Time: at, Watermark: want}) {
					t.Errorf("%s at %d: %+v, want the watermark %d", partition, at, m, want)
				}
			}
			choose := func(own, all event.Time) event.Time {
				if apart {
					return own
				}
				return all
			}
			c.StartBlock(0)
			c.Expect("a")
			c.Expect("b")
			stamp("a", 1000, event.MinTime)
			stamp("a", 2000, choose(989, event.MinTime))
			stamp("b", 500, event.MinTime)
			stamp("b", 600, choose(489, 489))
			if c.Watermark() != 589 || c.StreamTime() != 2000 {
				t.Errorf("at %d, stream time %d", c.Watermark(), c.StreamTime())
			}
			c.StartBlock(999)
			stamp("a", 3000, choose(1989, 589))
			if !c.Lapses(1000) || c.Lapses(999) {
				t.Error("b is idle at 1000")
			}
			c.StartBlock(1000)
			if c.Watermark() != 2989 {
				t.Errorf("b is idle, and the watermark is %d", c.Watermark())
			}
			stamp("b", 700, 2989) // its own partition would have it, but time has gone by
			stamp("", 100, 2989)
			if c.Watermark() != 2989 {
				t.Errorf("back at %d", c.Watermark())
			}
			c.StartBlock(5000)
			c.Expect("b") // which all of them wait for, though none has records
			stamp("a", 9000, choose(2989, 2989))
			if c.Watermark() != 2989 {
				t.Errorf("b is expected, and the watermark is %d", c.Watermark())
			}
			c.StartBlock(5500)
			stamp("a", 9001, choose(8989, 2989))
			c.StartBlock(6000)
			if c.Watermark() != 8990 {
				t.Errorf("nothing came of b, and the watermark is %d", c.Watermark())
			}
		})
	}
}

// Without partitions a clock is its strategy, whatever the log says of where
// records came from, and keeps what it always kept.
func TestWithoutPartitionsNothingChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := eventclock.New().With(eventclock.Options{Source: bounded(7)})
		if err != nil {
			t.Fatal(err)
		}
		plain := bounded(7)()
		for range rapid.IntRange(0, 50).Draw(t, "records") {
			at := event.Time(rapid.IntRange(0, 200).Draw(t, "time"))
			c.StartBlock(at)
			c.Enter(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "partition"))
			if m := c.Stamp(at, at, false); m.Watermark != plain.Watermark() {
				t.Fatalf("%d, want %d", m.Watermark, plain.Watermark())
			}
			plain.Observe(at, at, false)
		}
		if !c.Plain() || string(c.AppendSource(nil)) != string(plain.AppendTo(nil)) || c.Lapses(event.MaxTime) {
			t.Fatal("there is more to be kept than the strategy")
		}
	})
}

// Time never goes back, neither by a configuration nor by a restore; and after
// a restore it is the same clock. With partitions apart the stamps of one are
// those that it has without the others, unless it was idle.
func TestTimeDoesNotGoBack(t *testing.T) {
	options := func(t *rapid.T) eventclock.Options {
		o := eventclock.Options{Source: bounded(event.Duration(rapid.IntRange(0, 20).Draw(t, "bound")))}
		if rapid.Bool().Draw(t, "partitions") {
			o.Partitions = &eventclock.Partitions{
				Idle: event.Duration(rapid.IntRange(0, 30).Draw(t, "idle")), Strategy: named, Apart: rapid.Bool().Draw(t, "apart"),
			}
		}
		return o
	}
	rapid.Check(t, func(t *rapid.T) {
		o := options(t)
		c, err := eventclock.New().With(o)
		if err != nil {
			t.Fatal(err)
		}
		now := event.Time(1000)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			mark, stream := c.Watermark(), c.StreamTime()
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				o = options(t)
				c, err = c.With(o)
			case 1:
				saved := string(c.AppendSource(nil)) + string(c.AppendTo(nil))
				c, err = restored(c, o)
				if err == nil && (c.Watermark() != mark || c.StreamTime() != stream || string(c.AppendSource(nil))+string(c.AppendTo(nil)) != saved) {
					t.Fatalf("restored to %d and %d from %d and %d", c.Watermark(), c.StreamTime(), mark, stream)
				}
			case 2, 3:
				now += event.Time(rapid.IntRange(0, 20).Draw(t, "later"))
				c.StartBlock(now)
			case 4:
				c.Expect(rapid.SampledFrom([]string{"", "a", "c"}).Draw(t, "partition"))
			default:
				c.Enter(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "partition"))
				if m := c.Stamp(now-event.Time(rapid.IntRange(0, 50).Draw(t, "delay")), now, false); m.Watermark < mark {
					t.Fatalf("a record is stamped %d at %d", m.Watermark, mark)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Watermark() < mark || c.StreamTime() < stream {
				t.Fatalf("from %d and %d back to %d and %d", mark, stream, c.Watermark(), c.StreamTime())
			}
		}
	})
}

// Where partitions are known from the beginning and none is idle, how they are
// interleaved does not matter for the stamps of any of them.
func TestStampsDoNotDependOnTheInterleaving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := eventclock.Options{Source: bounded(10), Partitions: &eventclock.Partitions{Strategy: named, Apart: true}}
		names := []string{"a", "b", "c"}
		queues := map[string][]event.Time{}
		for _, name := range names {
			queues[name] = rapid.SliceOf(rapid.Custom(func(t *rapid.T) event.Time {
				return event.Time(rapid.IntRange(0, 1000).Draw(t, "time"))
			})).Draw(t, name)
		}
		var stamps [2]map[string][]event.Time
		for run := range stamps {
			stamps[run] = map[string][]event.Time{}
			c, err := eventclock.New().With(o)
			if err != nil {
				t.Fatal(err)
			}
			left := map[string][]event.Time{}
			for _, name := range names {
				c.Expect(name)
				left[name] = queues[name]
			}
			for {
				var open []string
				for _, name := range names {
					if len(left[name]) > 0 {
						open = append(open, name)
					}
				}
				if len(open) == 0 {
					break
				}
				name := rapid.SampledFrom(open).Draw(t, "next")
				c.Enter(name)
				stamps[run][name] = append(stamps[run][name], c.Stamp(left[name][0], 0, false).Watermark)
				left[name] = left[name][1:]
			}
		}
		if fmt.Sprint(stamps[0]) != fmt.Sprint(stamps[1]) {
			t.Fatalf("%v\n%v", stamps[0], stamps[1])
		}
	})
}

func TestLoadRefusesTheStateOfOtherOptions(t *testing.T) {
	partitioned := eventclock.Options{Source: bounded(1), Partitions: &eventclock.Partitions{Strategy: named}}
	c := with(t, eventclock.New(), partitioned)
	other := with(t, eventclock.New(), eventclock.Options{Source: bounded(1)})
	if err := other.Load(wire.NewReader(c.AppendTo(nil))); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if err := c.Load(wire.NewReader(nil)); err == nil {
		t.Error("nothing was loaded")
	}
}
