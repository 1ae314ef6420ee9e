package decay

import (
	"math"
	"math/bits"

	"millrace/event"
)

// One is 1 in the fixed-point form of Exp2: a number below 2 with 63
// fractional bits.
const One = 1 << 63

// Whole is 1 in the fixed-point form of HalfLife.Remains: 32 fractional bits.
const Whole = 1 << 32

// roots are 2^(1/2), 2^(1/4), ..., 2^(2^-32), rounded down, as One is 1.
var roots = [32]uint64{
	0xB504F333F9DE6484, 0x9837F0518DB8A96F, 0x8B95C1E3EA8BD6E6, 0x85AAC367CC487B14,
	0x82CD8698AC2BA1D7, 0x8164D1F3BC030773, 0x80B1ED4FD999AB6C, 0x8058D7D2D5E5F6B0,
	0x802C6436D0E04F50, 0x8016302F17467628, 0x800B179C82028FD0, 0x80058BAF7FEE3B5D,
	0x8002C5D00FDCFCB6, 0x800162E61BED4A48, 0x8000B17292F702A3, 0x800058B92ABBAE02,
	0x80002C5C8DADE4D7, 0x8000162E44EAF636, 0x80000B1721FA7C18, 0x8000058B90DE7E4C,
	0x800002C5C8678F36, 0x80000162E431DB9F, 0x800000B1721872D0, 0x80000058B90C1AA8,
	0x8000002C5C8605A4, 0x800000162E4300E6, 0x8000000B17217FF8, 0x800000058B90BFDD,
	0x80000002C5C85FE6, 0x8000000162E42FF1, 0x80000000B17217F8, 0x8000000058B90BFC,
}

// Exp2 is 2^(fraction/2^32), as One is 1: from One to just below 2·One. It is
// the product of the roots of two that the bits of the fraction stand for,
// each product rounded down, and at most 2^-56 below the exact power.
func Exp2(fraction uint32) uint64 {
	product := uint64(One)
	for fraction != 0 {
		k := bits.LeadingZeros32(fraction)
		fraction &^= 1 << (31 - k)
		hi, lo := bits.Mul64(product, roots[k])
		product = hi<<1 | lo>>63
	}
	return product
}

// HalfLife is the time in which a weight halves, in milliseconds, at least 1.
type HalfLife event.Duration

// Position is a moment in half-lives since the Unix epoch: whole half-lives,
// rounded down, and the fraction of the next in units of 2^-32.
func (h HalfLife) Position(t event.Time) (whole int64, fraction uint32) {
	start := event.WindowStart(t, event.Duration(h))
	rest := uint64(t - start)
	q, _ := bits.Div64(rest>>32, rest<<32, uint64(h))
	return int64(start) / int64(h), uint32(q)
}

// Remains is 2^(-age/h), what is left of a weight after so many milliseconds,
// as Whole is 1, rounded down. It is Whole for an age of 0 or less, and 0 for
// more than 32 half-lives.
func (h HalfLife) Remains(age event.Duration) uint64 {
	if age <= 0 {
		return Whole
	}
	whole, fraction := h.Position(-age)
	return Exp2(fraction) >> uint64(31-whole)
}

// Scale is what is left of a weight after so many milliseconds, rounded to
// the nearest integer, halves up. The weight is below 2^31.
func (h HalfLife) Scale(weight uint32, age event.Duration) uint32 {
	if age <= 0 {
		return weight
	}
	return uint32((uint64(weight)*h.Remains(age) + Whole/2) >> 32)
}

// Power is 2^(whole+fraction/2^32) as a float32 with 24 bits, rounded down.
// whole is from -126 to 127.
func Power(whole int, fraction uint32) float32 {
	const mantissa = 1<<23 - 1
	return math.Float32frombits(uint32(whole+127)<<23 | uint32(Exp2(fraction)>>40)&mantissa)
}
