// Package lastcategory is the worked example of docs/adding-an-operator.md: it
// keeps, for each user, how often in a row the user has stayed in one
// category, and forgets users who have been quiet for a week.
package lastcategory

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// ViewName is the view that the operator writes: user to Streak.
const ViewName = "last_category"

// quiet is how long a user's streak is kept.
const quiet = 7 * event.Day

// Streak is the answer for one user.
type Streak struct {
	Category string     `json:"category"`
	Events   int64      `json:"events"`
	Since    event.Time `json:"since"`
}

// AppendBinary appends the answer's bytes, so that two runs can be compared.
func (s *Streak) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendString(dst, s.Category)
	dst = wire.AppendVarint(dst, s.Events)
	return wire.AppendVarint(dst, int64(s.Since)), nil
}

// state is what is kept for one user. The zero value is a user never seen.
type state struct {
	streak Streak
	last   event.Time
}

type lastCategory struct{ view *operator.ViewPort[*Streak] }

// Add wires the operator to a stream of cleaned events, which is keyed by
// user already, so it is chained: no exchange.
func Add(in operator.Stream[event.Enriched]) operator.Handle {
	return operator.Chain(in, operator.Stage[string, state, event.Enriched]{
		Name: "last_category", Subject: operator.SubjectUser, Version: 1,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, state, event.Enriched] {
			return &lastCategory{view: operator.View[*Streak](p, ViewName)}
		},
	})
}

// Fold applies one event.
func (o *lastCategory) Fold(c *operator.Context, _ string, s *state, e *event.Enriched) {
	if len(e.Categories()) == 0 || e.Type == event.TypeImpression {
		c.Unchanged()
		return
	}
	if category := e.Categories()[0]; category != s.streak.Category {
		s.streak = Streak{Category: category, Since: c.Time}
	}
	s.streak.Events++
	c.DeleteTimer(s.last + quiet)
	s.last = max(s.last, c.Effective())
	c.SetTimer(s.last + quiet)
}

// Timer forgets a user who has been quiet.
func (o *lastCategory) Timer(c *operator.Context, _ string, _ *state, _ event.Time) { c.Forget() }

// Append writes the state.
func (o *lastCategory) Append(dst []byte, s *state) []byte {
	dst, _ = s.streak.AppendBinary(dst)
	return wire.AppendVarint(dst, int64(s.last))
}

// Load reads what Append wrote.
func (o *lastCategory) Load(_ uint8, src []byte, s *state) error {
	r := wire.NewReader(src)
	s.streak = Streak{Category: r.String(), Events: r.Varint(), Since: event.Time(r.Varint())}
	s.last = event.Time(r.Varint())
	return r.Err()
}

// Answer keeps the view.
func (o *lastCategory) Answer(user string, s *state) {
	if s == nil {
		o.view.Delete(user)
		return
	}
	streak := s.streak // the state goes on changing, the answer must not
	o.view.Put(user, &streak)
}
