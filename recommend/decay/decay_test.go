package decay

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
)

// The roots of two, by repeated integer square roots of 400 bits.
func TestRoots(t *testing.T) {
	const extra = 400
	root := new(big.Int).Lsh(big.NewInt(2), extra)
	for k, got := range roots {
		root.Sqrt(root.Lsh(root, extra))
		if want := new(big.Int).Rsh(root, extra-63).Uint64(); got != want {
			t.Errorf("2^(2^-%d): %x, want %x", k+1, got, want)
		}
	}
}

func TestExp2(t *testing.T) {
	for _, c := range []struct {
		fraction uint32
		want     float64
	}{
		{0, 1}, {1 << 31, math.Sqrt2}, {1 << 30, math.Pow(2, .25)}, {3 << 30, math.Pow(2, .75)},
		{math.MaxUint32, math.Exp2(1 - 1.0/(1<<32))},
	} {
		if got := float64(Exp2(c.fraction)) / One; math.Abs(got-c.want) > 1e-15 {
			t.Errorf("2^(%d/2^32) = %v, want %v", c.fraction, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b")
		if a < b && Exp2(a) >= Exp2(b) {
			t.Fatalf("2^%d = %x is not below 2^%d = %x", a, Exp2(a), b, Exp2(b))
		}
		if got, want := float64(Exp2(a))/One, math.Exp2(float64(a)/(1<<32)); math.Abs(got-want) > 1e-15 {
			t.Fatalf("2^(%d/2^32) = %v, want %v", a, got, want)
		}
	})
}

func TestPosition(t *testing.T) {
	const h = HalfLife(event.Day)
	for _, c := range []struct {
		t        event.Time
		whole    int64
		fraction uint32
	}{
		{0, 0, 0},
		{event.Day - 1, 0, math.MaxUint32 - 49}, // 2^32/86400000 is 49.7
		{event.Day, 1, 0},
		{10*event.Day + event.Day/2, 10, 1 << 31},
		{-event.Day / 4, -1, 3 << 30},
		{-event.Day, -1, 0},
	} {
		whole, fraction := h.Position(c.t)
		if whole != c.whole || fraction != c.fraction {
			t.Errorf("%v is at %d + %d/2^32, want %d + %d/2^32", c.t, whole, fraction, c.whole, c.fraction)
		}
	}
}

func TestRemainsAndScale(t *testing.T) {
	const h = HalfLife(event.Hour)
	for _, c := range []struct {
		age     event.Duration
		remains float64
		scaled  uint32 // of 4096
	}{
		{-event.Hour, 1, 4096},
		{0, 1, 4096},
		{event.Hour / 2, math.Sqrt(.5), 2896},
		{event.Hour, .5, 2048},
		{2 * event.Hour, .25, 1024},
		{12 * event.Hour, 1.0 / 4096, 1},
		{13 * event.Hour, 1.0 / 8192, 1}, // halves up
		{14 * event.Hour, 1.0 / 16384, 0},
		{32 * event.Hour, 1.0 / (1 << 32), 0},
		{33 * event.Hour, 0, 0},
		{event.MaxTime, 0, 0},
	} {
		if got := float64(h.Remains(c.age)) / Whole; math.Abs(got-c.remains) > 1e-9 {
			t.Errorf("after %d ms %v remains, want %v", c.age, got, c.remains)
		}
		if got := h.Scale(4096, c.age); got != c.scaled {
			t.Errorf("after %d ms 4096 is %d, want %d", c.age, got, c.scaled)
		}
	}
}

func TestPower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole, fraction := rapid.IntRange(-126, 127).Draw(t, "whole"), rapid.Uint32().Draw(t, "fraction")
		want := math.Exp2(float64(whole) + float64(fraction)/(1<<32))
		if got := float64(Power(whole, fraction)); math.Abs(got/want-1) > 1.0/(1<<22) {
			t.Fatalf("2^(%d + %d/2^32) = %v, want %v", whole, fraction, got, want)
		}
	})
	for whole := -126; whole <= 127; whole++ {
		if got := Power(whole, 0); got != float32(math.Ldexp(1, whole)) {
			t.Errorf("2^%d = %v", whole, got)
		}
	}
}
