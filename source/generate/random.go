package generate

import (
	"math/bits"
	"math/rand/v2"
	"sort"
	"strconv"

	"millrace/internal/splitmix"
)

// random is the one stream of chance of a generator: PCG-DXSM, whose output is
// fixed, reduced to ranges here because how rand.Rand does that is not.
type random struct{ pcg *rand.PCG }

func newRandom(seed uint64) random {
	return random{rand.NewPCG(seed, mix(seed, 0x6d696c6c72616365))}
}

// below is uniform in [0, n), n > 0, by the high half of a product (Lemire
// 2019); its bias is under n/2^64.
func (r *random) below(n int) int { return scale(r.pcg.Uint64(), n) }

// probability is in 1/65536.
type probability int

const (
	certain probability = 1 << 16
	percent             = certain / 100
)

// chance is true with probability p.
func (r *random) chance(p probability) bool {
	return probability(r.pcg.Uint64()>>48) < p
}

// unit is uniform in [0, 1), a multiple of 2^-53.
func (r *random) unit() float64 { return float64(r.pcg.Uint64()>>11) / (1 << 53) }

// skewed is in [0, n) with a density that falls with the inverse square root:
// the square of a uniform number. The first hundredth gets a tenth.
func (r *random) skewed(n int) int {
	x := r.pcg.Uint64()
	square, _ := bits.Mul64(x, x)
	return scale(square, n)
}

// scale maps a uniform 64-bit number to [0, n).
func scale(x uint64, n int) int {
	hi, _ := bits.Mul64(x, uint64(n))
	return int(hi)
}

// mix is a hash of two numbers: the finaliser of SplitMix64 (Steele, Lea and
// Flood 2014) over their sum with its increment.
func mix(a, b uint64) uint64 {
	return splitmix.Mix(a + b*splitmix.Gamma + splitmix.Gamma)
}

// derive chains mix over several numbers.
func derive(first uint64, rest ...uint64) uint64 {
	for _, part := range rest {
		first = mix(first, part)
	}
	return first
}

// numbered is a prefix and a decimal number.
func numbered(prefix string, n uint64) string {
	var buf [40]byte
	return string(strconv.AppendUint(append(buf[:0], prefix...), n, 10))
}

// zipf draws ranks with weight 1/(rank+3), rank from 0 (Zipf-Mandelbrot with
// exponent 1, which needs no power function). One table serves every size up
// to that it was made for.
type zipf struct {
	upTo []uint64 // upTo[r] is the weight of all ranks before r, in 2^-32
}

func newZipf(size int) zipf {
	z := zipf{upTo: make([]uint64, size+1)}
	for r := range size {
		z.upTo[r+1] = z.upTo[r] + (1<<32)/uint64(r+3)
	}
	return z
}

// rank maps a uniform 64-bit number to a rank in [0, n).
func (z *zipf) rank(x uint64, n int) int {
	at, _ := bits.Mul64(x, z.upTo[n])
	return sort.Search(n-1, func(r int) bool { return z.upTo[r+1] > at })
}
