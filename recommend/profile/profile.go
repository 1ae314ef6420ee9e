package profile

import (
	"errors"
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/recommend/tally"
)

// The names of the stage and its view.
const (
	StageName = "profile"
	ViewName  = "profile"
)

// stateVersion is the version of the state's format.
const stateVersion = 1

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("profile: invalid options")

// Options of the stage.
type Options struct {
	// Alpha is how much the newest event counts in an interest, from 0 to 1.
	Alpha float64 `json:"alpha"`
	// Categories is how many categories of a user are kept.
	Categories int `json:"categories"`
	// Top is how many top interests there are.
	Top int `json:"top"`
}

// Defaults are an alpha of 0.1, 100 categories and 10 top interests.
func Defaults() Options { return Options{Alpha: 0.1, Categories: 100, Top: 10} }

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	switch {
	case !(o.Alpha > 0 && o.Alpha <= 1):
		return fmt.Errorf("%w: alpha is %v, expected more than 0, at most 1", ErrOptions, o.Alpha)
	case o.Categories < 1 || o.Categories > 10_000:
		return fmt.Errorf("%w: categories is %d, expected 1 to 10000", ErrOptions, o.Categories)
	case o.Top < 1 || o.Top > o.Categories:
		return fmt.Errorf("%w: top is %d, expected 1 to %d, the number of categories", ErrOptions, o.Top, o.Categories)
	}
	return nil
}

// Add chains the stage to clean's events. types are the event types, with the
// weights that interests are made of.
func Add(in operator.Stream[event.Enriched], o Options, types *event.Types) operator.Handle {
	return operator.Chain(in, stage(o, types))
}

func stage(o Options, types *event.Types) operator.Stage[string, state, event.Enriched] {
	return operator.Stage[string, state, event.Enriched]{
		Name:    StageName,
		Subject: operator.SubjectUser,
		Version: stateVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, state, event.Enriched] {
			return &profile{options: o, keep: 1 - o.Alpha, types: types, view: operator.View[*View](p, ViewName)}
		},
	}
}

// state is what is known of one user.
type state struct {
	interests []Interest // by score, highest first, then by category
	patterns  Patterns
	updated   event.Time // meaningful when patterns has events
}

// profile is the stage's operator.
type profile struct {
	options Options
	keep    float64 // 1 - alpha
	types   *event.Types
	view    *operator.ViewPort[*View]
}

// Fold takes an event into the profile.
func (o *profile) Fold(c *operator.Context, _ string, s *state, e *event.Enriched) {
	milli := o.types.WeightMilli(&e.Event)
	if milli == 0 && o.types.WeightMilli(&event.Event{Type: e.Type}) == 0 {
		c.Unchanged() // of no weight; a rating of 0 is not
		return
	}
	if s.patterns.Events == 0 || e.Time > s.updated {
		s.updated = e.Time
	}
	s.patterns.add(&e.Event)
	step := float64(o.options.Alpha * (float64(milli) / 1000))
	for _, category := range e.Categories() {
		at := s.find(category, o.options.Categories)
		x := &s.interests[at]
		x.Score = float64(o.keep*x.Score) + step
		switch e.Type {
		case event.TypeView:
			x.Views++
		case event.TypePurchase:
			x.Purchases++
		}
		s.reorder(at)
	}
}

// find is the position of a category, a new one if it was not there.
func (s *state) find(category string, limit int) int {
	for i := range s.interests {
		if s.interests[i].Category == category {
			return i
		}
	}
	if n := len(s.interests); n >= limit {
		s.interests = slices.Delete(s.interests, limit-1, n) // the lowest
	}
	s.interests = append(s.interests, Interest{Category: category})
	return len(s.interests) - 1
}

// reorder puts the interest at a position, whose score has changed, into its
// place.
func (s *state) reorder(at int) {
	list := s.interests
	for at > 0 && list[at].above(&list[at-1]) {
		list[at], list[at-1] = list[at-1], list[at]
		at--
	}
	for at < len(list)-1 && list[at+1].above(&list[at]) {
		list[at], list[at+1] = list[at+1], list[at]
		at++
	}
}

// Timer is never called: the stage sets no timers.
func (o *profile) Timer(*operator.Context, string, *state, event.Time) {}

// Answer publishes the user's view.
func (o *profile) Answer(key string, s *state) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	v := &struct { // one allocation
		View
		types [8]tally.Count
	}{View: View{Interests: slices.Clone(s.interests), Patterns: s.patterns, LastUpdated: s.updated}}
	v.Patterns.Types = append(v.types[:0], s.patterns.Types...)
	v.Top = top(v.Interests, o.options.Top)
	o.view.Put(key, &v.View)
}

// top are the first of the interests that are above zero, at most limit.
func top(interests []Interest, limit int) []Interest {
	n := 0
	for n < len(interests) && n < limit && interests[n].Score > 0 {
		n++
	}
	return interests[:n:n]
}

// Append writes the interests in their order, then the patterns.
func (o *profile) Append(dst []byte, s *state) []byte {
	return appendBody(dst, s.interests, &s.patterns, s.updated)
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *profile) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("state version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	s.interests, s.patterns, s.updated = readBody(r)
	return r.End()
}
