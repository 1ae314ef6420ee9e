package decay

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"millrace/event"
	"millrace/event/wire"
)

// Value is a growing weight, packed into a number so that of two values with
// the same half-life the larger one is the larger heat at every moment. It is
// w·2^(t/H) rounded down to 33 significant bits. The zero value is nothing.
type Value uint64

// exponentBias makes exponents positive, so that Values order as numbers.
// Exponents are in half-lives since the Unix epoch, so a half-life of a
// minute has room for 4,000 years on either side.
const exponentBias = 1 << 31

// pack makes a Value of (1+fraction/2^32)·2^exponent thousandths. Exponents
// that do not fit become the nearest that do.
func pack(exponent int64, fraction uint32) Value {
	exponent = min(max(exponent, 1-exponentBias), exponentBias-1)
	return Value(uint64(exponent+exponentBias)<<32 | uint64(fraction))
}

// parts is the Value as mantissa·2^exponent thousandths, 1 <= mantissa < 2.
func (v Value) parts() (mantissa float64, exponent int64) {
	return 1 + float64(v&(1<<32-1))/(1<<32), int64(v>>32) - exponentBias
}

// At is the heat as of time t: the decayed sum of weights, of which 1 is one
// event of weight 1 just now. It is for display, not for operators: its last
// bits may differ between machines.
func (v Value) At(h HalfLife, t event.Time) float64 {
	if v == 0 {
		return 0
	}
	mantissa, exponent := v.parts()
	whole, fraction := h.Position(t)
	return mantissa * math.Exp2(float64(exponent-whole)-float64(fraction)/(1<<32)) / 1000
}

// MarshalText writes the value as "1.5p-3", which is 1.5·2^-3, or as "0".
func (v Value) MarshalText() ([]byte, error) {
	if v == 0 {
		return []byte("0"), nil
	}
	mantissa, exponent := v.parts()
	b := strconv.AppendFloat(nil, mantissa, 'g', -1, 64)
	return strconv.AppendInt(append(b, 'p'), exponent, 10), nil
}

// UnmarshalText reads what MarshalText wrote. Its error is wire.ErrCorrupt.
func (v *Value) UnmarshalText(text []byte) error {
	if string(text) == "0" {
		*v = 0
		return nil
	}
	m, e, _ := strings.Cut(string(text), "p")
	mantissa, err := strconv.ParseFloat(m, 64)
	exponent, err2 := strconv.ParseInt(e, 10, 33)
	if err != nil || err2 != nil || !(mantissa >= 1 && mantissa < 2) {
		return fmt.Errorf("decay: the value %q, expected a number such as 1.5p-3: %w", text, wire.ErrCorrupt)
	}
	*v = pack(exponent, uint32((mantissa-1)*(1<<32)))
	return nil
}
