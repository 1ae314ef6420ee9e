package activity

import (
	"errors"
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/recommend/names"
	"millrace/recommend/tally"
)

// The names of the stage, its ports and its view.
const (
	StageName   = "activity"
	PortRatings = "ratings" // Rating: the latest of each user and window
	PortLate    = "late"    // Rating: those whose window had closed
	ViewName    = "activity"
)

// stateVersion is the version of the state's format.
const stateVersion = 1

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("activity: invalid options")

// Options of the stage.
type Options struct {
	// Recent is how many of the newest interactions are kept.
	Recent int `json:"recent"`
	// Seen is how many seen items are kept.
	Seen int `json:"seen"`
	// RatingWindow is the length of the windows of which the latest rating is
	// emitted, in milliseconds.
	RatingWindow event.Duration `json:"rating_window_ms"`
}

// Defaults are 50 recent interactions, 10,000 seen items and windows of a
// second.
func Defaults() Options {
	return Options{Recent: 50, Seen: 10_000, RatingWindow: event.Second}
}

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	switch {
	case o.Recent < 1 || o.Recent > 10_000:
		return fmt.Errorf("%w: recent is %d, expected 1 to 10000", ErrOptions, o.Recent)
	case o.Seen < 1 || o.Seen > 1_000_000:
		return fmt.Errorf("%w: seen is %d, expected 1 to 1000000", ErrOptions, o.Seen)
	case o.RatingWindow < event.Millisecond || o.RatingWindow > event.Day:
		return fmt.Errorf("%w: rating_window_ms is %d, expected 1 to %d", ErrOptions, o.RatingWindow, event.Day)
	}
	return nil
}

// Rated is a rating that a user gave, and its window.
type Rated struct {
	Item        string     `json:"item_id"`
	Value       float64    `json:"value"`
	Time        event.Time `json:"time"`
	WindowStart event.Time `json:"window_start"`
}

// Rating is a rating as it is emitted.
type Rating struct {
	User string `json:"user_id"`
	Rated
}

// Add chains the stage to clean's events.
func Add(in operator.Stream[event.Enriched], o Options) operator.Handle {
	return operator.Chain(in, stage(o))
}

func stage(o Options) operator.Stage[string, state, event.Enriched] {
	return operator.Stage[string, state, event.Enriched]{
		Name:    StageName,
		Subject: operator.SubjectUser,
		Version: stateVersion,
		Key:     func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, state, event.Enriched] {
			return &activity{
				options: o,
				items:   names.New(),
				ratings: operator.Out[Rating](p, PortRatings),
				late:    operator.Out[Rating](p, PortLate),
				view:    operator.View[*View](p, ViewName),
			}
		},
	}
}

// state is what is known of one user.
type state struct {
	browsed  int64
	counts   tally.Counts
	lastSeen event.Time // meaningful when counts is not empty
	recent   recent
	seen     Seen
	windows  []Rated // the latest rating of each window that is open, by window
	last     *Rated  // the last that was emitted, nil if none was; immutable
}

// activity is the stage's operator.
type activity struct {
	options Options
	items   *names.Table // of the users' seen items
	ratings *operator.Output[Rating]
	late    *operator.Output[Rating]
	view    *operator.ViewPort[*View]
}

// Fold counts an event and remembers its item.
func (o *activity) Fold(c *operator.Context, _ string, s *state, e *event.Enriched) {
	if len(s.counts) == 0 || e.Time > s.lastSeen {
		s.lastSeen = e.Time
	}
	s.counts.Add(e.Type, 1)
	if e.Type == event.TypeImpression {
		return
	}
	s.browsed++
	x := Interaction{Item: e.Item, Type: e.Type, Time: e.Time}
	if e.HasValue {
		x.Value, x.HasValue = e.Value, true
	}
	s.recent.add(x, o.options.Recent)
	s.seen.add(e.Item, o.items, o.options.Seen)
	if e.Type == event.TypeRating && e.HasValue {
		o.rate(c, s, e)
	}
}

// rate takes a rating into its window.
func (o *activity) rate(c *operator.Context, s *state, e *event.Enriched) {
	start := event.WindowStart(e.Time, o.options.RatingWindow)
	rated := Rated{Item: e.Item, Value: e.Value, Time: e.Time, WindowStart: start}
	if o.closes(start) <= c.Watermark {
		o.late.Emit(e.Time, Rating{e.User, rated})
		return
	}
	at := len(s.windows)
	for at > 0 && s.windows[at-1].WindowStart > start {
		at--
	}
	if at > 0 && s.windows[at-1].WindowStart == start {
		if e.Time >= s.windows[at-1].Time {
			s.windows[at-1] = rated
		}
		return
	}
	s.windows = slices.Insert(s.windows, at, rated)
	if at == 0 {
		c.SetTimer(o.closes(start))
	}
}

// closes is when a window closes: its last millisecond. A user with open
// windows has a timer at or before the end of the first.
func (o *activity) closes(start event.Time) event.Time {
	return start + o.options.RatingWindow - 1
}

// Timer closes the windows that have ended and emits their ratings.
func (o *activity) Timer(c *operator.Context, key string, s *state, at event.Time) {
	closed := 0
	for _, rated := range s.windows {
		if o.closes(rated.WindowStart) > at {
			c.SetTimer(o.closes(rated.WindowStart))
			break
		}
		o.ratings.Emit(at, Rating{key, rated})
		closed++
	}
	if closed > 0 {
		last := s.windows[closed-1]
		s.last = &last
		s.windows = slices.Delete(s.windows, 0, closed)
	}
}

// Answer publishes the user's view. Recent and seen items are shared with the
// state, which only ever adds to what it has handed out.
func (o *activity) Answer(key string, s *state) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	v := &struct { // one allocation
		View
		counts [8]tally.Count
	}{View: s.view()}
	v.Counts = append(v.counts[:0], s.counts...)
	o.view.Put(key, &v.View)
}

// Append writes the state: what its view holds, and the open windows.
func (o *activity) Append(dst []byte, s *state) []byte {
	v := s.view()
	dst = v.appendBody(dst)
	dst = wire.AppendUvarint(dst, uint64(len(s.windows)))
	for i := range s.windows {
		dst = s.windows[i].append(dst)
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *activity) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("state version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	v := readBody(r, o.items)
	s.browsed, s.counts, s.lastSeen, s.last = v.BrowseCount, v.Counts, v.LastSeen, v.LastRating
	s.recent = recent{buffer: v.Recent, count: len(v.Recent)}
	s.seen = v.Seen
	for range r.Count() {
		s.windows = append(s.windows, readRated(r))
		if r.Err() != nil {
			break
		}
	}
	return r.End()
}
