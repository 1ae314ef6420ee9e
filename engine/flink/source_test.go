package flink_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/publish"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// visit is a record of the test's source.
type visit struct {
	User string
	Name string
}

func (v *visit) AppendRecord(dst []byte) []byte {
	return wire.AppendString(wire.AppendString(dst, v.User), v.Name)
}

func (v *visit) ReadRecord(r *wire.Reader) { v.User, v.Name = r.String(), r.String() }

// total is what a session comes to.
type total struct {
	User       string
	Start, End event.Time
	Names      string
}

func (s *total) AppendRecord(dst []byte) []byte {
	return fmt.Appendf(dst, "%s %d-%d %s", s.User, s.Start, s.End, s.Names)
}

func (s *total) ReadRecord(r *wire.Reader) { r.Fail(errors.New("it is only written")) }

// shouts publishes what comes late.
type shouts struct {
	out *operator.Output[publish.Record]
}

func (s *shouts) Fold(c *operator.Context, user string, _ *struct{}, v *visit) {
	c.Unchanged()
	s.out.Emit(c.Time, publish.Record{Topic: "late", Key: user, Value: []byte(v.Name)})
}
func (*shouts) Timer(*operator.Context, string, *struct{}, event.Time) {}
func (*shouts) Append(dst []byte, _ *struct{}) []byte                  { return dst }
func (*shouts) Load(uint8, []byte, *struct{}) error                    { return nil }

// rows is the operator of a stage that Flink takes the place of.
type rows struct{}

func (rows) Fold(*operator.Context, string, *struct{}, *total)      { panic("Flink takes its place") }
func (rows) Timer(*operator.Context, string, *struct{}, event.Time) {}
func (rows) Append(dst []byte, _ *struct{}) []byte                  { return dst }
func (rows) Load(uint8, []byte, *struct{}) error                    { return nil }

// visits is a program: sessions of users, whose rows and late inputs leave.
func visits([]byte) (*flink.Program, error) {
	t, source := operator.NewTopology[visit]()
	user := func(v *visit) string { return v.User }
	sessions := window.Add(source, window.Spec[string, visit, []string, total]{
		Name: "sessions", Subject: operator.SubjectUser, Key: user, Windows: window.Session(30),
		Add:         func(list *[]string, v *visit) { *list = append(*list, v.Name); slices.Sort(*list) },
		Merge:       func(into, from *[]string) { *into = append(*into, *from...); slices.Sort(*into) },
		Accumulator: codec.List(codec.String[string]()),
		Result: func(w window.Window[string], list *[]string, emit func(total)) {
			emit(total{w.Key, w.Start, w.End, strings.Join(*list, ",")})
		},
	})
	operator.Chain(window.LateInputs[visit](sessions), operator.Stage[string, struct{}, visit]{
		Name: "late", Subject: operator.SubjectUser, Version: 1, Key: user,
		New: func(p *operator.Ports) operator.Operator[string, struct{}, visit] {
			return &shouts{operator.Out[publish.Record](p, "records")}
		},
	})
	operator.Add(window.Results[total](sessions), operator.Stage[string, struct{}, total]{
		Name: "rows", Version: 1, Key: func(s *total) string { return s.User },
		New: func(*operator.Ports) operator.Operator[string, struct{}, total] { return rows{} },
	})
	return &flink.Program{
		Topology: t, Publish: intoShop, Sinks: map[string]string{"rows": "result"},
		Source: flink.Topics[visit]{Decode: decodeVisit, Apart: true, Idle: 1000, Letters: "dead", Watermarks: func(string) watermark.Strategy {
			return watermark.NewBoundedOutOfOrderness(10)
		}},
	}, nil
}

// intoShop publishes to topics with a prefix.
func intoShop(r *publish.Record) (topic string, value []byte, err error) {
	return "shop." + r.Topic, r.Value, nil
}

// decodeVisit takes "NAME" of a user, who is the key; nothing deletes the user.
func decodeVisit(r *flink.Raw, _ event.Time, v *visit) (flink.Verdict, error) {
	switch {
	case r.Value == nil:
		return flink.Verdict{Deleted: string(r.Key), Subject: operator.SubjectUser}, nil
	case r.Key == nil:
		return flink.Verdict{Letter: fmt.Appendf(nil, "%s@%d %s", r.Partition, r.Offset, r.Value)}, nil
	}
	*v = visit{string(r.Key), string(r.Value)}
	return flink.Verdict{Time: r.Time}, nil
}

// kept is a raw record of a partition.
type kept struct {
	at         event.Time
	key, value []byte
}

// visitLog are three partitions of users' visits: some late, some no records, a
// deletion now and then.
func visitLog(seed uint64) (log [3][]kept) {
	random := rand.New(rand.NewPCG(seed, 2))
	for n := range 900 {
		p := n % len(log)
		user := fmt.Appendf(nil, "user %d/%d", p, random.IntN(4))
		k := kept{event.Time(n*3 - random.IntN(30)), user, fmt.Appendf(nil, "v%d", n)}
		switch random.IntN(40) {
		case 0:
			k.key = nil
		case 1:
			k.value = nil
		case 2:
			k.at -= 200
		}
		log[p] = append(log[p], k)
	}
	return log
}

