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

// addTrail adds the stage that is keyed by user.
func addTrail(in operator.Stream[event.Enriched], name string, types *event.Types, o TrailOptions, rows Options) operator.Handle {
	return operator.Chain(in, operator.Stage[string, trail, event.Enriched]{
		Name:    name,
		Subject: operator.SubjectUser,
		Version: trailVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, trail, event.Enriched] {
			return &trails{options: o, rows: rows, types: types, names: NewNames(), pairs: operator.Out[Contribution](p, PortPairs)}
		},
	})
}

// trail is a user's latest distinct items in the order in which they came,
// the latest last.
type trail struct {
	items []uint32     // by the instance's numbers
	times []event.Time // of directed trails
}

// trails is the operator of a trail stage.
type trails struct {
	options TrailOptions
	rows    Options
	types   *event.Types
	pairs   *operator.Output[Contribution]

	names   *Names
	arena   []term               // what is left of the memory that pairs are taken from
	weights [MaxTrail + 1]uint32 // by distance: scratch
}

// Fold appends the event's item to the trail and emits its pairs. An item
// that comes twice in a row makes no pairs; one that is in the trail already
// moves to its end.
func (o *trails) Fold(c *operator.Context, _ string, s *trail, e *event.Enriched) {
	if o.types.WeightMilli(&e.Event) <= 0 {
		c.Unchanged()
		return
	}
	n, item := len(s.items), o.names.ID(e.Item)
	if n > 0 && s.items[n-1] == item {
		if !o.options.Directed || e.Time <= s.times[n-1] {
			c.Unchanged()
			return
		}
		s.times[n-1] = e.Time
		return
	}
	s.push(item, e.Time, o.options)
	if len(s.items) > 1 {
		o.tell(c, s)
	}
}

// tell emits the pairs of the last item of a trail with those before it.
func (o *trails) tell(c *operator.Context, s *trail) {
	last := len(s.items) - 1
	at := c.Effective()
	reach := o.weigh(min(last, o.options.Items), at-c.Time)
	if reach == 0 {
		return
	}
	to := Contribution{Item: o.names.Name(s.items[last]), Slice: event.WindowStart(at, o.rows.slice()), terms: o.names.Terms()}
	if !o.options.Directed {
		to.first, to.more = term{s.items[last-1], o.weights[1]}, o.take(reach-1)
		for i := range to.more {
			to.more[i] = term{s.items[last-2-i], o.weights[i+2]}
		}
		o.pairs.Emit(c.Time, to)
		to.more = nil
	}
	for distance := reach; distance > 0; distance-- {
		i := last - distance
		if o.options.Directed {
			if gap := s.times[last] - s.times[i]; gap < 0 || gap > o.options.MaxGap {
				continue
			}
		}
		to.Item, to.first = o.names.Name(s.items[i]), term{s.items[last], o.weights[distance]}
		o.pairs.Emit(c.Time, to)
	}
}

// weigh finds the weights of pairs of an age by their distance, and the
// largest distance up to most at which pairs still weigh anything.
func (o *trails) weigh(most int, age event.Duration) (reach int) {
	for distance := 1; distance <= most; distance++ {
		w := o.rows.halfLife().Scale(weight(distance), age)
		if w == 0 {
			return distance - 1
		}
		o.weights[distance] = w
	}
	return most
}

// take takes memory for so many pairs, which nothing else uses.
func (o *trails) take(n int) []term {
	if len(o.arena) < n {
		o.arena = make([]term, 64*MaxTrail)
	}
	taken := o.arena[:n:n]
	o.arena = o.arena[n:]
	return taken
}

// push appends an item that is not the last one. Besides it, at most o.Items
// items stay.
func (s *trail) push(item uint32, t event.Time, o TrailOptions) {
	if i := slices.Index(s.items, item); i >= 0 {
		s.drop(i, i+1)
	}
	s.drop(0, max(0, len(s.items)-o.Items))
	s.items = append(s.items, item)
	if o.Directed {
		s.times = append(s.times, t)
	}
}

// drop drops some items.
func (s *trail) drop(from, to int) {
	s.items = slices.Delete(s.items, from, to)
	if len(s.times) > 0 {
		s.times = slices.Delete(s.times, from, to)
	}
}

// Timer is never called: a trail sets no timers.
func (o *trails) Timer(*operator.Context, string, *trail, event.Time) {}

// Append appends a trail's bytes.
func (o *trails) Append(dst []byte, s *trail) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(s.items)))
	for _, item := range s.items {
		dst = wire.AppendString(dst, o.names.Name(item))
	}
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
	for range r.Count() {
		item := r.String()
		if r.Err() != nil {
			break
		}
		s.items = append(s.items, o.names.ID(item))
	}
	if o.options.Directed {
		last := event.Time(0)
		for range s.items {
			last += event.Time(r.Varint())
			s.times = append(s.times, last)
		}
	}
	return r.End()
}
