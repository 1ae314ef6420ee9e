package harness_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/broadcast"
	"millrace/operator/codec"
	"millrace/operator/join"
	"millrace/operator/keyed"
	"millrace/operator/watermark"
	"millrace/operator/window"
)

// deed is a record of the source: a sale, a click, or a change of a price.
type deed struct {
	What       string
	User, Item string
	N          int64
}

func only(in operator.Stream[deed], what string) operator.Stream[deed] {
	return operator.Filter(in, func(d *deed) bool { return d.What == what })
}

func userOf(d *deed) string { return d.User }
func itemOf(d *deed) string { return d.Item }

var deeds = codec.Struct(
	codec.Field(func(d *deed) *string { return &d.What }, codec.String[string]()),
	codec.Field(func(d *deed) *string { return &d.User }, codec.String[string]()),
	codec.Field(func(d *deed) *string { return &d.Item }, codec.String[string]()),
	codec.Field(func(d *deed) *int64 { return &d.N }, codec.Int64[int64]()),
)

// bill is what a user has bought until a quiet while.
type bill struct {
	Sum keyed.Reducing[int64, keyed.Sum[int64]]
	Due keyed.Reducing[int64, keyed.Max[int64]]
}

var bills = keyed.Declare(1, func(d *keyed.Descriptor, s *bill) {
	s.Sum.Declare(d, "sum", codec.Int64[int64]())
	s.Due.Declare(d, "due", codec.Int64[int64]())
})

// till sells at the prices of a broadcast state.
type till struct {
	*keyed.Layout[bill]
	prices   *broadcast.State[string, int64]
	receipts *operator.Output[deed]
	view     *operator.ViewPort[balance]
}

const quiet = 15

func (o *till) Fold(c *operator.Context, user string, s *bill, in *deed) {
	price, _ := o.prices.Get(in.Item)
	s.Sum.Add(in.N * price)
	if due, ok := s.Due.Get(); ok {
		c.DeleteTimer(event.Time(due))
	}
	s.Due.Add(int64(c.Effective() + quiet))
	due, _ := s.Due.Get()
	c.SetTimer(event.Time(due))
	o.receipts.Emit(c.Time, deed{"receipt", user, in.Item, in.N * price})
}

func (o *till) Timer(c *operator.Context, user string, s *bill, at event.Time) {
	sum, _ := s.Sum.Get()
	o.receipts.Emit(at, deed{"bill", user, "all", sum})
	c.Forget()
}

func (o *till) Answer(user string, s *bill) {
	if s == nil {
		o.view.Delete(user)
		return
	}
	sum, _ := s.Sum.Get()
	o.view.Put(user, balance(sum))
}

// lately is how long the buyers of an item are known, in processing time.
type lately struct{}

func (lately) TTL() keyed.TTL { return keyed.TTL{After: 25, Exact: true} }

// stock is what is known of an item, behind an exchange.
type stock struct {
	Sold   keyed.Map[string, int64] // by user
	Buyers keyed.ExpiringMap[string, int64, lately]
}

var stocks = keyed.Declare(1, func(d *keyed.Descriptor, s *stock) {
	s.Sold.Declare(d, "sold", codec.String[string](), codec.Int64[int64]())
	s.Buyers.Declare(d, "buyers", codec.String[string](), codec.Int64[int64]())
})

type store struct {
	*keyed.Layout[stock]
	out  *operator.Output[deed]
	view *operator.ViewPort[balance]
}

func (o *store) Fold(c *operator.Context, item string, s *stock, in *deed) {
	n, _ := s.Sold.Get(in.User)
	s.Sold.Put(in.User, n+in.N)
	n, _ = s.Buyers.Get(c, in.User)
	s.Buyers.Put(c, in.User, n+1)
	o.out.Emit(c.Time, deed{"sold", in.User, item, in.N})
}

func (*store) Timer(*operator.Context, string, *stock, event.Time) {}

func (o *store) ProcessingTimer(c *operator.Context, item string, s *stock, at event.Time) {
	o.ExpireProcessing(c, s, at)
	o.out.Emit(at, deed{"buyers", "", item, int64(s.Buyers.Len(c))})
}

func (o *store) Answer(item string, s *stock) {
	if s == nil {
		o.view.Delete(item)
		return
	}
	o.view.Put(item, balance(s.Sold.Len()))
}

// logbook counts what comes, chained to a store.
type logbook struct{ view *operator.ViewPort[balance] }

func (*logbook) Fold(_ *operator.Context, _ string, s *int64, _ *deed) { *s++ }
func (*logbook) Timer(*operator.Context, string, *int64, event.Time)   {}
func (*logbook) Append(dst []byte, s *int64) []byte                    { return wire.AppendVarint(dst, *s) }
func (*logbook) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (o *logbook) Answer(item string, s *int64) {
	if s == nil {
		o.view.Delete(item)
		return
	}
	o.view.Put(item, balance(*s))
}

