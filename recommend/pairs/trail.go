package pairs

import (
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// PortPairs is the port on which a trail stage emits Contributions.
const PortPairs = "pairs"

// trailVersion is the version of the form in which trails are stored.
const trailVersion = 1

// TrailOptions say which pairs a trail stage makes.
type TrailOptions struct {
	// Items is how many distinct items of a user are remembered: the largest
	// distance of a pair.
	Items int `json:"items"`
	// Directed makes a pair only for the row of the earlier item, and only if
	// it is not of a later time. Otherwise a pair counts in both rows.
	Directed bool `json:"directed"`
	// MaxGap is the longest time between the two events of a directed pair,
	// in milliseconds.
	MaxGap event.Duration `json:"max_gap_ms"`
}

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o TrailOptions) Validate() error {
	switch {
	case o.Items < 1 || o.Items > MaxTrail:
		return fmt.Errorf("%w: items is %d, expected 1 to %d", ErrOptions, o.Items, MaxTrail)
	case o.Directed && o.MaxGap < 1:
		return fmt.Errorf("%w: max_gap_ms is %d, expected 1 or more", ErrOptions, o.MaxGap)
	}
	return nil
}

// AddTrail adds a stage, chained to one that is keyed by user, that keeps each
// user's trail and emits its pairs on PortPairs. Events of no or negative
// weight leave no trace. It panics if the options are not valid.
func AddTrail(in operator.Stream[event.Enriched], name string, types *event.Types, o TrailOptions) operator.Handle {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	return operator.Chain(in, operator.Stage[string, trail, event.Enriched]{
		Name:    name,
		Subject: operator.SubjectUser,
		Version: trailVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, trail, event.Enriched] {
			return &trails{options: o, types: types, pairs: operator.Out[Contribution](p, PortPairs)}
		},
	})
}

// trail is a user's latest distinct items in the order in which they came,
// the latest last. What has been written into the array under items is never
// changed: contributions hold slices of it.
type trail struct {
	items []string
	times []event.Time // of directed trails
}

// trails is the operator of a trail stage.
type trails struct {
	options TrailOptions
	types   *event.Types
	pairs   *operator.Output[Contribution]
}

// Fold appends the event's item to the trail and emits its pairs. An item
// that comes twice in a row makes no pairs; one that is in the trail already
// moves to its end.
func (o *trails) Fold(c *operator.Context, _ string, s *trail, e *event.Enriched) {
	if o.types.WeightMilli(&e.Event) <= 0 {
		c.Unchanged()
		return
	}
	n := len(s.items)
	if n > 0 && s.items[n-1] == e.Item {
		if !o.options.Directed || e.Time <= s.times[n-1] {
			c.Unchanged()
			return
		}
		s.times[n-1] = e.Time
		return
	}
	s.push(e.Item, e.Time, o.options)
	n = len(s.items) - 1
	before, self := s.items[:n:n], s.items[n:n+1:n+1]
	if !o.options.Directed && n > 0 {
		o.pairs.Emit(c.Time, Contribution{Item: e.Item, Partners: before, Distance: 1})
	}
	for i, q := range before {
		if o.options.Directed {
			if gap := e.Time - s.times[i]; gap < 0 || gap > o.options.MaxGap {
				continue
			}
		}
		o.pairs.Emit(c.Time, Contribution{Item: q, Partners: self, Distance: uint32(n - i)})
	}
}

// push appends an item that is not the last one. Besides it, at most o.Items
// items stay.
func (s *trail) push(item string, t event.Time, o TrailOptions) {
	if i := slices.Index(s.items, item); i >= 0 {
		s.items = append(append(make([]string, 0, 2*len(s.items)), s.items[:i]...), s.items[i+1:]...)
		if o.Directed {
			s.times = slices.Delete(s.times, i, i+1)
		}
	}
	drop := max(0, len(s.items)-o.Items)
	s.items = append(s.items[drop:], item)
	if o.Directed {
		s.times = append(slices.Delete(s.times, 0, drop), t)
	}
}

// Timer is never called: a trail sets no timers.
func (o *trails) Timer(*operator.Context, string, *trail, event.Time) {}

// Append appends a trail's bytes.
func (o *trails) Append(dst []byte, s *trail) []byte {
	dst = wire.AppendStrings(dst, s.items)
	last := event.Time(0)
	for _, t := range s.times {
		dst = wire.AppendVarint(dst, int64(t-last))
		last = t
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *trails) Load(version uint8, src []byte, s *trail) error {
	if version != trailVersion {
		return fmt.Errorf("pairs: a trail of version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	s.items = r.Strings()
	if o.options.Directed {
		last := event.Time(0)
		for range s.items {
			last += event.Time(r.Varint())
			s.times = append(s.times, last)
		}
	}
	return r.End()
}
