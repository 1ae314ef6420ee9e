package cohort

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/publish"
	"millrace/recommend/decay"
	"millrace/recommend/heat"
)

// The names of the stages, ports, view and topic.
const (
	StageTastes = "tastes"
	StageName   = "cohort"
	ViewName    = "cohort" // by cohort, as event.User.Cohort names it: *Preferences
	PortRecords = "records"
	Topic       = "preferences"

	portTastes = "tastes"
)

// HalfLife is the half-life of preferences.
const HalfLife = heat.Month

// stateVersion is the version of the state's format.
const stateVersion = 1

// ErrOptions is the error of options that can not be.
var ErrOptions = errors.New("cohort: invalid options")

// Options of the stage.
type Options struct {
	// Shown is how many categories of a cohort are in the view and in what is
	// published.
	Shown int `json:"shown"`
	// Interval is the grid of event time at which changes are published, in
	// milliseconds; 0 publishes nothing.
	Interval event.Duration `json:"interval_ms,omitzero"`
}

// Defaults show 100 categories and publish nothing.
func Defaults() Options { return Options{Shown: 100} }

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	if o.Shown < 1 || o.Shown > 10_000 || o.Interval < 0 || o.Interval > event.Day {
		return fmt.Errorf("%w: shown %d, interval_ms %d: want 1 to 10,000 shown, and 0 to %d ms", ErrOptions, o.Shown, o.Interval, event.Day)
	}
	return nil
}

// taste is what events add to what a cohort likes.
type taste struct {
	Cohort   string
	Category string
	Amount   decay.Amount
	Events   int64
	Due      event.Time // when it is published, 0 if nothing is
}

func (t *taste) hash() uint64 { return xxhash.Sum64String(t.Category) }

func (t *taste) merge(in *taste) bool {
	if t.Category != in.Category || t.Due != in.Due || !t.Amount.Merge(in.Amount) {
		return false
	}
	t.Events += in.Events
	return true
}

// Add wires the operator to a stream of events that is keyed by user.
func Add(in operator.Stream[event.Enriched], types *event.Types, o Options) operator.Handle {
	if err := o.Validate(); err != nil {
		in.Refuse(err)
	}
	tastes := operator.Chain(in, operator.Stage[string, struct{}, event.Enriched]{
		Name: StageTastes, Subject: operator.SubjectUser, Version: stateVersion,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, struct{}, event.Enriched] {
			return &taster{options: o, types: types, out: operator.Out[taste](p, portTastes), cohorts: map[who][]string{}}
		},
	})
	return operator.Add(operator.From[taste](tastes, portTastes), operator.Stage[string, state, taste]{
		Name: StageName, Version: stateVersion,
		Key:     func(t *taste) string { return t.Cohort },
		Combine: &operator.Combiner[taste]{Hash: (*taste).hash, Merge: (*taste).merge},
		Codec:   tasteCodec(),
		New: func(p *operator.Ports) operator.Operator[string, state, taste] {
			return &cohorts{options: o, view: operator.View[*Preferences](p, ViewName), out: operator.Out[publish.Record](p, PortRecords)}
		},
	})
}

// who is what is known of a user.
type who struct{ age, gender string }

// taster makes tastes of events. It keeps nothing.
type taster struct {
	options Options
	types   *event.Types
	out     *operator.Output[taste]
	cohorts map[who][]string // their names
}

// mostKnown bounds the cohorts that are remembered: genders may be any text.
const mostKnown = 10_000

// Fold emits what an event says of the cohorts that its user is in.
func (o *taster) Fold(c *operator.Context, _ string, _ *struct{}, e *event.Enriched) {
	c.Unchanged()
	categories := e.Categories()
	if e.UserInfo == nil || len(categories) == 0 {
		return
	}
	weight := o.types.WeightMilli(&e.Event)
	if weight <= 0 {
		return
	}
	cohorts := o.cohortsOf(e.UserInfo)
	t := taste{Amount: HalfLife.Amount(c.Time, uint32(min(weight, decay.MaxMilli))), Events: 1, Due: o.options.due(c.Effective())}
	for _, cohort := range cohorts {
		t.Cohort = cohort
		for _, category := range categories {
			t.Category = category
			o.out.Emit(c.Time, t)
		}
	}
}

// due is when what counts at a moment is published: the end of the part of the
// grid that it is in.
func (o Options) due(at event.Time) event.Time {
	if o.Interval == 0 {
		return 0
	}
	return event.WindowStart(at, o.Interval) + o.Interval
}

func (o *taster) cohortsOf(u *event.User) []string {
	k := who{event.AgeBand(u.Age), u.Gender}
	list, ok := o.cohorts[k]
	if !ok {
		if len(o.cohorts) >= mostKnown {
			clear(o.cohorts)
		}
		for _, scope := range heat.CohortScopes(u) {
			list = append(list, scope[len(heat.CohortScope("")):])
		}
		o.cohorts[k] = list
	}
	return list
}

// Timer is never called.
func (o *taster) Timer(*operator.Context, string, *struct{}, event.Time) {}

// Append writes nothing: there is no state.
func (o *taster) Append(dst []byte, _ *struct{}) []byte { return dst }

// Load reads nothing.
func (o *taster) Load(uint8, []byte, *struct{}) error { return nil }

// state is what a cohort likes.
type state struct {
	liked []liked
	at    map[string]int // places in liked
	total decay.Sum      // of all categories
	open  []taste        // what is not in liked yet, as it is not published
	found map[opening]int
}