// market is a stage with broadcast state, one behind an exchange with typed
// state of two TTLs, and one that is chained to that.
func market(in operator.Stream[deed], ttl, stockTTL *operator.TTL) operator.Stream[deed] {
	h := broadcast.Add(only(in, "sale"), only(in, "price"), broadcast.Spec[string, bill, deed, deed, string, int64]{
		Name: "till", Version: bills.Version(), Subject: operator.SubjectUser, TTL: ttl, Key: userOf,
		New: func(p *operator.Ports, prices *broadcast.State[string, int64]) operator.Operator[string, bill, deed] {
			return &till{bills, prices, operator.Out[deed](p, "receipts"), operator.View[balance](p, "bills")}
		},
		Update: func(_ operator.Meta, s broadcast.Writable[string, int64], in *deed) {
			if in.N == 0 {
				s.Delete(in.Item)
			} else {
				s.Put(in.Item, in.N)
			}
		},
		StateKey: codec.String[string](), StateValue: codec.Int64[int64](),
	})
	receipts := operator.From[deed](h, "receipts")
	stored := operator.Add(receipts, operator.Stage[string, stock, deed]{
		Name: "store", Version: stocks.Version(), Subject: operator.SubjectItem, TTL: stockTTL, Key: itemOf,
		New: func(p *operator.Ports) operator.Operator[string, stock, deed] {
			return &store{stocks, operator.Out[deed](p, "out"), operator.View[balance](p, "sold")}
		},
	})
	operator.Chain(operator.From[deed](stored, "out"), operator.Stage[string, int64, deed]{
		Name: "logbook", Version: 1, Subject: operator.SubjectItem, Key: itemOf,
		New: func(p *operator.Ports) operator.Operator[string, int64, deed] {
			return &logbook{operator.View[balance](p, "logbook")}
		},
	})
	return receipts
}

// bureau joins the source with itself and with what is behind an exchange, in
// intervals and in windows, and counts what comes of it in windows.
func bureau(in, receipts operator.Stream[deed]) {
	text := func(l, r *deed) deed { return deed{l.What + " and " + r.What, l.User, l.Item, l.N*100 + r.N} }
	both := func(l, r *deed, emit func(deed)) { emit(text(l, r)) }
	clicked := join.Interval(only(in, "click"), only(in, "sale"), join.Spec[string, deed, deed, deed]{
		Name: "clicked", LeftKey: userOf, RightKey: userOf, Left: deeds, Right: deeds, Lower: -3, Upper: 12, Join: both,
		LeftOnly: func(l *deed, emit func(deed)) { emit(deed{"only a click", l.User, l.Item, l.N}) },
	})
	paid := join.Interval(clicked.Results, receipts, join.Spec[string, deed, deed, deed]{
		Name: "paid", LeftKey: userOf, RightKey: userOf, Left: deeds, Right: deeds, Lower: -20, Upper: 20, Join: both,
	})
	shown := join.Window(only(in, "click"), receipts, join.WindowSpec[string, deed, deed, deed]{
		Name: "shown", LeftKey: itemOf, RightKey: itemOf, Left: deeds, Right: deeds, Windows: window.Tumbling(20),
		CoGroup: func(w window.Window[string], left, right []deed, emit func(deed)) {
			emit(deed{"shown", "", w.Key, int64(len(left)*100 + len(right))})
		},
	})
	window.Add(operator.Union(clicked.Results, paid.Results, shown.Results), window.Spec[string, deed, int64, deed]{
		Name: "counts", Key: itemOf, Windows: window.Tumbling(30),
		Add: func(a *int64, in *deed) { *a += in.N }, Merge: func(into, from *int64) { *into += *from },
		Result:      func(w window.Window[string], a *int64, emit func(deed)) { emit(deed{"counts", "", w.Key, *a}) },
		Accumulator: codec.Int64[int64](),
	})
}

// processingTTL is a TTL for what is behind an exchange: in event time the
// moment would depend on the engine.
func processingTTL(t *rapid.T) *operator.TTL {
	ttl := drawTTL(t)
	if ttl != nil {
		ttl.EventTime = false
	}
	return ttl
}

func drawDeed(t *rapid.T) deed {
	return deed{
		What: rapid.SampledFrom([]string{"sale", "sale", "click", "click", "price"}).Draw(t, "what"),
		User: rapid.SampledFrom([]string{"ann", "bob", "cy", "dee", "eve"}).Draw(t, "user"),
		Item: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "item"), N: rapid.Int64Range(0, 9).Draw(t, "n"),
	}
}

