package broadcast_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/broadcast"
	"millrace/operator/codec"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

// input is a record of the source: a purchase, or a discount that is changed.
type input struct {
	user, item string
	change     bool
	discount   int64 // 0 ends it
}

// purchase and discount are the two inputs of the stage.
type purchase struct{ user, item string }
type discount struct {
	item    string
	percent int64
}

// till says what each purchase is worth, and again when its user has been
// quiet for a while.
type till struct {
	discounts *broadcast.State[string, int64]
	out       *operator.Output[string]
}

const quiet = 20

// bought is what a user has bought.
type bought struct {
	n    int64
	last string
	due  event.Time
}

func (o *till) Fold(c *operator.Context, user string, s *bought, in *purchase) {
	percent, _ := o.discounts.Get(in.item)
	s.n++
	s.last = in.item
	o.out.Emit(c.Time, fmt.Sprintf("%s buys %s for %d%%", user, in.item, 100-percent))
	c.DeleteTimer(s.due)
	s.due = max(s.due, c.Effective()+quiet)
	c.SetTimer(s.due)
}

func (o *till) Timer(c *operator.Context, user string, s *bought, at event.Time) {
	percent, _ := o.discounts.Get(s.last)
	o.out.Emit(at, fmt.Sprintf("%s has bought %d, %s would be %d%% now", user, s.n, s.last, 100-percent))
	c.Forget()
}

func (*till) Append(dst []byte, s *bought) []byte {
	return wire.AppendVarint(wire.AppendString(wire.AppendVarint(dst, s.n), s.last), int64(s.due))
}

func (*till) Load(_ uint8, src []byte, s *bought) error {
	r := wire.NewReader(src)
	s.n, s.last, s.due = r.Varint(), r.String(), event.Time(r.Varint())
	return r.End()
}

func spec() broadcast.Spec[string, bought, purchase, discount, string, int64] {
	return broadcast.Spec[string, bought, purchase, discount, string, int64]{
		Name: "till", Version: 1, Key: func(in *purchase) string { return in.user },
		New: func(p *operator.Ports, discounts *broadcast.State[string, int64]) operator.Operator[string, bought, purchase] {
			return &till{discounts, operator.Out[string](p, "out")}
		},
		Update: func(_ operator.Meta, s broadcast.Writable[string, int64], in *discount) {
			if in.percent == 0 {
				s.Delete(in.item)
			} else {
				s.Put(in.item, in.percent)
			}
		},
		StateKey: codec.String[string](), StateValue: codec.Int64[int64](),
	}
}

func topology() *operator.Topology {
	t, source := operator.NewTopology[input]()
	purchases := operator.Map(operator.Filter(source, func(in *input) bool { return !in.change }),
		func(in *input, out *purchase) { *out = purchase{in.user, in.item} })
	discounts := operator.Map(operator.Filter(source, func(in *input) bool { return in.change }),
		func(in *input, out *discount) { *out = discount{in.item, in.discount} })
	broadcast.Add(purchases, discounts, spec())
	return t
}

func ExampleAdd() {
	e := operatortest.New[input](topology(), 1, 0, 0)
	e.Emitted = func(_, _ string, _ operator.Meta, record any) { fmt.Println(*record.(*string)) }
	e.Send(1, &input{user: "ann", item: "lamp"})
	e.Send(2, &input{change: true, item: "lamp", discount: 30})
	e.Send(3, &input{user: "ann", item: "lamp"})
	e.Send(4, &input{user: "bob", item: "lamp"})
	// Output:
	// ann buys lamp for 100%
	// ann buys lamp for 70%
	// bob buys lamp for 70%
}

// expected goes record by record, as the definition says.
func expected(inputs []harness.Record[input], bound event.Duration) []string {
	users, discounts := map[string]*bought{}, map[string]int64{}
	var all []string
	fire := func(until event.Time) {
		for name, u := range users {
			if u.due <= until {
				all = append(all, fmt.Sprintf("%d %s has bought %d, %s would be %d%% now", u.due, name, u.n, u.last, 100-discounts[u.last]))
				delete(users, name)
			}
		}
	}
	strategy := watermark.NewBoundedOutOfOrderness(bound)
	for _, in := range inputs {
		m := operator.Stamp(strategy, in.Time)
		fire(m.Watermark)
		r := in.Record
		if r.change {
			discounts[r.item] = r.discount
			continue
		}
		if users[r.user] == nil {
			users[r.user] = &bought{}
		}
		u := users[r.user]
		u.n, u.last, u.due = u.n+1, r.item, max(u.due, m.Effective()+quiet)
		all = append(all, fmt.Sprintf("%d %s buys %s for %d%%", m.Time, r.user, r.item, 100-discounts[r.item]))
	}
	fire(event.MaxTime)
	slices.Sort(all)
	return all
}

