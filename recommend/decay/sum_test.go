package decay

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/event/wire"
)

type weighted struct {
	at    event.Time
	milli uint32
}

// drawEvents are weights over some hundred half-lives, mostly close together.
func drawEvents(t *rapid.T, h HalfLife) []weighted {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) weighted {
		spread := rapid.SampledFrom([]int64{1, 10, 300}).Draw(t, "spread")
		return weighted{
			at:    event.Time(rapid.Int64Range(-spread*int64(h), spread*int64(h)).Draw(t, "at")),
			milli: rapid.SampledFrom([]uint32{1, 100, 500, 1000, MaxMilli}).Draw(t, "milli"),
		}
	}), 0, 40).Draw(t, "events")
}

func drawHalfLife(t *rapid.T) HalfLife {
	return HalfLife(rapid.SampledFrom([]event.Duration{event.Minute, event.Hour, event.Day, 7*event.Day + 1, 30 * event.Day}).Draw(t, "half-life"))
}

func sumOf(h HalfLife, events []weighted) (s Sum) {
	for _, e := range events {
		s.Add(h.Amount(e.at, e.milli))
	}
	return s
}

// The same amounts in any order make the same sum, and merging amounts on the
// way changes nothing.
func TestSumCommutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHalfLife(t)
		events := drawEvents(t, h)
		want := sumOf(h, events)
		if got := sumOf(h, rapid.Permutation(events).Draw(t, "order")); got != want {
			t.Fatalf("%+v in another order, %+v in the first", got, want)
		}
		var merged []Amount
		for _, e := range events {
			a := h.Amount(e.at, e.milli)
			if n := len(merged); n == 0 || !merged[n-1].Merge(a) {
				merged = append(merged, a)
			}
		}
		var got Sum
		for _, a := range merged {
			got.Add(a)
		}
		if got != want {
			t.Fatalf("%+v merged on the way, %+v one by one", got, want)
		}
	})
}

// What is added never makes the value smaller, whatever leaves for it.
func TestSumGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHalfLife(t)
		var s Sum
		for range rapid.IntRange(1, 40).Draw(t, "amounts") {
			before := s.Value()
			s.Add(Amount{
				Epoch: rapid.Int64Range(-8, 8).Draw(t, "epoch"),
				Units: rapid.SampledFrom([]uint64{1 << unitBits, 1 << 40, math.MaxUint64}).Draw(t, "units"),
			})
			if after := s.Value(); after < before {
				t.Fatalf("%v fell to %v (half-life %d)", before, after, h)
			}
		}
	})
}

// exact is the decayed sum by its definition, in big floats, of what is at
// most three epochs behind the newest.
func exact(h HalfLife, events []weighted, now event.Time) float64 {
	newest := int64(math.MinInt64)
	for _, e := range events {
		newest = max(newest, h.Amount(e.at, e.milli).Epoch)
	}
	sum := new(big.Float)
	for _, e := range events {
		if newest-h.Amount(e.at, e.milli).Epoch < keptEpochs {
			w := float64(e.milli) / 1000 * math.Exp2(-float64(now-e.at)/float64(h))
			sum.Add(sum, big.NewFloat(w))
		}
	}
	f, _ := sum.Float64()
	return f
}

func TestValueIsTheDecayedSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHalfLife(t)
		events := drawEvents(t, h)
		if len(events) == 0 {
			return
		}
		now, least := events[0].at, events[0].milli
		for _, e := range events {
			now, least = max(now, e.at), min(least, e.milli)
		}
		s := sumOf(h, events)
		want := exact(h, events, now)
		// Time is rounded down to 1/1024 half-life, which is up to 0.07 %, and
		// each weight to 1/16 of a thousandth.
		most := .0007 + 1/float64(least<<unitBits)
		if got := s.Value().At(h, now); got > want*1.000001 || got < want*(1-most) {
			t.Fatalf("%v, want %v, at most %v less", got, want, most)
		}
	})
}

func TestValueByHand(t *testing.T) {
	const h = HalfLife(event.Hour)
	for _, c := range []struct {
		name   string
		events []weighted
		now    event.Time
		want   float64
	}{
		{"nothing", nil, 0, 0},
		{"one event just now", []weighted{{0, 1000}}, 0, 1},
		{"one event a half-life ago", []weighted{{0, 1000}}, event.Hour, .5},
		{"two events", []weighted{{0, 1000}, {event.Hour, 300}}, event.Hour, .8},
		{"across an epoch", []weighted{{15 * event.Hour, 1000}, {17 * event.Hour, 1000}}, 17 * event.Hour, 1.25},
		{"before 1970", []weighted{{-event.Hour, 1000}, {0, 1000}}, 0, 1.5},
		{"seen from long after", []weighted{{0, 1000}}, 20 * event.Hour, 1.0 / (1 << 20)},
		{"64 half-lives ago, forgotten", []weighted{{0, 1000}, {64 * event.Hour, 1000}}, 64 * event.Hour, 1},
	} {
		s := sumOf(h, c.events)
		if got := s.Value().At(h, c.now); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// 17 billion purchases in the last hour of an epoch fit; what does not fit
// stays at the largest sum.
func TestSumSaturates(t *testing.T) {
	const h = HalfLife(event.Hour)
	a := h.Amount(16*event.Hour-1, 1000)
	if room := math.MaxUint64 / a.Units; room < 17e9 {
		t.Errorf("an epoch holds %d events", room)
	}
	var s Sum
	s.Add(Amount{Units: math.MaxUint64 - 1})
	s.Add(a)
	full := s
	if s.Add(a); s != full || s.units[0] != math.MaxUint64 {
		t.Errorf("%+v after %+v", s, full)
	}
}

func TestSumReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHalfLife(t)
		s := sumOf(h, drawEvents(t, h))
		r := wire.NewReader(s.Append(nil))
		var read Sum
		read.Read(r)
		if err := r.End(); err != nil || read != s {
			t.Fatalf("read %+v (%v), wrote %+v", read, err, s)
		}
		text, _ := s.Value().MarshalText()
		var v Value
		if err := v.UnmarshalText(text); err != nil || v != s.Value() {
			t.Fatalf("%q is %d (%v), wrote %d", text, v, err, s.Value())
		}
	})
}

func FuzzReadSum(f *testing.F) {
	s := sumOf(HalfLife(event.Hour), []weighted{{0, 1000}, {20 * event.Hour, 1}})
	f.Add(s.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		var s Sum
		s.Read(r)
		if r.End() != nil {
			return
		}
		var again Sum
		r = wire.NewReader(s.Append(nil))
		if again.Read(r); r.End() != nil || again != s {
			t.Fatalf("%+v reads back as %+v", s, again)
		}
		s.Value()
	})
}

func FuzzValueText(f *testing.F) {
	f.Add("1.5p-3")
	f.Add("0")
	f.Fuzz(func(t *testing.T, text string) {
		var v, again Value
		if v.UnmarshalText([]byte(text)) != nil {
			return
		}
		b, err := v.MarshalText()
		if err != nil || again.UnmarshalText(b) != nil || again != v {
			t.Fatalf("%q: %d is written %q, read as %d", text, v, b, again)
		}
	})
}
