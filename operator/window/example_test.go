package window_test

import (
	"fmt"

	"millrace/engine/harness"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/window"
)

// quiet is a harness.TB for examples.
type quiet struct{}

func (quiet) Helper() {}

func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// purchase is what somebody has bought.
type purchase struct {
	User  string
	Price int64
}

var purchaseCodec = codec.Codec[purchase]{
	Append: func(dst []byte, p *purchase) []byte {
		return wire.AppendVarint(wire.AppendString(dst, p.User), p.Price)
	},
	Load: func(r *wire.Reader, p *purchase) { p.User, p.Price = r.String(), r.Varint() },
}

func buy(h *harness.Harness[purchase]) {
	for i, p := range []purchase{{"ann", 3}, {"bob", 8}, {"ann", 5}, {"ann", 1}} {
		h.Send(event.Time(i)*25*event.Second, p)
	}
	h.Watermark(event.MaxTime)
}

func print[O any](h *harness.Harness[purchase]) {
	for _, r := range harness.Emitted[O](h, "purchases", window.PortResults) {
		fmt.Println(r.Record)
	}
}

// How much each user spends in each minute: an aggregate.
func ExampleAdd() {
	h := harness.Stage(quiet{}, harness.Options{}, func(purchases operator.Stream[purchase]) {
		window.Add(purchases, window.Spec[string, purchase, int64, string]{
			Name: "purchases", Key: func(p *purchase) string { return p.User }, Windows: window.Tumbling(event.Minute),
			Add:         func(sum *int64, p *purchase) { *sum += p.Price },
			Accumulator: codec.Int64[int64](),
			Result: func(w window.Window[string], sum *int64, emit func(string)) {
				emit(fmt.Sprint(w.Key, " spends ", *sum, " until ", w.End.Go().Format("15:04")))
			},
		})
	})
	buy(h)
	print[string](h)
	// Output:
	// ann spends 8 until 00:01
	// bob spends 8 until 00:01
	// ann spends 1 until 00:02
}

// The most expensive purchase of each user's session: the inputs of a window
// are reduced to one.
func ExampleReduce() {
	h := harness.Stage(quiet{}, harness.Options{}, func(purchases operator.Stream[purchase]) {
		window.Reduce(purchases, window.Spec[string, purchase, purchase, purchase]{
			Name: "purchases", Key: func(p *purchase) string { return p.User }, Windows: window.Session(10 * event.Minute),
			Merge: func(into, from *purchase) {
				if from.Price > into.Price {
					*into = *from
				}
			},
			Accumulator: purchaseCodec,
		})
	})
	buy(h)
	print[purchase](h)
	// Output:
	// {bob 8}
	// {ann 5}
}

// The median price of each user's latest three purchases: the window keeps all
// that is in it.
func ExampleCollect() {
	h := harness.Stage(quiet{}, harness.Options{}, func(purchases operator.Stream[purchase]) {
		window.Collect(purchases, purchaseCodec, window.Spec[string, purchase, []purchase, string]{
			Name: "purchases", Key: func(p *purchase) string { return p.User }, Windows: window.Count(3, 1),
			Result: func(w window.Window[string], list *[]purchase, emit func(string)) {
				prices := make([]int64, 0, 3)
				for _, p := range *list {
					prices = append(prices, p.Price)
				}
				emit(fmt.Sprint(w.Key, " ", prices))
			},
		})
	})
	buy(h)
	print[string](h)
	// Output:
	// ann [3]
	// bob [8]
	// ann [3 5]
	// ann [3 5 1]
}

// statistics are count, sum, least and largest.
type statistics struct{ count, sum, least, most int64 }

func (s *statistics) merge(from *statistics) {
	if s.count == 0 {
		*s = *from
		return
	}
	s.count, s.sum = s.count+from.count, s.sum+from.sum
	s.least, s.most = min(s.least, from.least), max(s.most, from.most)
}

// Statistics of all purchases over each minute, each five minutes, and the last
// minute every half minute: added up once for all three.
func ExampleWhole() {
	h := harness.Stage(quiet{}, harness.Options{}, func(purchases operator.Stream[purchase]) {
		window.Whole(purchases, window.Spec[uint64, purchase, statistics, string]{
			Name: "purchases", Windows: window.Tumbling(event.Minute),
			More: []window.Assigner{window.Tumbling(5 * event.Minute), window.Sliding(event.Minute, 30*event.Second)},
			Add: func(s *statistics, p *purchase) {
				s.merge(&statistics{1, p.Price, p.Price, p.Price})
			},
			Merge: (*statistics).merge,
			Accumulator: codec.Codec[statistics]{
				Append: func(dst []byte, s *statistics) []byte {
					for _, n := range [...]int64{s.count, s.sum, s.least, s.most} {
						dst = wire.AppendVarint(dst, n)
					}
					return dst
				},
				Load: func(r *wire.Reader, s *statistics) {
					*s = statistics{r.Varint(), r.Varint(), r.Varint(), r.Varint()}
				},
			},
			Result: func(w window.Window[uint64], s *statistics, emit func(string)) {
				emit(fmt.Sprintf("%d s until %s: %+v", (w.End-w.Start)/event.Second, w.End.Go().Format("15:04:05"), *s))
			},
		})
	})
	buy(h)
	print[string](h)
	// Output:
	// 60 s until 00:00:30: {count:2 sum:11 least:3 most:8}
	// 60 s until 00:01:00: {count:3 sum:16 least:3 most:8}
	// 60 s until 00:01:00: {count:3 sum:16 least:3 most:8}
	// 60 s until 00:01:30: {count:2 sum:6 least:1 most:5}
	// 60 s until 00:02:00: {count:1 sum:1 least:1 most:1}
	// 60 s until 00:02:00: {count:1 sum:1 least:1 most:1}
	// 300 s until 00:05:00: {count:4 sum:17 least:1 most:8}
}
