package keyed_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/keyed"
)

// mean is an aggregate with an accumulator of its own.
type mean struct{}

type sums struct{ n, sum int64 }

func (mean) Add(s *sums, v int64)   { s.n, s.sum = s.n+1, s.sum+v }
func (mean) Result(s *sums) float64 { return float64(s.sum) / float64(s.n) }

var sumsCodec = codec.Struct(
	codec.Field(func(s *sums) *int64 { return &s.n }, codec.Int64[int64]()),
	codec.Field(func(s *sums) *int64 { return &s.sum }, codec.Int64[int64]()),
)

type day struct{}

func (day) TTL() keyed.TTL { return keyed.TTL{After: event.Day, EventTime: true} }

type everything struct {
	plain    uint32
	last     keyed.Value[string]
	list     keyed.List[int64]
	counts   keyed.Map[string, int64]
	most     keyed.Reducing[int64, keyed.Max[int64]]
	mean     keyed.Aggregating[int64, sums, float64, mean]
	current  keyed.Expiring[string, day]
	recent   keyed.ExpiringList[int64, day]
	seen     keyed.ExpiringMap[string, int64, day]
	total    keyed.ExpiringReducing[int64, keyed.Sum[int64], day]
	average  keyed.ExpiringAggregating[int64, sums, float64, mean, day]
	excluded int // not declared, not stored
}

var all = keyed.Declare(1, func(d *keyed.Descriptor, s *everything) {
	i, str := codec.Int64[int64](), codec.String[string]()
	keyed.Plain(d, "plain", &s.plain, codec.Uint64[uint32]())
	s.last.Declare(d, "last", str)
	s.list.Declare(d, "list", i)
	s.counts.Declare(d, "counts", str, i)
	s.most.Declare(d, "most", i)
	s.mean.Declare(d, "mean", sumsCodec)
	s.current.Declare(d, "current", str)
	s.recent.Declare(d, "recent", i)
	s.seen.Declare(d, "seen", str, i)
	s.total.Declare(d, "total", i)
	s.average.Declare(d, "average", sumsCodec)
})

func at(t, watermark event.Time) *operator.Context {
	c := &operator.Context{}
	c.Begin(operator.Meta{Time: t, Watermark: watermark})
	return c
}

func filled() *everything {
	s, c := &everything{plain: 7}, at(1000, 500)
	s.last.Set("x")
	s.list.Add(3, 1)
	s.counts.Put("b", 2)
	s.counts.Put("a", 1)
	for _, v := range []int64{4, 9, 2} {
		s.most.Add(v)
		s.mean.Add(v)
		s.recent.Add(c, v)
		s.total.Add(c, v)
		s.average.Add(c, v)
	}
	s.current.Set(c, "now")
	s.seen.Put(c, "z", 26)
	s.seen.Put(c, "y", 25)
	s.excluded = 1
	return s
}

// The bytes are in checkpoints: they never change.
func TestBytesAreStable(t *testing.T) {
	want := "0b" +
		"0761766572616765" + "08" + "00e80701e807061e" +
		"06636f756e7473" + "07" + "02016102016204" +
		"0763757272656e74" + "0a" + "00e80701e807036e6f77" +
		"046c617374" + "02" + "0178" +
		"046c697374" + "03" + "020602" +
		"046d65616e" + "02" + "061e" +
		"046d6f7374" + "01" + "12" +
		"05706c61696e" + "01" + "07" +
		"06726563656e74" + "0d" + "00e80703e80708e80712e80704" +
		"047365656e" + "0e" + "00e807020179e80732017ae80734" +
		"05746f74616c" + "07" + "00e80701e8071e"
	got := all.Append(nil, filled())
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	var s everything
	if err := all.Load(1, got, &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, all.Append(nil, &s)); diff != "" {
		t.Errorf("not the same after being read: %s", diff)
	}
	c := at(2000, 600)
	if v, ok := s.mean.Get(); v != 5 || !ok {
		t.Errorf("mean %v %v", v, ok)
	}
	if v, ok := s.average.Get(c); v != 5 || !ok {
		t.Errorf("average %v %v", v, ok)
	}
	if v, ok := s.total.Get(c); v != 15 || !ok {
		t.Errorf("total %v %v", v, ok)
	}
	if s.plain != 7 || s.excluded != 0 {
		t.Errorf("plain %d, excluded %d", s.plain, s.excluded)
	}
	if b := all.Append(nil, &everything{}); len(b) != 1 {
		t.Errorf("an empty state takes %x", b)
	}
}