// A broadcast record counts for exactly the records after it, and for the
// timers after it, on every shard, in all engines, restored at any time over
// any shards.
func TestBroadcastCountsFromItsPositionOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := event.Time(100)
		inputs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[input] {
			at += event.Time(rapid.IntRange(0, 12).Draw(t, "step"))
			return harness.Record[input]{Time: at - event.Time(rapid.IntRange(0, 15).Draw(t, "late")), Record: input{
				change: rapid.IntRange(0, 3).Draw(t, "change") == 0, discount: rapid.Int64Range(0, 9).Draw(t, "discount"),
				user: rapid.StringMatching("[a-h]").Draw(t, "user"), item: rapid.StringMatching("[xyz]").Draw(t, "item"),
			}}
		}), 0, 100).Draw(t, "inputs")
		const bound = 10
		want := expected(inputs, bound)
		var state []byte
		for i := range 3 {
			seed := rapid.Uint64().Draw(t, "seed")
			h := harness.New[input](t, topology(), harness.Options{
				Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) }, Seed: seed, Shards: 2 + i,
			})
			h.Play(seed, inputs)
			s := h.Snapshot()
			h.Watermark(event.MaxTime)
			if diff := cmp.Diff(want, h.Rows()["till.out"]); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
			if i == 0 {
				state = s
			}
			if diff := cmp.Diff(state, s); diff != "" {
				t.Fatalf("seed %d: state: %s", seed, diff)
			}
		}
	})
}

// build lays out a topology, with what it emits.
func build(t *testing.T, shards int, got *[]string) (*pipeline.Pipeline, func(...input)) {
	t.Helper()
	p, err := pipeline.New(topology(), pipeline.Options{Shards: shards, Taps: []pipeline.Tap{
		{Stage: "till", Port: "out", Sink: func(int) operator.RawSink {
			return func(_ operator.Meta, v any) { *got = append(*got, *v.(*string)) }
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	send, err := pipeline.Entry[input](p, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p, func(inputs ...input) {
		for i := range inputs {
			send(operator.Meta{Time: 1, Watermark: event.MinTime}, &inputs[i])
		}
		if err := p.Finish(pipeline.Moment{Watermark: event.MinTime}); err != nil {
			t.Fatal(err)
		}
	}
}

var everyone = []input{{user: "a", item: "x"}, {user: "b", item: "x"}, {user: "c", item: "x"}, {user: "d", item: "x"}, {user: "e", item: "x"}}

// A checkpoint has the broadcast state once, as it was at its beginning; it is
// written when it has changed.
func TestCheckpointsHaveBroadcastStateOnce(t *testing.T) {
	var got []string
	p, send := build(t, 3, &got)
	writes := func() (values []string) {
		p.EncodeAll()
		for _, table := range p.TakeWrites() {
			for _, w := range table.Writes {
				if string(w.Key) == operator.BroadcastKey {
					values = append(values, fmt.Sprintf("%x", w.Value))
				}
			}
		}
		return values
	}
	send(append([]input{{change: true, item: "x", discount: 1}}, everyone...)...)
	p.BeginCheckpoint()
	send(input{change: true, item: "x", discount: 2})
	if diff := cmp.Diff([]string{"010001017802"}, writes()); diff != "" {
		t.Errorf("first checkpoint: %s", diff)
	}
	p.BeginCheckpoint()
	if diff := cmp.Diff([]string{"010001017804"}, writes()); diff != "" {
		t.Errorf("second checkpoint: %s", diff)
	}
	p.BeginCheckpoint()
	if w := writes(); w != nil {
		t.Errorf("it is written again: %q", w)
	}
	got = nil
	q, sendQ := build(t, 5, &got)
	if orphans, err := q.TakeOver(p); err != nil || orphans != nil {
		t.Fatal(orphans, err)
	}
	sendQ(everyone...)
	if len(got) != len(everyone) {
		t.Errorf("%q", got)
	}
	for _, line := range got {
		if !strings.HasSuffix(line, "for 98%") {
			t.Errorf("after a change of shards: %s", line)
		}
	}
	p = q
	p.BeginCheckpoint()
	if diff := cmp.Diff([]string{"010001017804"}, writes()); diff != "" {
		t.Errorf("what was taken over is a change: %s", diff)
	}
}

func TestBroadcastStateIsNotLostSilently(t *testing.T) {
	topology, source := operator.NewTopology[purchase]()
	operator.Add(source, operator.Stage[string, bought, purchase]{
		Name: "till", Version: 1, Key: func(in *purchase) string { return in.user },
		New: func(p *operator.Ports) operator.Operator[string, bought, purchase] {
			return &till{nil, operator.Out[string](p, "out")}
		},
	})
	p, err := pipeline.New(topology, pipeline.Options{Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Load("till", []byte(operator.BroadcastKey), []byte{1, 0, 0}); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("broadcast state of a stage without it: %v", err)
	}
	var got []string
	q, _ := build(t, 2, &got)
	if err := q.Load("till", []byte(operator.BroadcastKey), []byte{1, 0, 9}); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("damaged broadcast state: %v", err)
	}
}

// answering is a till with answers and timers in processing time.
type answering struct{ till }

func (*answering) Answer(string, *bought)                                         {}
func (*answering) ProcessingTimer(*operator.Context, string, *bought, event.Time) {}

// What an operator can do besides folding it can do in a broadcast stage too.
func TestStagesKeepWhatOperatorsCanDo(t *testing.T) {
	topology, source := operator.NewTopology[purchase]()
	s := spec()
	s.New = func(p *operator.Ports, _ *broadcast.State[string, int64]) operator.Operator[string, bought, purchase] {
		operator.View[view](p, "sold")
		return &answering{}
	}
	broadcast.Add(source, operator.Map(source, func(*purchase, *discount) {}), s)
	if err := topology.Err(); err != nil { // views need answers
		t.Error(err)
	}
	s.Name, s.Update = "other", nil
	broadcast.Add(source, operator.Map(source, func(*purchase, *discount) {}), s)
	if err := topology.Err(); !errors.Is(err, operator.ErrTopology) {
		t.Errorf("without Update: %v", err)
	}
}

type view int

func (view) AppendBinary(dst []byte) ([]byte, error) { return dst, nil }
