package heat

import (
	"errors"
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/recommend/decay"
)

// The names of stages, ports and views.
const (
	StageImpulses = "impulses"
	StageHeat     = "heat"
	StageTrending = "trending"
	HeatView      = "heat"     // by item: *Heat
	TrendingView  = "trending" // by TrendingKey: *Trending

	portImpulses = "impulses"
	portWarm     = "warm"
)

// The half-lives that heat is kept at.
const (
	Hour  = decay.HalfLife(event.Hour)
	Day   = decay.HalfLife(event.Day)
	Week  = decay.HalfLife(7 * event.Day)
	Month = decay.HalfLife(30 * event.Day)
)

// halfLives is how many half-lives there are.
const halfLives = 4

var kept = [halfLives]decay.HalfLife{Hour, Day, Week, Month}

var names = [halfLives]string{"1h", "1d", "7d", "30d"}

// HalfLives are the half-lives and their names, shortest first.
func HalfLives() (list []decay.HalfLife, listNames []string) {
	return slices.Clone(kept[:]), slices.Clone(names[:])
}

// ErrOptions is the error of options that can not be.
var ErrOptions = errors.New("heat: invalid options")

// stateVersion is the version of both stages' state format.
const stateVersion = 1

// Options of the trending lists.
type Options struct {
	// Kept is how many items a list keeps.
	Kept int `json:"kept"`
	// Shown is how many of them are in the view.
	Shown int `json:"shown"`
}

// Defaults keep 200 items and show 100.
func Defaults() Options { return Options{Kept: 200, Shown: 100} }

// Validate returns an ErrOptions if the options can not be.
func (o Options) Validate() error {
	if o.Kept < 1 || o.Kept > 10_000 || o.Shown < 1 || o.Shown > o.Kept {
		return fmt.Errorf("%w: kept %d, shown %d: want 1 to 10,000 kept, and no more shown", ErrOptions, o.Kept, o.Shown)
	}
	return nil
}

// Handles are the stages that Add adds.
type Handles struct{ Impulses, Heat, Trending operator.Handle }

// Add wires the operator to a stream of events that is keyed by user.
func Add(in operator.Stream[event.Enriched], types *event.Types, o Options) Handles {
	var h Handles
	h.Impulses = operator.Chain(in, operator.Stage[string, struct{}, event.Enriched]{
		Name: StageImpulses, Subject: operator.SubjectUser, Version: stateVersion,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, struct{}, event.Enriched] {
			return &impulses{types: types, out: operator.Out[impulse](p, portImpulses)}
		},
	})
	h.Heat = operator.Add(operator.From[impulse](h.Impulses, portImpulses), operator.Stage[string, state, impulse]{
		Name: StageHeat, Subject: operator.SubjectItem, Version: stateVersion,
		Key:     func(i *impulse) string { return i.Item },
		Combine: &operator.Combiner[impulse]{Hash: (*impulse).hash, Merge: (*impulse).merge},
		Codec:   impulseCodec(),
		New:     func(p *operator.Ports) operator.Operator[string, state, impulse] { return newHeats(p) },
	})
	h.Trending = operator.Add(operator.From[warm](h.Heat, portWarm), operator.Stage[string, boards, warm]{
		Name: StageTrending, Version: stateVersion,
		Key:     func(w *warm) string { return w.Scope },
		Combine: &operator.Combiner[warm]{Hash: (*warm).hash, Merge: (*warm).merge},
		Codec:   warmCodec(),
		New: func(p *operator.Ports) operator.Operator[string, boards, warm] {
			return &trending{options: o, view: operator.View[*Trending](p, TrendingView)}
		},
	})
	return h
}

// state is one item's heat by scope, in the order in which the scopes came.
type state struct {
	scopes []scopeHeat
	count  int64      // events
	last   event.Time // the largest event time
}

// scopeHeat is the heat within a scope.
type scopeHeat struct {
	scope scopeID
	sums  [halfLives]decay.Sum
	last  event.Time
}

// scopeID is an instance's own number for a scope, so that finding a scope's
// heat compares numbers and no text. It is in no state's bytes.
type scopeID uint32

// scopeAll is the number of ScopeAll.
const scopeAll scopeID = 0

type heats struct {
	out  *operator.Output[warm]
	view *operator.ViewPort[*Heat]

	names      []string           // of scopes, by number
	numbers    map[string]scopeID // the other way round
	cohorts    map[cohort][]scopeID
	categories map[string]string // names of their scopes
}

