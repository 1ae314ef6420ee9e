package profile

import (
	"encoding/json"
	"math"

	"millrace/event"
	"millrace/event/wire"
	"millrace/recommend/tally"
)

// PartOfDay is a quarter of a day in UTC.
type PartOfDay int

// The parts of the day, six hours each.
const (
	Night     PartOfDay = iota // 0 to 6 o'clock
	Morning                    // 6 to 12
	Afternoon                  // 12 to 18
	Evening                    // 18 to 24

	partsOfDay = iota
)

// String is the part's English name in lower case.
func (p PartOfDay) String() string { return [...]string{"night", "morning", "afternoon", "evening"}[p] }

// maxRated bounds the absolute value of the ratings that are averaged, beyond
// any scale, so that no sum of them overflows.
const maxRated = 1e6

// Patterns are counts of a user's events of a weight other than 0.
type Patterns struct {
	Events     int64
	Types      tally.Counts      // events by type
	PartsOfDay [partsOfDay]int64 // events by part of the day
	Weekend    int64             // events on Saturdays and Sundays, UTC
	Ratings    int64             // ratings with a value within ±1,000,000
	RatingSum  float64           // the sum of their values
}

func (p *Patterns) add(e *event.Event) {
	p.Events++
	p.Types.Add(e.Type, 1)
	midnight := event.WindowStart(e.Time, event.Day)
	p.PartsOfDay[(e.Time-midnight)/(event.Day/partsOfDay)]++
	if day := (midnight/event.Day%7 + 7 + 4) % 7; day == 0 || day == 6 { // 1 January 1970 was a Thursday
		p.Weekend++
	}
	if e.Type == event.TypeRating && e.HasValue && math.Abs(e.Value) <= maxRated {
		p.Ratings++
		p.RatingSum += e.Value
	}
}

// MostActive is the part of the day with the most events, the earliest of
// such.
func (p *Patterns) MostActive() PartOfDay {
	most := Night
	for part := range PartOfDay(partsOfDay) {
		if p.PartsOfDay[part] > p.PartsOfDay[most] {
			most = part
		}
	}
	return most
}

// AverageRating is the mean of the ratings' values; false if there are none.
func (p *Patterns) AverageRating() (float64, bool) {
	return p.RatingSum / float64(max(1, p.Ratings)), p.Ratings > 0
}

// Conversion is purchases per view; false if there are no views.
func (p *Patterns) Conversion() (float64, bool) {
	views := p.Types.Of(event.TypeView)
	return float64(p.Types.Of(event.TypePurchase)) / float64(max(1, views)), views > 0
}

// share is a count as a part of all events, 0 if there are none.
func (p *Patterns) share(n int64) float64 { return float64(n) / float64(max(1, p.Events)) }

// MarshalJSON writes the patterns for people: shares of 1, and null for an
// average of nothing.
func (p *Patterns) MarshalJSON() ([]byte, error) {
	orNull := func(v float64, ok bool) *float64 {
		if !ok {
			return nil
		}
		return &v
	}
	shares := make(map[string]float64, partsOfDay)
	for part := range PartOfDay(partsOfDay) {
		shares[part.String()] = p.share(p.PartsOfDay[part])
	}
	var most *string
	if name := p.MostActive().String(); p.Events > 0 {
		most = &name
	}
	return json.Marshal(struct {
		Events        int64              `json:"events"`
		Types         tally.Counts       `json:"events_by_type"`
		MostActive    *string            `json:"most_active"`
		PartsOfDay    map[string]float64 `json:"share_by_part_of_day"`
		Weekday       float64            `json:"weekday_share"`
		Weekend       float64            `json:"weekend_share"`
		AverageRating *float64           `json:"average_rating"`
		Conversion    *float64           `json:"purchases_per_view"`
	}{
		p.Events, p.Types, most, shares, p.share(p.Events - p.Weekend), p.share(p.Weekend),
		orNull(p.AverageRating()), orNull(p.Conversion()),
	})
}

func (p *Patterns) append(dst []byte) []byte {
	dst = wire.AppendVarint(dst, p.Events)
	dst = p.Types.Append(dst)
	for _, n := range p.PartsOfDay {
		dst = wire.AppendVarint(dst, n)
	}
	dst = wire.AppendVarint(dst, p.Weekend)
	dst = wire.AppendVarint(dst, p.Ratings)
	return wire.AppendFloat64(dst, p.RatingSum)
}

// readPatterns reads what append wrote; a failure is left in r.
func readPatterns(r *wire.Reader) Patterns {
	p := Patterns{Events: r.Varint(), Types: tally.Read(r)}
	for i := range p.PartsOfDay {
		p.PartsOfDay[i] = r.Varint()
	}
	p.Weekend, p.Ratings, p.RatingSum = r.Varint(), r.Varint(), r.Float64()
	return p
}