// Names and contents of more than 127 bytes have longer lengths.
func TestLongFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s, again everything
		s.list.Add(rapid.SliceOfN(rapid.Int64(), 0, 3000).Draw(t, "list")...)
		s.last.Set(rapid.StringN(0, 200, -1).Draw(t, "last"))
		b := all.Append([]byte("before"), &s)
		if err := all.Load(1, b[len("before"):], &again); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.list.All(), again.list.All()) || s.last != again.last {
			t.Fatalf("read %v, %v", again.list, again.last)
		}
	})
}

type first struct {
	score keyed.Value[int64]
	note  keyed.Value[string]
}

func declareFirst(d *keyed.Descriptor, s *first) {
	s.score.Declare(d, "score", codec.Int64[int64]())
	s.note.Declare(d, "note", codec.String[string]())
}

type second struct {
	note  keyed.Value[string]
	count int64
}

func declareSecond(d *keyed.Descriptor, s *second) {
	keyed.Plain(d, "count", &s.count, codec.Int64[int64]())
	s.note.Declare(d, "note", codec.String[string]())
}

func TestFieldsComeAndGo(t *testing.T) {
	var s first
	s.score.Set(5)
	s.note.Set("hi")
	old := keyed.Declare(1, declareFirst).Append(nil, &s)

	var lost second
	if err := keyed.Declare(2, declareSecond).Load(1, old, &lost); !errors.Is(err, keyed.ErrLost) {
		t.Errorf("a field that was removed: %v, want ErrLost", err)
	}
	dropping := keyed.Declare(2, func(d *keyed.Descriptor, s *second) {
		declareSecond(d, s)
		d.Dropped("score", 2)
	})
	var kept second
	if err := dropping.Load(1, old, &kept); err != nil {
		t.Fatal(err)
	}
	if note, _ := kept.note.Get(); note != "hi" || kept.count != 0 {
		t.Errorf("read %+v", kept)
	}
	if err := dropping.Load(2, old, &second{}); !errors.Is(err, keyed.ErrLost) {
		t.Errorf("a dropped field in a version that had dropped it: %v, want ErrLost", err)
	}
	if err := keyed.Declare(1, declareFirst).Load(2, dropping.Append(nil, &kept), &first{}); !errors.Is(err, keyed.ErrNewer) {
		t.Errorf("a newer version: %v, want ErrNewer", err)
	}
	s.score.Clear() // what holds nothing can not be lost
	if err := keyed.Declare(2, declareSecond).Load(1, keyed.Declare(1, declareFirst).Append(nil, &s), &second{}); err != nil {
		t.Errorf("an empty field that was removed: %v", err)
	}
	for cut := range old {
		if err := keyed.Declare(1, declareFirst).Load(1, old[:cut], &first{}); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v, want ErrCorrupt", cut, len(old), err)
		}
	}
}

func TestLayoutsThatMakeNoSensePanic(t *testing.T) {
	var elsewhere int64
	i := codec.Int64[int64]()
	for name, declare := range map[string]func(*keyed.Descriptor, *second){
		"no name":   func(d *keyed.Descriptor, s *second) { keyed.Plain(d, "", &s.count, i) },
		"twice":     func(d *keyed.Descriptor, s *second) { declareSecond(d, s); declareSecond(d, s) },
		"elsewhere": func(d *keyed.Descriptor, _ *second) { keyed.Plain(d, "x", &elsewhere, i) },
		"there and dropped": func(d *keyed.Descriptor, s *second) {
			declareSecond(d, s)
			d.Dropped("note", 2)
		},
		"dropped later": func(d *keyed.Descriptor, _ *second) { d.Dropped("note", 3) },
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, keyed.ErrLayout) {
					t.Errorf("%s: panics with %v, want ErrLayout", name, err)
				}
			}()
			keyed.Declare(2, declare)
		}()
	}
}

// The policies of the model test: all combinations.
type writes struct{}
type reads struct{}
type exactWrites struct{}
type exactReads struct{}