// Broadcast inputs, joins, windows, typed state with TTLs, chains and unions
// behind exchanges: the engines agree at every step, whatever comes, late or
// not, from one partition or from several.
func TestEnginesAgreeOnTopologies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := event.Duration(rapid.IntRange(0, 10).Draw(t, "bound"))
		partitions := rapid.IntRange(1, 3).Draw(t, "partitions")
		topology, source := operator.NewTopology[deed]()
		bureau(source, market(source, drawTTL(t), processingTTL(t)))
		h := harness.New[deed](t, topology, harness.Options{
			Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) },
			Partitions: partitions, Seed: rapid.Uint64().Draw(t, "seed"),
		})
		clock, now := event.Time(0), event.Time(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 24).Draw(t, "step") {
			case 0:
				h.Forget(operator.SubjectUser, rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"))
			case 1:
				h.Forget(operator.SubjectItem, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "item"))
			case 2:
				h.Restore(h.Snapshot(), rapid.IntRange(1, 9).Draw(t, "shards"))
			case 3, 4:
				h.Flush()
			case 5:
				now += event.Time(rapid.IntRange(0, 20).Draw(t, "passed"))
				h.ProcessingTime(now)
			case 6:
				h.Advance(clock - event.Time(rapid.IntRange(0, 10).Draw(t, "behind")))
			default:
				clock += event.Time(rapid.IntRange(0, 6).Draw(t, "later"))
				send(h, rapid.IntRange(0, partitions-1).Draw(t, "partition"), partitions,
					harness.At(clock-event.Time(rapid.IntRange(0, 12).Draw(t, "late")), drawDeed(t)))
			}
		}
		h.Watermark(event.MaxTime)
		h.ProcessingTime(now + 1000)
	})
}

// send sends a record; with several partitions a change of a price is a block
// of its own: records of other partitions see it somewhere in its block.
func send(h *harness.Harness[deed], partition, partitions int, d harness.Record[deed]) {
	apart := partitions > 1 && d.Record.What == "price"
	if apart {
		h.Flush()
	}
	h.SendTo(partition, d.Time, d.Record)
	if apart {
		h.Flush()
	}
}

// With nothing late, what a source has comes to the same from any number of
// partitions, in any blocks. With something late it does not: see Options.
func TestPartitionsWithNothingLate(t *testing.T) {
	const bound = 10
	rapid.Check(t, func(t *rapid.T) {
		clock := event.Time(0)
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) harness.Record[deed] {
			clock += event.Time(rapid.IntRange(0, 6).Draw(t, "later"))
			d := drawDeed(t)
			if d.What == "price" {
				d.What = "click" // which sales come before it depends on the partitions
			}
			return harness.At(clock-event.Time(rapid.IntRange(0, bound).Draw(t, "delay")), d)
		}), 0, 60).Draw(t, "records")
		var want map[string][]string
		for partitions := 1; partitions <= 3; partitions++ {
			seed := rapid.Uint64().Draw(t, "seed")
			topology, source := operator.NewTopology[deed]()
			bureau(source, source)
			h := harness.New[deed](t, topology, harness.Options{
				Watermarks: func() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(bound) },
				Partitions: partitions, Seed: seed,
			})
			h.Play(seed, records)
			h.Watermark(event.MaxTime)
			rows := h.Rows()
			if want == nil {
				want = rows
			}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Fatalf("seed %d: %d partitions: %s", seed, partitions, diff)
			}
		}
	})
}

// The watermark is the minimum of the partitions', and records travel with that
// of the beginning of their block.
func TestPartitions(t *testing.T) {
	h := harness.Stage(t, harness.Options{Watermarks: monotonous, Partitions: 2}, func(in operator.Stream[order]) {
		operator.Add(in, stage("a", nil))
	})
	h.SendTo(0, 10, order{Key: "x", Add: 1, Timer: 5})
	h.Flush()
	harness.Expect(h, "a", "said", said(10, "x folds 1 at 0"))
	h.SendTo(1, 4, order{Key: "y", Add: 1})
	h.SendTo(1, 7, order{Key: "x", Add: 1, Timer: 6}) // the watermark of this partition was 3, and is 6
	harness.Expect(h, "a", "said", said(4, "y folds 1 at 0"), said(7, "x folds 2 at 0"), said(5, "x rings 102 at 0"), said(6, "x rings 202 at 0"))
	h.Restore(h.Snapshot(), 4)
	h.SendTo(1, 9, order{Key: "x", Timer: 8})
	harness.Expect(h, "a", "said", said(9, "x folds 202 at 0"), said(8, "x rings 302 at 0"))
	h.Send(30, order{Key: "z", Timer: 20})
	harness.Expect(h, "a", "said", said(30, "z folds 0 at 0"))
	h.Advance(25)
	harness.Expect(h, "a", "said", said(20, "z rings 100 at 0"))
}
