package profile

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"millrace/event"
	"millrace/operator"
)

// The generator and the checksum of the six stream jobs that were run on
// Apache Flink 2.2.1, as their description defines them.
const (
	flinkUsers = 100_000
	flinkItems = 50_000
	gamma      = 0x9E3779B97F4A7C15
	flinkT0    = 1_700_000_100_000
	flinkSlot  = 600_000
)

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func draw(n uint64) uint64 { return mix(42 + (n+1)*gamma) }

// zipf is the cumulative distribution of the items' ranks, with exponent 1.1
// and in units of 2^-53.
func zipf() []uint64 {
	sums := make([]float64, flinkItems)
	s := 0.0
	for i := range sums {
		k, x := float64(i+1), 3.0 // x becomes the tenth root of k
		for range 60 {
			x2 := float64(x * x)
			x4 := float64(x2 * x2)
			x8 := float64(x4 * x4)
			x9 := float64(x8 * x)
			x10 := float64(x9 * x)
			x -= (x10 - k) / float64(10*x9)
		}
		s += 1 / float64(k*x)
		sums[i] = s
	}
	cdf := make([]uint64, flinkItems)
	for i, c := range sums {
		cdf[i] = uint64(math.Floor(float64(c / s * (1 << 53))))
	}
	return cdf
}

// flinkEvent is event i: its user, item, type 0 to 3 and time.
func flinkEvent(i uint64, cdf []uint64) (user, item, kind int, ts event.Time) {
	a, b, c, d := draw(4*i), draw(4*i+1), draw(4*i+2), draw(4*i+3)
	r, bit := a>>33, i&1
	n := (r%10_000)*5 + i/flinkSlot%5
	if a&0xFFFF%100 < 2 {
		n = r % (flinkUsers / 2)
	}
	item, _ = slices.BinarySearch(cdf, b>>11+1)
	switch t := c >> 33 % 100; {
	case t >= 97:
		kind = 3
	case t >= 90:
		kind = 2
	case t >= 70:
		kind = 1
	}
	return int(n*2 + bit), item, kind, event.Time(flinkT0 + i - d>>33%5000)
}

// Interests over a million events, a row after each event with the user's five
// highest interests: the rows' checksum is the one that Flink printed.
func TestInterestsAreFlinks(t *testing.T) {
	const events, want = 1_000_000, 0xe674677d0565e098
	var categories [50]string
	var items [50]event.Item
	for i := range categories {
		categories[i] = fmt.Sprintf("%02d", i)
		items[i] = event.Item{Categories: categories[i : i+1]}
	}
	types := [...]string{event.TypeView, event.TypeClick, event.TypeLike, event.TypePurchase}
	c := &operator.Context{}
	op := stage(Defaults(), event.DefaultTypes()).New(operator.NewPorts(c, nil, nil))
	states := make([]state, flinkUsers)
	cdf := zipf()
	sum := uint64(0)
	for i := range uint64(events) {
		user, item, kind, ts := flinkEvent(i, cdf)
		e := event.Enriched{Event: event.Event{Type: types[kind], Time: ts}, ItemInfo: &items[item%50]}
		c.Begin(operator.Meta{Time: ts})
		op.Fold(c, "", &states[user], &e)
		row := uint64(4)
		add := func(f uint64) { row = mix((row ^ f) + gamma) }
		add(uint64(user))
		add(uint64(ts))
		for _, x := range top(states[user].interests, 5) {
			add(uint64(x.Category[0]-'0')*10 + uint64(x.Category[1]-'0'))
			add(math.Float64bits(x.Score))
		}
		sum += row
	}
	if sum != want {
		t.Errorf("checksum %016x, Flink's is %016x", sum, uint64(want))
	}
}