const after = 20

func (writes) TTL() keyed.TTL      { return keyed.TTL{After: after, EventTime: true} }
func (reads) TTL() keyed.TTL       { return keyed.TTL{After: after, OnRead: true} }
func (exactWrites) TTL() keyed.TTL { return keyed.TTL{After: after, Exact: true} }
func (exactReads) TTL() keyed.TTL {
	return keyed.TTL{After: after, EventTime: true, OnRead: true, Exact: true}
}

type expiring[P keyed.Policy] struct {
	one  keyed.Expiring[int64, P]
	list keyed.ExpiringList[int64, P]
	m    keyed.ExpiringMap[string, int64, P]
}

func layoutOf[P keyed.Policy]() *keyed.Layout[expiring[P]] {
	return keyed.Declare(1, func(d *keyed.Descriptor, s *expiring[P]) {
		i := codec.Int64[int64]()
		s.one.Declare(d, "one", i)
		s.list.Declare(d, "list", i)
		s.m.Declare(d, "map", codec.String[string](), i)
	})
}

// kept is an entry of the model: it looks at everything each time.
type kept struct {
	key  string
	v    int64
	used event.Time
}

// model is what should be there, and what timers should be set.
type model struct {
	ttl     keyed.TTL
	entries []kept // key "" is the one, "list" are values of the list, "m..." of the map
}

func (m *model) live(now event.Time) {
	m.entries = slices.DeleteFunc(m.entries, func(k kept) bool { return k.used+m.ttl.After <= now })
}

func (m *model) read(key string, stamp event.Time) (values []int64) {
	for i := range m.entries {
		if k := &m.entries[i]; k.key == key {
			values = append(values, k.v)
			if m.ttl.OnRead {
				k.used = max(k.used, stamp)
			}
		}
	}
	return values
}

func (m *model) remove(key string) {
	m.entries = slices.DeleteFunc(m.entries, func(k kept) bool { return k.key == key })
}

// replace sets a value; out of order, the later use counts.
func (m *model) replace(key string, v int64, used event.Time) {
	for _, k := range m.entries {
		if k.key == key {
			used = max(used, k.used)
		}
	}
	m.remove(key)
	m.entries = append(m.entries, kept{key, v, used})
}

func testModel[P keyed.Policy](t *testing.T) {
	var p P
	ttl, layout := p.TTL(), layoutOf[P]()
	rapid.Check(t, func(t *rapid.T) {
		s, twin := &expiring[P]{}, &expiring[P]{}
		m := &model{ttl: ttl}
		timers := map[event.Time]bool{}
		now := event.Time(rapid.IntRange(-60, 100).Draw(t, "begin")) // at the epoch too, which is no time like others only by mistake
		c := &operator.Context{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			to := now + event.Time(rapid.Int64Range(0, 12).Draw(t, "passes"))
			for _, due := range slices.Sorted(maps.Keys(timers)) {
				if due > to {
					continue
				}
				delete(timers, due)
				c.Begin(operator.Meta{Time: due, Watermark: due - 1})
				c.SetProcessingTime(due)
				expire := layout.ExpireProcessing
				if ttl.EventTime {
					expire = layout.Expire
				}
				empty, twinEmpty := expire(c, s, due), expire(c, twin, due)
				note(timers, c)
				m.live(due)
				if empty != twinEmpty || ttl.Exact && empty != (len(m.entries) == 0) && len(timers) == 0 {
					t.Fatalf("at %d: empty is %v, %v; the model has %d", due, empty, twinEmpty, len(m.entries))
				}
			}
			now = to
			time := now + event.Time(rapid.Int64Range(-5, 15).Draw(t, "ahead"))
			c.Begin(operator.Meta{Time: time, Watermark: now})
			c.SetProcessingTime(now)
			stamp := now
			if ttl.EventTime {
				stamp = c.Effective()
			}
			m.live(now)
			step(t, m, stamp, c, s, twin)
			note(timers, c)
			b := layout.Append(nil, s)
			if diff := cmp.Diff(b, layout.Append(nil, twin)); diff != "" {
				t.Fatalf("what was restored differs: %s", diff)
			}
			if rapid.IntRange(0, 3).Draw(t, "restore") == 0 {
				twin = &expiring[P]{}
				if err := layout.Load(1, b, twin); err != nil {
					t.Fatal(err)
				}
			}
			if ttl.Exact && len(m.entries) > 0 && len(timers) == 0 {
				t.Fatalf("no timer for %v", m.entries)
			}
		}
		if b := layout.Append(nil, s); len(m.entries) == 0 && len(timers) == 0 && ttl.Exact && len(b) != 1 {
			t.Fatalf("%x is left", b)
		}
	})
}

