package profile

import (
	"encoding/json"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
)

// View is the answer kept ready for each user. It is immutable.
type View struct {
	// Interests are the user's categories, by score, highest first, then by
	// name.
	Interests []Interest
	// Top are the first of them, of those with a score above zero.
	Top []Interest
	// Patterns are what the user does when.
	Patterns Patterns
	// LastUpdated is the largest event time that is in the profile.
	LastUpdated event.Time
}

// Interest is what a user thinks of a category.
type Interest struct {
	Category  string
	Score     float64 // the moving average of the weights of the user's events
	Views     int64   // events of type view
	Purchases int64   // events of type purchase
}

// above reports whether an interest comes before another.
func (x *Interest) above(y *Interest) bool {
	return x.Score > y.Score || x.Score == y.Score && x.Category < y.Category
}

// viewVersion is the version of the view's byte form, its first byte.
const viewVersion = 1

// scored is an interest as JSON.
type scored struct {
	Category string  `json:"category"`
	Score    float64 `json:"score"`
}

// feature is what a user did in a category as JSON.
type feature struct {
	Views     int64 `json:"views"`
	Purchases int64 `json:"purchases"`
}

// MarshalJSON writes the view for people: interests and features as objects
// by category, without the features of categories that have none, top interests
// as a list.
func (v *View) MarshalJSON() ([]byte, error) {
	interests := make(map[string]float64, len(v.Interests))
	features := make(map[string]feature, len(v.Interests))
	for _, x := range v.Interests {
		interests[x.Category] = x.Score
		if x.Views != 0 || x.Purchases != 0 {
			features[x.Category] = feature{x.Views, x.Purchases}
		}
	}
	top := make([]scored, 0, len(v.Top))
	for _, x := range v.Top {
		top = append(top, scored{x.Category, x.Score})
	}
	return json.Marshal(struct {
		Interests   map[string]float64 `json:"interests"`
		Top         []scored           `json:"top_interests"`
		Patterns    *Patterns          `json:"behavior_patterns"`
		Features    map[string]feature `json:"features"`
		LastUpdated event.Time         `json:"last_updated"`
	}{interests, top, &v.Patterns, features, v.LastUpdated})
}

// AppendBinary appends the view's byte form. It never fails.
func (v *View) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, viewVersion)
	dst = wire.AppendUvarint(dst, uint64(len(v.Top)))
	return appendBody(dst, v.Interests, &v.Patterns, v.LastUpdated), nil
}

// DecodeView reads what AppendBinary wrote. Its errors are event.ErrVersion
// and wire.ErrCorrupt.
func DecodeView(b []byte) (*View, error) {
	r := wire.NewReader(b)
	if version := r.Byte(); r.Err() == nil && version != viewVersion {
		return nil, fmt.Errorf("decode profile view: version %d: %w", version, event.ErrVersion)
	}
	v := &View{}
	n := r.Uvarint()
	v.Interests, v.Patterns, v.LastUpdated = readBody(r)
	if n > uint64(len(v.Interests)) {
		r.Fail(wire.ErrCorrupt)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("decode profile view: %w", err)
	}
	v.Top = v.Interests[:n:n]
	return v, nil
}

// appendBody writes what the state and the view have in common.
func appendBody(dst []byte, interests []Interest, p *Patterns, updated event.Time) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(interests)))
	for i := range interests {
		x := &interests[i]
		dst = wire.AppendString(dst, x.Category)
		dst = wire.AppendFloat64(dst, x.Score)
		dst = wire.AppendVarint(dst, x.Views)
		dst = wire.AppendVarint(dst, x.Purchases)
	}
	dst = p.append(dst)
	return wire.AppendVarint(dst, int64(updated))
}

// readBody reads what appendBody wrote; a failure is left in r.
func readBody(r *wire.Reader) ([]Interest, Patterns, event.Time) {
	var interests []Interest
	for range r.Count() {
		x := Interest{Category: r.String(), Score: r.Float64(), Views: r.Varint(), Purchases: r.Varint()}
		if r.Err() != nil {
			break
		}
		interests = append(interests, x)
	}
	return interests, readPatterns(r), event.Time(r.Varint())
}
