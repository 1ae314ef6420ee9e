package heat

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/decay"
)

// impulse is what an event, or several, add to the heat of an item.
type impulse struct {
	Item       string
	Categories []string
	Age        string // the age band of the users, "" if not known
	Gender     string
	Amounts    [halfLives]decay.Amount
	Events     int64
	Time       event.Time // the largest event time
}

// cohort is who an impulse came from.
type cohort struct{ age, gender string }

func (i *impulse) cohort() cohort { return cohort{i.Age, i.Gender} }

func (i *impulse) hash() uint64 { return xxhash.Sum64String(i.Age) ^ xxhash.Sum64String(i.Gender)<<1 }

// merge adds an impulse of the same item, categories, cohort and epochs.
func (i *impulse) merge(in *impulse) bool {
	if i.cohort() != in.cohort() || !slices.Equal(i.Categories, in.Categories) {
		return false
	}
	for k := range i.Amounts {
		if i.Amounts[k].Epoch != in.Amounts[k].Epoch {
			return false
		}
	}
	for k := range i.Amounts {
		i.Amounts[k].Merge(in.Amounts[k])
	}
	i.Events += in.Events
	i.Time = max(i.Time, in.Time)
	return true
}

// impulses makes impulses of events. It keeps nothing.
type impulses struct {
	types *event.Types
	out   *operator.Output[impulse]
}

// Fold emits an impulse for an event that weighs something.
func (o *impulses) Fold(c *operator.Context, _ string, _ *struct{}, e *event.Enriched) {
	c.Unchanged()
	weight := o.types.WeightMilli(&e.Event)
	if weight <= 0 {
		return
	}
	i := impulse{Item: e.Item, Categories: e.Categories(), Events: 1, Time: c.Time}
	if u := e.UserInfo; u != nil {
		i.Age, i.Gender = event.AgeBand(u.Age), u.Gender
	}
	for k, h := range kept {
		i.Amounts[k] = h.Amount(c.Time, uint32(min(weight, decay.MaxMilli)))
	}
	o.out.Emit(c.Time, i)
}

// Timer is never called.
func (o *impulses) Timer(*operator.Context, string, *struct{}, event.Time) {}

// Append writes nothing: there is no state.
func (o *impulses) Append(dst []byte, _ *struct{}) []byte { return dst }

// Load reads nothing.
func (o *impulses) Load(uint8, []byte, *struct{}) error { return nil }

// ScopeAll is the scope of all items and all users.
const ScopeAll = "all"

// CategoryScope is the scope of a category.
func CategoryScope(category string) string { return "category:" + category }

// CohortScope is the scope of a cohort, named as event.User.Cohort names it.
func CohortScope(name string) string { return "cohort:" + name }

// CohortScopes are the scopes of the cohorts that a user is in, the narrowest
// first: age band and gender together, then each alone.
func CohortScopes(u *event.User) []string {
	if u == nil {
		return nil
	}
	return cohort{event.AgeBand(u.Age), u.Gender}.scopes()
}

func (c cohort) scopes() []string {
	var list []string
	if c.age != "" && c.gender != "" {
		list = append(list, CohortScope("age:"+c.age+"/gender:"+c.gender))
	}
	if c.age != "" {
		list = append(list, CohortScope("age:"+c.age))
	}
	if c.gender != "" {
		list = append(list, CohortScope("gender:"+c.gender))
	}
	return list
}

// compareScopes orders ScopeAll first, the others by name.
func compareScopes(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ScopeAll:
		return -1
	case b == ScopeAll:
		return 1
	}
	return strings.Compare(a, b)
}