func note(timers map[event.Time]bool, c *operator.Context) {
	e := c.Effects()
	for _, at := range append(e.Set, e.ProcessingSet...) {
		timers[at] = true
	}
}

// step does one thing to two states and the model.
func step[P keyed.Policy](t *rapid.T, m *model, stamp event.Time, c *operator.Context, states ...*expiring[P]) {
	key := "m" + rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
	v := rapid.Int64Range(0, 99).Draw(t, "value")
	what := rapid.IntRange(0, 7).Draw(t, "what")
	var want []int64
	switch what {
	case 0:
		m.replace("", v, stamp)
	case 1:
		want = m.read("", stamp)
	case 2:
		m.entries = append(m.entries, kept{"list", v, stamp})
	case 3:
		want = m.read("list", stamp)
	case 4:
		m.replace(key, v, stamp)
	case 5:
		want = m.read(key, stamp)
	case 6:
		m.remove(key)
	case 7:
		for _, k := range []string{"ma", "mb", "mc", "md"} {
			want = append(want, m.read(k, stamp)...)
		}
	}
	for _, s := range states {
		if got := apply(c, s, what, key, v); !slices.Equal(got, want) {
			t.Fatalf("step %d of %s: got %v, want %v", what, key, got, want)
		}
	}
}

func apply[P keyed.Policy](c *operator.Context, s *expiring[P], what int, key string, v int64) (got []int64) {
	one := func(v int64, ok bool) {
		if ok {
			got = append(got, v)
		}
	}
	switch what {
	case 0:
		s.one.Set(c, v)
	case 1:
		one(s.one.Get(c))
	case 2:
		s.list.Add(c, v)
	case 3:
		got = slices.Collect(s.list.All(c))
	case 4:
		s.m.Put(c, key, v)
	case 5:
		one(s.m.Get(c, key))
	case 6:
		s.m.Delete(key)
	case 7:
		for k, v := range s.m.All(c) {
			got = append(got, v)
			_ = k
		}
	}
	return got
}

// State with a time to live has what a model has that looks at everything each
// time; restored, it goes on as it would have; timers let go of all of it.
func TestTimeToLive(t *testing.T) {
	t.Run("on write, event time", testModel[writes])
	t.Run("on read, processing time", testModel[reads])
	t.Run("on write, processing time, exact", testModel[exactWrites])
	t.Run("on read, event time, exact", testModel[exactReads])
}

// Without timers, memory is bounded by what is written within a lifetime or so.
func TestCleaningKeepsUp(t *testing.T) {
	var s expiring[writes]
	c := &operator.Context{}
	for i := range 10_000 {
		c.Begin(operator.Meta{Time: event.Time(i), Watermark: event.Time(i - 1)})
		s.m.Put(c, fmt.Sprint(i), 1)
		s.list.Add(c, 1)
	}
	for range 10_000 { // in no time
		s.m.Put(c, "again", 1)
		s.m.Delete("again")
	}
	if n := fmt.Sprintf("%v", s); len(n) > 4000 {
		t.Errorf("it holds %d bytes in words", len(n))
	}
}

// Between checkpoints state is plain data: reading and writing allocate
// nothing.
func TestAccessAllocatesNothing(t *testing.T) {
	var s everything
	c := at(1000, 500)
	s.counts.Put("a", 1)
	s.seen.Put(c, "a", 1)
	n := testing.AllocsPerRun(100, func() {
		v, _ := s.counts.Get("a")
		s.counts.Put("a", v+1)
		s.most.Add(v)
		s.mean.Add(v)
		s.last.Set("b")
		w, _ := s.seen.Get(c, "a")
		s.seen.Put(c, "a", w+1)
		s.total.Add(c, w)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
