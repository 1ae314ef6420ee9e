package operator_test

import (
	cmp2 "cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// note is an input of the test operator: what to do with a key.
type note struct {
	Key    string
	Add    int64
	Timer  event.Time // set, if not 0
	Clear  event.Time // deleted, if not 0
	Forget bool
	Ignore bool
}

// ledger sums what it is given, and adds 1000 for each timer.
type ledger struct {
	out  *operator.Output[note]
	view *operator.ViewPort[sum]
}

type sum int64

func (s sum) AppendBinary(dst []byte) ([]byte, error) { return wire.AppendVarint(dst, int64(s)), nil }

func (l *ledger) Fold(c *operator.Context, key string, s *int64, in *note) {
	if in.Ignore {
		c.Unchanged()
		return
	}
	*s += in.Add
	if in.Timer != 0 {
		c.SetTimer(in.Timer)
	}
	if in.Clear != 0 {
		c.DeleteTimer(in.Clear)
	}
	if in.Forget {
		c.Forget()
	}
	l.out.Emit(c.Time, note{Key: key, Add: *s})
}

func (l *ledger) Timer(c *operator.Context, key string, s *int64, at event.Time) {
	*s += 1000
	l.out.Emit(at, note{Key: key, Add: *s})
}

func (l *ledger) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (l *ledger) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (l *ledger) Answer(key string, s *int64) {
	if s == nil {
		l.view.Delete(key)
		return
	}
	l.view.Put(key, sum(*s))
}

func ledgerStage(name string) operator.Stage[string, int64, note] {
	return operator.Stage[string, int64, note]{
		Name: name, Version: 1,
		Key: func(n *note) string { return n.Key },
		New: func(p *operator.Ports) operator.Operator[string, int64, note] {
			return &ledger{operator.Out[note](p, "sums"), operator.View[sum](p, name)}
		},
	}
}

// bench is a table of one ledger stage with what it emitted and answered.
type bench struct {
	operator.Table
	fold    func(operator.Meta, *note)
	emitted []string
	views   map[string]operator.Value
}

func newBench(t require) *bench {

	topology, source := operator.NewTopology[note]()
	operator.Add(source, ledgerStage("ledger"))
	if err := topology.Err(); err != nil {
		t.Fatalf("%v", err)
	}
	b := &bench{views: map[string]operator.Value{}}
	b.Table = topology.Nodes()[0].NewTable(operator.Shard{
		Sinks: map[string][]any{"sums": {operator.RawSink(func(m operator.Meta, record any) {
			n := record.(*note)
			b.emitted = append(b.emitted, fmt.Sprintf("%s=%d@%d", n.Key, n.Add, m.Time))
		})}},
		Views: func(w operator.ViewWrite) {
			if w.Value == nil {
				delete(b.views, w.Key)
			} else {
				b.views[w.Key] = w.Value
			}
		},
	})
	b.fold = b.Sink().(func(operator.Meta, *note))
	return b
}

func at(t, watermark event.Time) operator.Meta { return operator.Meta{Time: t, Watermark: watermark} }

func contents(t require, s operator.Snapshotter) map[string]string {
	all := map[string]string{}
	err := s.Each(func(key string, value []byte) error {
		all[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatalf("Each: %v", err)
	}
	return all
}

type require interface{ Fatalf(string, ...any) }

func TestTimersFireInOrderAndOnce(t *testing.T) {
	b := newBench(t)
	b.fold(at(1, 0), &note{Key: "a", Timer: 30})
	b.fold(at(2, 0), &note{Key: "a", Timer: 20})
	b.fold(at(2, 0), &note{Key: "a", Timer: 20}) // the same timer
	b.fold(at(3, 0), &note{Key: "b", Timer: 25})
	b.fold(at(4, 0), &note{Key: "a", Clear: 30, Timer: 40})
	b.emitted = nil
	b.Advance(19, 1<<20)
	b.Advance(40, 1<<20)
	b.Advance(100, 1<<20)
	want := []string{"a=1000@20", "b=1000@25", "a=2000@40"}
	if diff := cmp.Diff(want, b.emitted); diff != "" {
		t.Error(diff)
	}
}

func TestDueTimersFireBeforeTheKeysNextRecord(t *testing.T) {
	b := newBench(t)
	b.fold(at(1, 0), &note{Key: "a", Timer: 10})
	b.fold(at(11, 9), &note{Key: "a", Add: 1})
	b.fold(at(12, 10), &note{Key: "a", Add: 1})
	if diff := cmp.Diff([]string{"a=0@1", "a=1@11", "a=1001@10", "a=1002@12"}, b.emitted); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersOnceForEachChangedKey(t *testing.T) {
	b := newBench(t)
	b.fold(at(1, 0), &note{Key: "a", Add: 1})
	b.fold(at(1, 0), &note{Key: "a", Add: 1})
	b.fold(at(1, 0), &note{Key: "b", Add: 5})
	b.fold(at(1, 0), &note{Key: "c", Ignore: true})
	b.Answers()
	if diff := cmp.Diff(map[string]operator.Value{"a": sum(2), "b": sum(5)}, b.views); diff != "" {
		t.Error(diff)
	}
	b.Forget("a", event.MinTime)
	b.fold(at(1, 0), &note{Key: "b", Forget: true})
	b.Answers()
	if len(b.views) != 0 || b.Len() != 0 {
		t.Errorf("after forgetting: views %v, %d keys", b.views, b.Len())
	}
}

// savings is what checkpoints of a bench have saved.
type savings struct {
	saved map[string]string
	want  map[string]string // what the one under way must come to, nil if there is none
}

// finish ends the checkpoint under way, which must be the state at its
// beginning.
func (s *savings) finish(t *rapid.T, b *bench) {
	for b.Encode(1) > 0 {
	}
	for _, w := range b.TakeWrites() {
		if w.Value == nil {
			delete(s.saved, string(w.Key))
		} else {
			s.saved[string(w.Key)] = string(w.Value)
		}
	}
	if diff := cmp.Diff(s.want, s.saved); diff != "" {
		t.Fatalf("checkpoint differs from the state at its beginning (-want +got):\n%s", diff)
	}
	s.want = nil
}

// begin begins a checkpoint.
func (s *savings) begin(t *rapid.T, b *bench) {
	s.want = contents(t, b)
	b.BeginCheckpoint()
}

// step does one thing at random to the bench, or to its checkpoint.
func (s *savings) step(t *rapid.T, b *bench, clock event.Time) {
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0:
		if s.want == nil {
			s.begin(t, b)
		}
	case 1:
		b.Encode(rapid.IntRange(1, 2).Draw(t, "keys"))
	case 2:
		if s.want != nil {
			s.finish(t, b)
		}
	case 3:
		b.Advance(clock, 1<<20)
	case 4:
		b.Forget(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), event.MinTime)
	default:
		n := rapid.Custom(func(t *rapid.T) note {
			return note{
				Key: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"), Add: rapid.Int64Range(0, 5).Draw(t, "add"),
				Timer:  clock + event.Time(rapid.IntRange(0, 5).Draw(t, "timer")),
				Forget: rapid.IntRange(0, 5).Draw(t, "forget") == 0, Ignore: rapid.IntRange(0, 5).Draw(t, "ignore") == 0,
			}
		}).Draw(t, "note")
		b.fold(at(clock, clock-3), &n)
	}
}

// A checkpoint is the state at the moment of BeginCheckpoint, however much the
// table changes while it is encoded, and holds only what changed since the
// one before.
func TestCheckpointIsTheStateAtItsBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t)
		s := savings{saved: map[string]string{}}
		clock := event.Time(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			clock++
			s.step(t, b, clock)
		}
		if s.want != nil {
			s.finish(t, b)
		}
		s.begin(t, b)
		s.finish(t, b)

		restored := newBench(t)
		for _, key := range slices.Sorted(maps.Keys(s.saved)) {
			if err := restored.Load([]byte(key), []byte(s.saved[key])); err != nil {
				t.Fatalf("load: %v", err)
			}
		}
		if diff := cmp.Diff(contents(t, b), contents(t, restored)); diff != "" {
			t.Fatalf("restored state differs:\n%s", diff)
		}
		b.emitted = nil
		b.Advance(clock+100, 1<<20)
		restored.Advance(clock+100, 1<<20)
		byTimeAndKey(b.emitted) // keys that are due at the same time have no order
		byTimeAndKey(restored.emitted)
		if diff := cmp.Diff(b.emitted, restored.emitted); diff != "" {
			t.Fatalf("restored timers differ:\n%s", diff)
		}
	})
}

