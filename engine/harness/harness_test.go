package harness_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/watermark"
)

// order is what the test operator is told to do.
type order struct {
	Key                 string
	Add                 int64
	Timer, Clock        event.Time // set, if not 0
	Unchanged, Unknown  bool       // say so; Unknown changes all the same
	ForgetKey, Impurely bool
}

// account adds up, and emits on every occasion.
type account struct {
	out   *operator.Output[string]
	next  *operator.Output[order]
	view  *operator.ViewPort[balance]
	calls int // what an operator must not have
}

type balance int64

func (b balance) AppendBinary(dst []byte) ([]byte, error) {
	return wire.AppendVarint(dst, int64(b)), nil
}

func (a *account) Fold(c *operator.Context, key string, s *int64, in *order) {
	if in.Unchanged {
		c.Unchanged()
		return
	}
	if *s += in.Add; in.Unknown {
		c.Unchanged()
	}
	if a.calls++; in.Impurely {
		*s += int64(a.calls)
	}
	if in.Timer != 0 {
		c.SetTimer(in.Timer)
	}
	if in.Clock != 0 {
		c.SetProcessingTimer(in.Clock)
	}
	if in.ForgetKey {
		c.Forget()
	}
	a.say(c, key, "folds", s)
}

func (a *account) Timer(c *operator.Context, key string, s *int64, at event.Time) {
	*s += 100
	a.say(c, key, "rings", s)
	a.next.Emit(at, order{Key: key, Add: *s})
}

func (a *account) ProcessingTimer(c *operator.Context, key string, s *int64, at event.Time) {
	*s += 1000
	a.say(c, key, "ticks", s)
	a.next.Emit(at, order{Key: key, Add: *s})
}

func (a *account) say(c *operator.Context, key, what string, s *int64) {
	a.out.Emit(c.Time, fmt.Sprintf("%s %s %d at %d", key, what, *s, c.ProcessingTime()))
}

func (a *account) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (a *account) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (a *account) Answer(key string, s *int64) {
	if s == nil {
		a.view.Delete(key)
		return
	}
	a.view.Put(key, balance(*s))
}

func stage(name string, ttl *operator.TTL) operator.Stage[string, int64, order] {
	return operator.Stage[string, int64, order]{
		Name: name, Version: 1, Subject: operator.SubjectUser, TTL: ttl,
		Key: func(o *order) string { return o.Key },
		New: func(p *operator.Ports) operator.Operator[string, int64, order] {
			return &account{
				out: operator.Out[string](p, "said"), next: operator.Out[order](p, "next"),
				view: operator.View[balance](p, name),
			}
		},
	}
}

func one(t harness.TB, ttl *operator.TTL) *harness.Harness[order] {
	t.Helper()
	return harness.Stage(t, harness.Options{}, func(source operator.Stream[order]) {
		operator.Add(source, stage("a", ttl))
	})
}

func said(at event.Time, text string) harness.Record[string] { return harness.At(at, text) }

// The verbs do what they say.
func TestVerbs(t *testing.T) {
	h := one(t, nil)
	h.ProcessingTime(5)
	h.Send(1, order{Key: "x", Add: 1, Timer: 10, Clock: 50})
	h.Send(2, order{Key: "y", Add: 2, Timer: 20, Clock: 40})
	harness.Expect(h, "a", "said", said(1, "x folds 1 at 5"), said(2, "y folds 2 at 5"))
	h.Watermark(9)
	harness.Expect[string](h, "a", "said")
	h.Watermark(20)
	harness.Expect(h, "a", "said", said(10, "x rings 101 at 5"), said(20, "y rings 102 at 5"))
	h.ProcessingTime(49)
	harness.Expect(h, "a", "said", said(40, "y ticks 1102 at 49"))
	h.ProcessingTime(50)
	harness.Expect(h, "a", "said", said(50, "x ticks 1101 at 50"))
	h.ExpectView("a", "x", balance(1101))
	h.Forget(operator.SubjectUser, "x")
	h.ExpectView("a", "x", nil)
	h.ExpectKeys("a", 1)
}