// playVisits reads the log to its end with sessions lost on the way, and returns
// all that has left, sorted.
func playVisits(t *testing.T, log [3][]kept, seed uint64, losses bool) (out []string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	program, err := visits(nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := flink.NewPlan("visits", program, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := flinktest.Options{
		Plan: plan, Raw: []string{"visits/0", "visits/1", "visits/2"}, Subtasks: 1 + int(seed%4), Seed: seed,
		Result: func(o flinktest.Output) { out = append(out, leaving(t, o)) },
	}
	var c *flinktest.Cluster
	start := func(from flinktest.Snapshot) {
		o.Dial = flinktest.Local(flink.NewWorker(flink.Options{Build: visits}))
		if c, err = flinktest.New(o, from); err != nil {
			t.Fatal(err)
		}
	}
	start(nil)
	var next, saved [3]int
	for left := true; left; {
		p := random.IntN(len(log))
		for range min(1+random.IntN(10), len(log[p])-next[p]) {
			k := log[p][next[p]]
			if err := c.SendRaw(p, int64(next[p]), k.at, k.key, k.value); err != nil {
				t.Fatal(err)
			}
			next[p]++
		}
		switch random.IntN(20) {
		case 0:
			at := next
			if err := errors.Join(c.Checkpoint(), c.Drain()); err != nil {
				t.Fatal(err)
			}
			if _, n := c.Completed(); n != c.Begun() {
				t.Fatalf("checkpoint %d has not come through", c.Begun())
			}
			saved = at
		case 1:
			if losses {
				from, _ := c.Completed()
				o.Subtasks, next = 1+random.IntN(4), saved
				start(from)
			}
		}
		left = next[0] < len(log[0]) || next[1] < len(log[1]) || next[2] < len(log[2])
	}
	for p := range log {
		if err := c.Watermark(p, event.MaxTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// leaving is a record that leaves as text.
func leaving(t *testing.T, o flinktest.Output) string {
	t.Helper()
	if o.Sink == flink.SinkTopics {
		n := 2 + int(binary.LittleEndian.Uint16(o.Record))
		return fmt.Sprintf("%s: %s %s at %d", o.Record[2:n], o.Key, o.Record[n:], o.Time)
	}
	return fmt.Sprintf("%s: %s", o.Sink, o.Record)
}

// What becomes of partitions does not depend on the subtasks that read them, on
// how they interleave, or on sessions that are lost: which records are late is
// decided by their own partition, and a deletion is in order with the records of
// its partition.
func TestPartitions(t *testing.T) {
	for data := range uint64(3) {
		log := visitLog(data)
		want := playVisits(t, log, 0, false)
		kinds := map[string]int{}
		for _, line := range want {
			kinds[strings.SplitN(line, ":", 2)[0]]++
		}
		if found := slices.Sorted(maps.Keys(kinds)); !slices.Equal(found, []string{"result", "shop.late", "topic"}) {
			t.Fatalf("only %v has left", kinds)
		}
		for seed := range uint64(8) {
			if diff := cmp.Diff(want, playVisits(t, log, 4*seed+data+1, seed%2 == 1)); diff != "" {
				t.Errorf("log %d, seed %d: %s", data, seed, diff)
			}
		}
	}
}

// A partition without records holds event time up for Idle, and then no more; all
// of them idle, the subtask is.
func TestIdlePartitions(t *testing.T) {
	program, err := visits(nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := flink.NewPlan("visits", program, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	c, err := flinktest.New(flinktest.Options{
		Plan: plan, Raw: []string{"visits/0", "visits/1"}, Subtasks: 2, Dial: flinktest.Local(flink.NewWorker(flink.Options{Build: visits})),
		Result: func(o flinktest.Output) { out = append(out, leaving(t, o)) },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(at event.Time) {
		t.Helper()
		if err := c.SendRaw(0, 0, at, []byte("ann"), fmt.Appendf(nil, "v%d", at)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		if err := errors.Join(c.Checkpoint(), c.Drain()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Fatal(diff)
		}
	}
	clock := func(now event.Time) {
		t.Helper()
		if err := c.ProcessingTime(now); err != nil {
			t.Fatal(err)
		}
	}
	clock(5000)
	send(100)
	send(500)
	expect() // the other partition may still have something from before
	clock(5999)
	send(600)
	expect("result: ann 100-130 v100") // what a record travels with has passed it: for its own user that is known
	clock(6000)
	send(601)
	expect("result: ann 100-130 v100", "result: ann 500-530 v500")
}

// A subtask that has not been told which partitions it reads is not idle: the
// others would have time go on without it. One that is told that it reads none is.
func TestIdleOnceToldWhatIsRead(t *testing.T) {
	p := &pipe{}
	s := flink.NewWorker(flink.Options{Build: visits}).NewSession(p)
	idle := func(request []byte) bool {
		t.Helper()
		p.out.Reset()
		p.Reader = bytes.NewReader(request)
		if err := s.Step(); err != nil {
			t.Fatalf("%v: %s", err, p.out.Bytes())
		}
		out := p.out.Bytes()
		const at = 4 + 1 + 1 + 8 // after length, type, more and watermark
		return len(out) > at && out[at] == 1
	}
	idle(helloOf("visits", flink.SourceChain))
	idle(frame(3, nil))
	if idle(frame(4, make([]byte, 12))) {
		t.Error("it is idle before it knows what it reads")
	}
	none := append(append(make([]byte, 8), 1, 0, 0, 0), 3, 0, 0) // one item, ASSIGNED of nothing
	if !idle(frame(4, none)) {
		t.Error("it reads nothing, and is not idle")
	}
}