// liked is what a cohort likes of a category.
type liked struct {
	category string
	sum      decay.Sum
	events   int64
}

// opening tells what is open apart.
type opening struct {
	due      event.Time
	category string
	epoch    int64
}

func (t *taste) opening() opening { return opening{t.Due, t.Category, t.Amount.Epoch} }

// add takes a taste into what is liked.
func (s *state) add(t *taste) {
	i, ok := s.at[t.Category]
	if !ok {
		if s.at == nil {
			s.at = map[string]int{}
		}
		i = len(s.liked)
		s.at[t.Category] = i
		s.liked = append(s.liked, liked{category: t.Category})
	}
	s.liked[i].sum.Add(t.Amount)
	s.liked[i].events += t.Events
	s.total.Add(t.Amount)
}

// hold takes a taste into what is open.
func (s *state) hold(t *taste) {
	if i, ok := s.found[t.opening()]; ok {
		s.open[i].merge(t)
		return
	}
	if s.found == nil {
		s.found = map[opening]int{}
	}
	s.found[t.opening()] = len(s.open)
	s.open = append(s.open, *t)
	s.open[len(s.open)-1].Cohort = "" // it is the key
}

// close takes what is open until a moment into what is liked.
func (s *state) close(at event.Time) {
	s.open = slices.DeleteFunc(s.open, func(t taste) bool {
		if t.Due > at {
			return false
		}
		s.add(&t)
		return true
	})
	clear(s.found)
	for i := range s.open {
		s.found[s.open[i].opening()] = i
	}
}

type cohorts struct {
	options Options
	view    *operator.ViewPort[*Preferences]
	out     *operator.Output[publish.Record]
}

// Fold adds to what the cohort likes. What is published later is held apart until
// then, so that no later event is in it, whatever the engine.
func (o *cohorts) Fold(c *operator.Context, _ string, s *state, in *taste) {
	if in.Due == 0 {
		s.add(in)
		return
	}
	c.SetTimer(in.Due)
	s.hold(in)
}

// Timer publishes what the cohort likes as of then.
func (o *cohorts) Timer(c *operator.Context, cohort string, s *state, at event.Time) {
	s.close(at)
	if o.out.Connected() {
		o.out.Emit(at, publish.Record{Topic: Topic, Key: cohort, Value: s.preferences(o.options.Shown).record(cohort, at)})
	}
}

// preferences are what the cohort likes, without what is open.
func (s *state) preferences(most int) *Preferences {
	p := &Preferences{Total: s.total.Value(), Categories: make([]Preference, len(s.liked))}
	for i := range s.liked {
		l := &s.liked[i]
		p.Categories[i] = Preference{Category: l.category, Value: l.sum.Value(), Events: l.events}
	}
	slices.SortFunc(p.Categories, func(a, b Preference) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Category, b.Category))
	})
	if len(p.Categories) > most {
		p.Categories = slices.Clone(p.Categories[:most])
	}
	return p
}

// Answer keeps what the cohort likes, with what is open.
func (o *cohorts) Answer(cohort string, s *state) {
	switch {
	case s == nil:
		o.view.Delete(cohort)
	case len(s.open) == 0:
		o.view.Put(cohort, s.preferences(o.options.Shown))
	default:
		all := &state{liked: slices.Clone(s.liked), at: maps.Clone(s.at), total: s.total}
		for i := range s.open {
			all.add(&s.open[i])
		}
		o.view.Put(cohort, all.preferences(o.options.Shown))
	}
}

// Append writes the categories in the order of their names, and what is open by
// due, name and epoch.
func (o *cohorts) Append(dst []byte, s *state) []byte {
	dst = s.total.Append(dst)
	order := slices.Clone(s.liked)
	slices.SortFunc(order, func(a, b liked) int { return cmp.Compare(a.category, b.category) })
	dst = wire.AppendUvarint(dst, uint64(len(order)))
	for i := range order {
		dst = wire.AppendString(dst, order[i].category)
		dst = order[i].sum.Append(dst)
		dst = wire.AppendVarint(dst, order[i].events)
	}
	open := slices.Clone(s.open)
	slices.SortFunc(open, func(a, b taste) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.Category, b.Category), cmp.Compare(a.Amount.Epoch, b.Amount.Epoch))
	})
	dst = wire.AppendUvarint(dst, uint64(len(open)))
	for i := range open {
		t := &open[i]
		dst = wire.AppendVarint(dst, int64(t.Due))
		dst = wire.AppendString(dst, t.Category)
		dst = wire.AppendVarint(dst, t.Amount.Epoch)
		dst = wire.AppendUvarint(dst, t.Amount.Units)
		dst = wire.AppendVarint(dst, t.Events)
	}
	return dst
}

// Load reads what Append wrote.
func (o *cohorts) Load(version uint8, src []byte, s *state) error {
	if version != stateVersion {
		return fmt.Errorf("cohort: state: %w %d", event.ErrVersion, version)
	}
	r := wire.NewReader(src)
	s.total.Read(r)
	n := r.Count()
	s.at = map[string]int{}
	for range n {
		l := liked{category: r.String()}
		l.sum.Read(r)
		l.events = r.Varint()
		s.at[l.category] = len(s.liked)
		s.liked = append(s.liked, l)
	}
	for range r.Count() {
		t := taste{Due: event.Time(r.Varint()), Category: r.String()}
		t.Amount = decay.Amount{Epoch: r.Varint(), Units: r.Uvarint()}
		t.Events = r.Varint()
		s.hold(&t)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("cohort: state: %w", err)
	}
	return nil
}