func newHeats(p *operator.Ports) *heats {
	h := &heats{
		out: operator.Out[warm](p, portWarm), view: operator.View[*Heat](p, HeatView),
		numbers: map[string]scopeID{}, cohorts: map[cohort][]scopeID{}, categories: map[string]string{},
	}
	h.number(ScopeAll)
	return h
}

// number is the number of a scope, given if it has none yet.
func (h *heats) number(scope string) scopeID {
	id, ok := h.numbers[scope]
	if !ok {
		id = scopeID(len(h.names))
		h.names = append(h.names, scope)
		h.numbers[scope] = id
	}
	return id
}

// Fold adds an impulse to the item's heat overall and in the cohorts, and tells
// the lists of all the scopes that it is in.
func (h *heats) Fold(c *operator.Context, item string, s *state, in *impulse) {
	s.count += in.Events
	s.last = max(s.last, in.Time)
	overall := h.heatOf(s.add(scopeAll, in))
	h.tell(c, item, ScopeAll, &overall)
	for _, category := range in.Categories {
		h.tell(c, item, h.categoryScope(category), &overall)
	}
	for _, scope := range h.cohortScopes(in.cohort()) {
		w := h.heatOf(s.add(scope, in))
		h.tell(c, item, h.names[scope], &w)
	}
}

// add adds an impulse to the heat within a scope.
func (s *state) add(scope scopeID, in *impulse) *scopeHeat {
	i := 0
	for i < len(s.scopes) && s.scopes[i].scope != scope {
		i++
	}
	if i == len(s.scopes) {
		s.scopes = append(s.scopes, scopeHeat{scope: scope, last: event.MinTime})
	}
	x := &s.scopes[i]
	for k := range x.sums {
		x.sums[k].Add(in.Amounts[k])
	}
	x.last = max(x.last, in.Time)
	return x
}

// heatOf is what a scope's list is to be told.
func (h *heats) heatOf(x *scopeHeat) warm {
	w := warm{Last: x.last}
	for k := range x.sums {
		w.Heat[k] = x.sums[k].Value()
	}
	return w
}

// tell sends an item's new heat to a scope's list.
func (h *heats) tell(c *operator.Context, item, scope string, w *warm) {
	w.Scope, w.Item = scope, item
	h.out.Emit(c.Time, *w)
}

// categoryScope is the scope of a category, remembered.
func (h *heats) categoryScope(category string) string {
	scope, ok := h.categories[category]
	if !ok {
		scope = CategoryScope(category)
		h.categories[category] = scope
	}
	return scope
}

// cohortScopes are the scopes of a cohort, remembered.
func (h *heats) cohortScopes(c cohort) []scopeID {
	if c == (cohort{}) {
		return nil
	}
	list, ok := h.cohorts[c]
	if !ok {
		for _, scope := range c.scopes() {
			list = append(list, h.number(scope))
		}
		h.cohorts[c] = list
	}
	return list
}

// Timer is never called: heat sets no timers.
func (h *heats) Timer(*operator.Context, string, *state, event.Time) {}

// Answer keeps the item's overall heat.
func (h *heats) Answer(item string, s *state) {
	if s == nil {
		h.view.Delete(item)
		return
	}
	answer := &Heat{Events: s.count, Last: s.last}
	for k := range answer.Values {
		answer.Values[k] = s.scopes[0].sums[k].Value() // ScopeAll came first
	}
	h.view.Put(item, answer)
}

// Append writes the scopes in the order of their names, as their numbers
// differ from instance to instance.
func (h *heats) Append(dst []byte, s *state) []byte {
	dst = wire.AppendVarint(dst, s.count)
	dst = wire.AppendVarint(dst, int64(s.last))
	dst = wire.AppendUvarint(dst, uint64(len(s.scopes)))
	order := make([]int, len(s.scopes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return compareScopes(h.names[s.scopes[i].scope], h.names[s.scopes[j].scope]) })
	for _, i := range order {
		x := &s.scopes[i]
		dst = wire.AppendString(dst, h.names[x.scope])
		dst = wire.AppendVarint(dst, int64(x.last))
		for k := range x.sums {
			dst = x.sums[k].Append(dst)
		}
	}
	return dst
}

// Load reads what Append wrote.
func (h *heats) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("heat: state: %w %d", event.ErrVersion, version)
	}
	r := wire.NewReader(src)
	s.count, s.last = r.Varint(), event.Time(r.Varint())
	for range r.Count() {
		x := scopeHeat{scope: h.number(r.String()), last: event.Time(r.Varint())}
		for k := range x.sums {
			x.sums[k].Read(r)
		}
		s.scopes = append(s.scopes, x)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("heat: state: %w", err)
	}
	return nil
}