// A snapshot is the whole of what goes on from it, with any number of shards.
func TestSnapshotAndRestore(t *testing.T) {
	for _, shards := range []int{1, 2, 7, operator.KeyGroups} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			h := one(t, &operator.TTL{After: 1000})
			h.ProcessingTime(5)
			h.Send(1, order{Key: "x", Add: 1, Timer: 10, Clock: 50})
			h.Send(2, order{Key: "y", Add: 2})
			h.Watermark(3)
			snapshot := h.Snapshot()
			h.Watermark(100)
			h.ProcessingTime(100)
			h.Restore(snapshot, shards)
			h.ExpectView("a", "x", balance(1))
			h.ExpectView("a", "y", balance(2))
			harness.Expect[string](h, "a", "said")
			if got := h.Snapshot(); string(got) != string(snapshot) {
				t.Errorf("the snapshot of what was restored differs:\n%x\n%x", got, snapshot)
			}
			h.Watermark(10)
			h.ProcessingTime(50)
			harness.Expect(h, "a", "said", said(10, "x rings 101 at 5"), said(50, "x ticks 1101 at 50"))
			h.ProcessingTime(1004)
			h.ExpectKeys("a", 2)
			h.ProcessingTime(1005) // y was used at 5, x at 50
			h.ExpectKeys("a", 1)
			h.ExpectView("a", "y", nil)
		})
	}
}

// A TTL is exact to the millisecond and in the order of time, wherever blocks
// end.
var ttlCases = []struct {
	name string
	ttl  operator.TTL
	do   func(h *harness.Harness[order])
	left int
}{
	{"just kept", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(9)
	}, 1},
	{"just over", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(10)
	}, 0},
	{"prolonged", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(9)
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(18)
	}, 1},
	{"not by reading", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(9)
		h.Send(1, order{Key: "x", Unchanged: true})
		h.ProcessingTime(10)
	}, 0},
	{"on read", operator.TTL{After: 10, OnRead: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.ProcessingTime(9)
		h.Send(1, order{Key: "x", Unchanged: true})
		h.ProcessingTime(18)
	}, 1},
	{"reading makes no key", operator.TTL{After: 10, OnRead: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x", Unchanged: true})
	}, 0},
	{"a timer at the end fires", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x", Clock: 10})
		h.ProcessingTime(12)
	}, 1},
	{"a timer after the end does not", operator.TTL{After: 10}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x", Clock: 11})
		h.ProcessingTime(12)
	}, 0},
	{"event time, just kept", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.Watermark(10)
	}, 1},
	{"event time, just over", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.Watermark(11)
	}, 0},
	{"event time, over while it is not in memory", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x"})
		h.Watermark(9)
		h.Watermark(11)
		h.ExpectView("a", "x", nil)
	}, 0},
	{"event time, a timer at the end", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x", Timer: 11})
		h.Watermark(15)
	}, 1},
	{"event time, a timer after the end", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Send(1, order{Key: "x", Timer: 12})
		h.Watermark(15)
	}, 0},
	{"event time, a late record counts from the watermark", operator.TTL{After: 10, EventTime: true}, func(h *harness.Harness[order]) {
		h.Watermark(20)
		h.Send(1, order{Key: "x"})
		h.Watermark(30)
	}, 1},
}

func TestTTL(t *testing.T) {
	for _, c := range ttlCases {
		t.Run(c.name, func(t *testing.T) {
			h := one(t, &c.ttl)
			c.do(h)
			h.ExpectKeys("a", c.left)
			h.Restore(h.Snapshot(), 2)
			h.ExpectKeys("a", c.left)
		})
	}
}

// A checkpoint that is encoded while the next block is processed has the timers
// that fire in that block: a job that goes on from it has to fire them again.
func TestCheckpointKeepsTimersThatFireMeanwhile(t *testing.T) {
	for _, ttl := range []*operator.TTL{nil, {After: 10}, {After: 9}} {
		h := one(t, ttl)
		h.Send(1, order{Key: "x", Clock: 10})
		h.ProcessingTime(10)
		h.Send(1, order{Key: "x", Timer: 10})
		h.Watermark(9)
		h.Watermark(10)
		h.Flush()
	}
}

// A key without TTL, as an older release stored it, is kept when its stage gets
// one, until it is used.
func TestTTLOfStateWithoutOne(t *testing.T) {
	h := one(t, nil)
	h.ProcessingTime(5)
	h.Send(1, order{Key: "x", Clock: 50})
	snapshot := h.Snapshot()
	h = one(t, &operator.TTL{After: 10})
	h.Restore(snapshot, 2)
	h.ProcessingTime(40)
	h.ExpectKeys("a", 1)
	h.ProcessingTime(50)
	h.ProcessingTime(60)
	h.ExpectKeys("a", 0)
}

// A stream that has ended, and goes on all the same.
func TestRecordsAfterTheEnd(t *testing.T) {
	h := one(t, &operator.TTL{After: 10, EventTime: true})
	h.Send(1, order{Key: "x", Add: 1})
	h.Watermark(event.MaxTime)
	h.Send(1, order{Key: "x", Add: 2})
	h.Send(1, order{Key: "x", Add: 3})
	harness.Emitted[string](h, "a", "said")
	h.ExpectView("a", "x", balance(5))
}

