package decay

import (
	"math"
	"math/bits"

	"millrace/event"
	"millrace/event/wire"
)

// A Sum divides time into epochs of epochHalfLives half-lives, aligned to the
// Unix epoch, and keeps the newest keptEpochs of them.
const (
	epochHalfLives = 16
	keptEpochs     = 4
)

// unitBits says how fine the units of an Amount are: a thousandth at the
// start of an epoch is 2^unitBits units.
const unitBits = 4

// tableBits says how finely an Amount resolves time: a half-life has
// 2^tableBits steps.
const tableBits = 10

// steps are 2^(i/2^tableBits), as One is 1.
var steps = func() (table [1 << tableBits]uint64) {
	for i := range table {
		table[i] = Exp2(uint32(i) << (32 - tableBits))
	}
	return table
}()

// MaxMilli is the largest weight that an Amount is made of, in thousandths.
const MaxMilli = event.MaxTypeWeight * 1000

// Amount is a growing weight on its way into a Sum: so many units, each worth
// 2^-unitBits thousandths at the start of an epoch.
type Amount struct {
	Epoch int64  `json:"epoch"`
	Units uint64 `json:"units"`
}

// Amount is what an event at t of a weight of so many thousandths, 1 to
// MaxMilli, counts: weight · 2^(half-lives since the epoch began), the time
// rounded down to 1/1024 of a half-life and the product to a unit.
func (h HalfLife) Amount(t event.Time, milli uint32) Amount {
	epochLength := event.Duration(h) * epochHalfLives
	start := event.WindowStart(t, epochLength)
	since := uint64(t-start) << tableBits / uint64(h) // in steps
	hi, lo := bits.Mul64(uint64(milli)<<(unitBits+since>>tableBits), steps[since%(1<<tableBits)])
	return Amount{Epoch: int64(start / epochLength), Units: hi<<1 | lo>>63}
}

// Merge adds another amount and reports true, or reports false if it is of
// another epoch.
func (a *Amount) Merge(b Amount) bool {
	if a.Epoch != b.Epoch {
		return false
	}
	a.Units = saturating(a.Units, b.Units)
	return true
}

// saturating is a+b, or the largest number if that is less. Like addition it
// is commutative and associative.
func saturating(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// Sum is a decayed sum: the growing weights of the newest four epochs, which
// are 64 half-lives. It holds no pointers. The zero value is empty.
//
// What it holds is a function of the set of amounts that were added, not of
// their order: an amount is dropped, on arrival or later, exactly if its
// epoch is four or more behind the newest of all. Within an epoch the units
// add up to at most 2^64-1, 17 billion weights of 1 in one half-life; more is
// not counted.
//
// Its Value never falls when something is added. An added amount of the same
// epochs only adds. One that opens a new epoch e is worth at least 2^unitBits
// units there (a thousandth, at the start of the epoch); the epochs that it
// pushes out, e-4 and before, hold less than 2^64 units each, which measured
// in units of epoch e are below 2^64 · (2^-64 + 2^-80 + ...) < 2 < 2^unitBits.
// So the largest Value that was ever seen is the last one.
type Sum struct {
	newest int64              // the newest epoch
	units  [keptEpochs]uint64 // of the newest epoch, the one before, ...; the first is 0 only if all are
}

// Add adds an amount.
func (s *Sum) Add(a Amount) {
	if a.Units == 0 {
		return
	}
	if s.units[0] == 0 {
		s.newest = a.Epoch
	}
	if a.Epoch > s.newest {
		s.advance(a.Epoch)
	}
	if behind := s.newest - a.Epoch; behind < keptEpochs {
		s.units[behind] = saturating(s.units[behind], a.Units)
	}
}

// advance makes a later epoch the newest.
func (s *Sum) advance(epoch int64) {
	ahead := epoch - s.newest
	for i := keptEpochs - 1; i >= 0; i-- {
		if from := int64(i) - ahead; from >= 0 {
			s.units[i] = s.units[from]
		} else {
			s.units[i] = 0
		}
	}
	s.newest = epoch
}

// Value is the sum as one number that orders sums of the same half-life.
func (s *Sum) Value() Value {
	// The exact sum in units of the oldest epoch has at most 64+48+1 bits.
	var hi, lo uint64
	for _, units := range s.units {
		hi = hi<<epochHalfLives | lo>>(64-epochHalfLives)
		var carry uint64
		lo, carry = bits.Add64(lo<<epochHalfLives, units, 0)
		hi += carry
	}
	if hi == 0 && lo == 0 {
		return 0
	}
	shift := bits.LeadingZeros64(hi)
	if hi == 0 {
		shift = 64 + bits.LeadingZeros64(lo)
		hi, lo = lo, 0
	}
	mantissa := hi<<(shift%64) | lo>>(64-shift%64)
	exponent := int64(127-shift) + (s.newest-(keptEpochs-1))*epochHalfLives - unitBits
	return pack(exponent, uint32(mantissa>>31))
}

// Append appends the sum's bytes.
func (s *Sum) Append(dst []byte) []byte {
	dst = wire.AppendVarint(dst, s.newest)
	for _, units := range s.units {
		dst = wire.AppendUvarint(dst, units)
	}
	return dst
}

// Read reads what Append wrote. Bytes that no Sum writes leave
// wire.ErrCorrupt in r.
func (s *Sum) Read(r *wire.Reader) {
	s.newest = r.Varint()
	for i := range s.units {
		s.units[i] = r.Uvarint()
	}
	if s.units[0] == 0 && *s != (Sum{}) {
		r.Fail(wire.ErrCorrupt)
	}
}
