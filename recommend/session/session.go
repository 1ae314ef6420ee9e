package session

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// The names of the stage, its ports and its view.
const (
	StageName    = "session"
	PortSessions = "sessions" // Closed: every session that has ended
	PortLate     = "late"     // Late: events that came after their session had closed
	ViewName     = "session"
)

// stateVersion is the version of the state's format.
const stateVersion = 1

// ErrOptions is the error of options that cannot be used.
var ErrOptions = errors.New("session: invalid options")

// Options of the stage.
type Options struct {
	// Gap is the pause, in milliseconds, after which a session has ended.
	Gap event.Duration `json:"gap_ms"`
	// Items is how many items of a session are kept.
	Items int `json:"items"`
}

// Defaults are a gap of 30 minutes and 100 items.
func Defaults() Options { return Options{Gap: 30 * event.Minute, Items: 100} }

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	switch {
	case o.Gap < event.Millisecond || o.Gap > 366*event.Day:
		return fmt.Errorf("%w: gap_ms is %d, expected 1 to %d", ErrOptions, o.Gap, 366*event.Day)
	case o.Items < 1 || o.Items > 10_000:
		return fmt.Errorf("%w: items is %d, expected 1 to 10000", ErrOptions, o.Items)
	}
	return nil
}

// Closed is a session that has ended.
type Closed struct {
	User   string     `json:"user_id"`
	Start  event.Time `json:"start"`  // of its first event
	End    event.Time `json:"end"`    // Last and the gap; exclusive
	Last   event.Time `json:"last"`   // of its last event
	Events int64      `json:"events"` // impressions too
	Items  []string   `json:"items"`  // met last first; not to be changed
}

// Late is an event that came after its session had closed.
type Late struct {
	User string     `json:"user_id"`
	Item string     `json:"item_id"`
	Type string     `json:"event_type"`
	Time event.Time `json:"time"`
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
			return &session{
				options:  o,
				sessions: operator.Out[Closed](p, PortSessions),
				late:     operator.Out[Late](p, PortLate),
				view:     operator.View[*View](p, ViewName),
			}
		},
	}
}

// session is the stage's operator.
type session struct {
	options  Options
	sessions *operator.Output[Closed]
	late     *operator.Output[Late]
	view     *operator.ViewPort[*View]
}

// closes is when a session closes: the last millisecond of its window. A user
// with open sessions has a timer at or before the first such moment. The
// timer is not moved when a session is prolonged: one that finds nothing to
// close sets the next.
func (o *session) closes(last event.Time) event.Time { return last + o.options.Gap - 1 }

// Fold takes an event into its session.
func (o *session) Fold(c *operator.Context, _ string, s *state, e *event.Enriched) {
	from, to := s.touched(e.Time, o.options.Gap)
	if from == to {
		if o.closes(e.Time) <= c.Watermark {
			c.Unchanged()
			o.late.Emit(e.Time, Late{User: e.User, Item: e.Item, Type: e.Type, Time: e.Time})
			return
		}
		s.open(from, e.Time)
		c.SetTimer(o.closes(e.Time))
	} else if to > from+1 {
		s.join(from, to, o.options.Items)
	}
	now := &s.opened[from]
	now.start, now.last = min(now.start, e.Time), max(now.last, e.Time)
	now.events++
	if e.Type != event.TypeImpression {
		now.meet(e.Item, e.Time, o.options.Items)
	}
}

// Timer closes the sessions that have ended.
func (o *session) Timer(c *operator.Context, key string, s *state, at event.Time) {
	next := event.MaxTime
	left := s.opened[:0]
	for i := range s.opened {
		x := &s.opened[i]
		if closes := o.closes(x.last); closes > at {
			next = min(next, closes)
			left = append(left, *x)
			continue
		}
		s.closed++
		s.closedLength += x.last - x.start
		o.sessions.Emit(at, Closed{
			User: key, Start: x.start, End: x.last + o.options.Gap, Last: x.last, Events: x.events, Items: x.newest(o.options.Items),
		})
	}
	clear(s.opened[len(left):])
	s.opened = left
	if len(left) > 0 {
		c.SetTimer(next)
	}
}

// Answer publishes the user's view.
func (o *session) Answer(key string, s *state) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	v := &struct { // one allocation
		View
		open Open
	}{View: View{ClosedSessions: s.closed, ClosedLength: s.closedLength}}
	if n := len(s.opened); n > 0 {
		x := &s.opened[n-1]
		v.open = Open{Start: x.start, Last: x.last, Events: x.events, Items: x.newest(o.options.Items)}
		v.Open = &v.open
	}
	o.view.Put(key, &v.View)
}

// Append writes the open sessions in the order of their starts.
func (o *session) Append(dst []byte, s *state) []byte {
	dst = wire.AppendVarint(dst, s.closed)
	dst = wire.AppendVarint(dst, int64(s.closedLength))
	dst = wire.AppendUvarint(dst, uint64(len(s.opened)))
	for i := range s.opened {
		dst = s.opened[i].append(dst, o.options.Items)
	}
	return dst
}

// Load reads what Append wrote. Its errors are event.ErrVersion and
// wire.ErrCorrupt.
func (o *session) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("state version %d: %w", version, event.ErrVersion)
	}
	r := wire.NewReader(src)
	s.closed, s.closedLength = r.Varint(), event.Duration(r.Varint())
	for range r.Count() {
		s.opened = append(s.opened, readOpened(r))
		if r.Err() != nil {
			break
		}
	}
	return r.End()
}