// A key whose time is over in event time is a new key to the next record, also
// within a block.
func TestTTLWithinABlock(t *testing.T) {
	h := harness.Stage(t, harness.Options{Watermarks: func() watermark.Strategy { return watermark.NewMonotonous() }},
		func(source operator.Stream[order]) {
			operator.Add(source, stage("a", &operator.TTL{After: 10, EventTime: true}))
		})
	h.Send(1, order{Key: "x", Add: 1, Timer: 14})
	h.Send(20, order{Key: "y"}) // the watermark comes to 19: x ended at 11
	h.Send(21, order{Key: "x", Add: 5})
	harness.Expect(h, "a", "said", said(1, "x folds 1 at 0"), said(20, "y folds 0 at 0"), said(21, "x folds 5 at 0"))
}

// Topologies with chained stages and exchanges see one processing time: a
// record that a timer emits is folded at the time of the block.
func TestWholeTopology(t *testing.T) {
	h := harness.Stage(t, harness.Options{}, func(source operator.Stream[order]) {
		a := operator.Add(source, stage("a", nil))
		operator.Chain(operator.From[order](a, "next"), stage("b", nil))
		c := operator.Add(operator.From[order](a, "next"), stage("c", nil))
		operator.Chain(operator.From[order](c, "next"), stage("d", nil))
	})
	h.ProcessingTime(5)
	for key := range 10 {
		h.Send(1, order{Key: fmt.Sprint(key), Add: 1, Timer: 30, Clock: 7})
	}
	harness.Emitted[string](h, "a", "said")
	h.ProcessingTime(9)
	for _, name := range []string{"b", "c"} {
		var want []harness.Record[string]
		for key := range 10 {
			want = append(want, said(7, fmt.Sprintf("%d folds 1001 at 9", key)))
		}
		harness.Expect(h, name, "said", want...)
	}
	h.Watermark(30)
	h.ExpectView("c", "3", balance(1001+1101))
	h.ExpectView("d", "3", nil)
}

// fatal is a TB that remembers what a test has failed with.
type fatal struct{ text string }

func (*fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

// failure runs a test that has to fail.
func failure(test func(t harness.TB)) (text string) {
	f := &fatal{}
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			f.text = fmt.Sprint("panic: ", r) // the block-less engine refuses so
		}
		text = f.text
	}()
	test(f)
	return ""
}

// Operators that break the contract are found out.
func TestDifferencesAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		test func(t harness.TB)
		want string
	}{
		"instances that remember": {func(t harness.TB) {
			h := one(t, nil)
			for key := range 10 {
				h.Send(1, order{Key: fmt.Sprint(key), Impurely: true})
			}
			h.Flush()
		}, "have emitted different records"},
		"a change that is kept secret": {func(t harness.TB) {
			h := one(t, nil)
			h.Send(1, order{Key: "x", Add: 1})
			h.Flush()
			h.Send(1, order{Key: "x", Add: 1, Unknown: true})
			h.Flush()
		}, "Unchanged"},
		"other records": {func(t harness.TB) {
			h := one(t, nil)
			h.Send(1, order{Key: "x", Add: 1})
			harness.Expect(h, "a", "said", said(1, "x folds 2 at 0"))
		}, "want\n  1 x folds 2 at 0"},
		"no such port": {func(t harness.TB) { harness.Expect[string](one(t, nil), "a", "sayd") }, "no stage"},
		"another type": {func(t harness.TB) {
			h := one(t, nil)
			h.Send(1, order{Key: "x", Add: 1})
			harness.Expect[int](h, "a", "said")
		}, "emits string, not int"},
		"another answer": {func(t harness.TB) { one(t, nil).ExpectView("a", "x", balance(1)) }, "view a"},
		"other keys":     {func(t harness.TB) { one(t, nil).ExpectKeys("a", 1) }, "holds 0 keys"},
		"a snapshot that is cut": {func(t harness.TB) {
			h := one(t, nil)
			h.Send(1, order{Key: "x", Add: 1})
			s := h.Snapshot()
			h.Restore(s[:len(s)-1], 1)
		}, "restore"},
		"a topology that does not fit": {func(t harness.TB) {
			harness.Stage(t, harness.Options{}, func(source operator.Stream[order]) { operator.Chain(source, stage("a", nil)) })
		}, "chained to the source"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failure(c.test); !strings.Contains(got, c.want) {
				t.Errorf("failed with %q, want %q", got, c.want)
			}
		})
	}
}
