package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// The event types that every set of defaults has. TypeView is what an event
// without a type is, TypeRating the one whose weight follows its value.
const (
	TypeImpression = "impression"
	TypeView       = "view"
	TypeClick      = "click"
	TypeLike       = "like"
	TypeCart       = "cart"
	TypePurchase   = "purchase"
	TypeRating     = "rating"
	TypeDislike    = "dislike"
)

// The bounds of a set of event types.
const (
	MaxTypes      = 256  // types in a set
	MaxTypeBytes  = 64   // bytes of a type's name
	MaxTypeWeight = 1000 // absolute weight
)

// MaxRating is the value at which a rating weighs its full weight.
const MaxRating = 5

// ErrTypes is the error of a set of event types that cannot be used.
var ErrTypes = errors.New("invalid set of event types")

// Types is the set of configured event types, each with the weight of one such
// event. It is immutable and safe for concurrent use. Weights are kept in
// whole thousandths, so that sums of them commute.
type Types struct {
	milli     map[string]int64
	canonical map[string]string // of a name to the one string that is handed out for it
	names     []string          // sorted
	list      string            // names, for messages
}

var defaultTypes = mustTypes(map[string]float64{
	TypeImpression: 0,
	TypeView:       0.1,
	TypeClick:      0.3,
	TypeLike:       0.5,
	TypeCart:       0.7,
	TypePurchase:   1,
	TypeRating:     0.5,
	TypeDislike:    -0.5,
})

func mustTypes(weights map[string]float64) *Types {
	t, err := NewTypes(weights)
	if err != nil {
		panic(err)
	}
	return t
}

// DefaultTypes are the event types of a server that was not configured
// otherwise: impression 0, view 0.1, click 0.3, like 0.5, cart 0.7,
// purchase 1, rating 0.5, dislike -0.5.
func DefaultTypes() *Types { return defaultTypes }

// NewTypes makes a set of event types of their weights. A name is 1 to
// MaxTypeBytes bytes of UTF-8 without control characters, a weight a multiple
// of 0.001 within ±MaxTypeWeight. All errors are ErrTypes.
func NewTypes(weights map[string]float64) (*Types, error) {
	milli := make(map[string]int64, len(weights))
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		w := weights[name]
		if !(math.Abs(w) <= MaxTypeWeight) {
			return nil, fmt.Errorf("%w: the weight of %q is %v, expected -%d to %[4]d", ErrTypes, name, w, MaxTypeWeight)
		}
		m := math.Round(float64(w * 1000))
		if math.Abs(float64(w*1000)-m) > 1e-6 {
			return nil, fmt.Errorf("%w: the weight of %q is %v, expected a multiple of 0.001", ErrTypes, name, w)
		}
		milli[name] = int64(m)
	}
	return newTypes(milli)
}

func newTypes(milli map[string]int64) (*Types, error) {
	if len(milli) == 0 || len(milli) > MaxTypes {
		return nil, fmt.Errorf("%w: %d types, expected 1 to %d", ErrTypes, len(milli), MaxTypes)
	}
	t := &Types{
		milli:     milli,
		canonical: make(map[string]string, len(milli)),
		names:     slices.Sorted(maps.Keys(milli)),
	}
	for _, name := range t.names {
		if len(name) == 0 || len(name) > MaxTypeBytes || !isPlainText(name) {
			return nil, fmt.Errorf("%w: the name %q, expected 1 to %d bytes of UTF-8 without control characters",
				ErrTypes, name, MaxTypeBytes)
		}
		if m := milli[name]; m < -1000*MaxTypeWeight || m > 1000*MaxTypeWeight {
			return nil, fmt.Errorf("%w: the weight of %q is %d thousandths, expected -%d to %[4]d",
				ErrTypes, name, m, 1000*MaxTypeWeight)
		}
		t.canonical[name] = name
	}
	t.list = strings.Join(t.names, ", ")
	return t, nil
}

// Has says whether the set has a type of that name; case counts.
func (t *Types) Has(name string) bool {
	_, ok := t.milli[name]
	return ok
}

// Names are the names of the types in ascending order.
func (t *Types) Names() []string { return slices.Clone(t.names) }

// Canonical is the set's own string for a name, so that a decoder need not
// allocate one for every event; false when the set has no such type.
func (t *Types) Canonical(name []byte) (string, bool) {
	s, ok := t.canonical[string(name)]
	return s, ok
}

// WeightMilli is how much an event weighs, in thousandths: the weight of its
// type, 0 for a type that the set does not have. A rating with a value weighs
// value/MaxRating of its type's weight, the value clipped to 0..MaxRating and
// taken in thousandths; the result is rounded half away from zero. No other
// type looks at the value.
func (t *Types) WeightMilli(e *Event) int64 {
	weight := t.milli[e.Type]
	if e.Type != TypeRating || !e.HasValue {
		return weight
	}
	const full = 1000 * MaxRating
	value := int64(full)
	switch {
	case !(e.Value > 0): // NaN too
		return 0
	case e.Value < MaxRating:
		value = int64(math.Round(float64(e.Value * 1000)))
	}
	half := int64(full / 2)
	if weight < 0 {
		half = -half
	}
	return (weight*value + half) / full
}

// storedTypes is the form in which a set of types is kept in the log.
type storedTypes struct {
	Version int              `json:"version"`
	Weights map[string]int64 `json:"weights_milli"`
}

const typesVersion = 1

// Encode writes the set as it is recorded in the log: JSON with sorted names,
// the same bytes for the same set.
func (t *Types) Encode() []byte {
	b, err := json.Marshal(storedTypes{Version: typesVersion, Weights: t.milli})
	if err != nil {
		panic(fmt.Sprintf("event: encoding the event types: %v", err)) // a map of integers always encodes
	}
	return b
}

// DecodeTypes reads what Encode wrote. Its errors are ErrTypes, and ErrVersion
// for a set written by a later release.
func DecodeTypes(b []byte) (*Types, error) {
	var s storedTypes
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: reading the stored set: %w", ErrTypes, err)
	}
	if s.Version != typesVersion {
		return nil, fmt.Errorf("reading the stored event types: version %d: %w", s.Version, ErrVersion)
	}
	return newTypes(s.Weights)
}