// byTimeAndKey sorts "key=sum@time".
func byTimeAndKey(emitted []string) {
	slices.SortStableFunc(emitted, func(a, b string) int {
		keyA, atA, _ := strings.Cut(a, "@")
		keyB, atB, _ := strings.Cut(b, "@")
		return cmp2.Or(cmp2.Compare(len(atA), len(atB)), cmp2.Compare(atA, atB), cmp2.Compare(keyA[:1], keyB[:1]))
	})
}

// The stored form is read by the next release, so it is exact.
func TestStoredFormOfAKey(t *testing.T) {
	for _, test := range []struct {
		header operator.Header
		want   []byte
	}{
		{
			operator.Header{Version: 3, Timers: []event.Time{-5, 7, 1 << 40}, Stamp: event.MinTime},
			[]byte{3, 3, 9, 24, 0xf2, 0xff, 0xff, 0xff, 0xff, 0x3f},
		},
		{operator.Header{Version: 1, Processing: []event.Time{3}, Stamp: event.MinTime}, []byte{0x81, 1, 0, 1, 6}},
		{operator.Header{Version: 1, Timers: []event.Time{1}, Stamp: 2}, []byte{0x81, 2, 1, 2, 4}},
	} {
		if diff := cmp.Diff(test.want, test.header.AppendTo([]byte{})); diff != "" {
			t.Error(diff)
		}
	}
	times := rapid.Custom(func(t *rapid.T) []event.Time {
		var set []event.Time
		for _, at := range rapid.SliceOfDistinct(rapid.Int64Range(-1<<60, 1<<60), rapid.ID[int64]).Draw(t, "times") {
			set = append(set, event.Time(at))
		}
		slices.Sort(set)
		return set
	})
	rapid.Check(t, func(t *rapid.T) {
		h := operator.Header{
			Version: rapid.Uint8Range(0, 127).Draw(t, "version"),
			Timers:  times.Draw(t, "timers"), Processing: times.Draw(t, "processing"), Stamp: event.MinTime,
		}
		if rapid.Bool().Draw(t, "stamped") {
			h.Stamp = event.Time(rapid.Int64Range(-1<<60, 1<<60).Draw(t, "stamp"))
		}
		state := rapid.SliceOf(rapid.Byte()).Draw(t, "state")
		got, gotState, err := operator.SplitState(append(h.AppendTo(nil), state...))
		if err != nil || !slices.Equal(gotState, state) {
			t.Fatalf("read %v, %v; want %v", gotState, err, state)
		}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
