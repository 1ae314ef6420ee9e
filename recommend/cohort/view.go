package cohort

import (
	"encoding/json"
	"fmt"
	"math"

	"millrace/event"
	"millrace/event/wire"
	"millrace/recommend/decay"
)

// viewVersion is the version of the view's byte form, its first byte.
const viewVersion = 1

// Preferences is the answer for one cohort. It is immutable.
type Preferences struct {
	// Total is the sum over all categories, also those that are not shown.
	Total decay.Value `json:"total"`
	// Categories are the most liked ones, the strongest first.
	Categories []Preference `json:"categories"`
}

// Preference is what a cohort likes of a category.
type Preference struct {
	Category string      `json:"category"`
	Value    decay.Value `json:"value"` // at HalfLife
	Events   int64       `json:"events"`
}

// Share is the category's part of all, from 0 to 1, as of any time near t.
func (p *Preferences) Share(i int, t event.Time) float64 {
	total := p.Total.At(HalfLife, t)
	if total <= 0 {
		return 0
	}
	return rounded(p.Categories[i].Value.At(HalfLife, t) / total)
}

// Weight is the category's decayed sum of weights as of t.
func (p *Preferences) Weight(i int, t event.Time) float64 {
	return rounded(p.Categories[i].Value.At(HalfLife, t))
}

// rounded is a figure to six places: more of it is noise.
func rounded(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// published is the form of a record.
type published struct {
	Cohort     string     `json:"cohort"`
	Time       event.Time `json:"time"`
	Categories []shown    `json:"categories"`
}

type shown struct {
	Category string  `json:"category"`
	Share    float64 `json:"share"`
	Weight   float64 `json:"weight"`
	Events   int64   `json:"events"`
}

// record is what is published of a cohort as of a moment.
func (p *Preferences) record(cohort string, at event.Time) []byte {
	out := published{Cohort: cohort, Time: at, Categories: make([]shown, len(p.Categories))}
	for i, c := range p.Categories {
		out.Categories[i] = shown{c.Category, p.Share(i, at), p.Weight(i, at), c.Events}
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return b
}

// AppendBinary appends the answer's byte form. It never fails.
func (p *Preferences) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendUint64(append(dst, viewVersion), uint64(p.Total))
	dst = wire.AppendUvarint(dst, uint64(len(p.Categories)))
	for i := range p.Categories {
		c := &p.Categories[i]
		dst = wire.AppendString(dst, c.Category)
		dst = wire.AppendUint64(dst, uint64(c.Value))
		dst = wire.AppendVarint(dst, c.Events)
	}
	return dst, nil
}

// Decode reads what AppendBinary wrote. Its errors wrap event.ErrVersion and
// wire.ErrCorrupt.
func Decode(b []byte) (*Preferences, error) {
	r := wire.NewReader(b)
	if v := r.Byte(); v != viewVersion && r.Err() == nil {
		return nil, fmt.Errorf("cohort: view: %w %d", event.ErrVersion, v)
	}
	p := &Preferences{Total: decay.Value(r.Uint64())}
	for range r.Count() {
		p.Categories = append(p.Categories, Preference{Category: r.String(), Value: decay.Value(r.Uint64()), Events: r.Varint()})
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("cohort: view: %w", err)
	}
	return p, nil
}
