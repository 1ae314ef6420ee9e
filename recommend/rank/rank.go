package rank

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"millrace/event"
	"millrace/view"
)

// ErrUnknownRecipe is the error of a request for a recipe that does not exist.
var ErrUnknownRecipe = errors.New("unknown recipe")

// DefaultRecipe is the name of the recipe that a request gets which names none.
const DefaultRecipe = "default"

// Catalogue is what ranking needs to know of items and users; values may be
// nil. catalog.Index is one.
type Catalogue interface {
	Item(id string) *event.Item
	// HashedItem is Item for whoever knows event.HashID of the id.
	HashedItem(id string, hash uint64) *event.Item
	User(id string) *event.User
	// Newest are the newest items of a category that are not hidden, newest
	// first; "" means all categories.
	Newest(category string, n int) []*event.Item
}

// Request is what is asked for.
type Request struct {
	// User is who the list is for; "" for an anonymous session.
	User string
	// Session are the items of an anonymous session, newest last.
	Session []string
	// N is how many recommendations are wanted, after skipping Offset.
	N, Offset int
	// Category, if not "", allows only items of that category.
	Category string
	// ExcludeSeen leaves out what the user has already interacted with.
	ExcludeSeen bool
	// Recipe names a set of weights; "" is DefaultRecipe.
	Recipe string
	// Explain asks for what each source contributed.
	Explain bool
}

// Recommendation is one item of a list.
type Recommendation struct {
	Item, Title string
	// Score orders the list. It is comparable within one list only.
	Score float64
	// Reason says in words why the item is here.
	Reason string
	// Source is the source that contributed most.
	Source string
	// Time is the event time of what the reason is based on: the user's own
	// event, or the last event of a trending item. 0 if there is none.
	Time event.Time
	// Explain is each source's share of the score, if it was asked for.
	Explain map[string]float64
}

// Ranker recommends. It is safe for concurrent use.
type Ranker struct {
	catalogue Catalogue
	recipes   map[string]Weights
	scratch   sync.Pool
}

// New makes a Ranker. recipes maps names to weights, besides the default
// recipe, which they may replace.
func New(c Catalogue, recipes map[string]Weights) *Ranker {
	r := &Ranker{catalogue: c, recipes: map[string]Weights{DefaultRecipe: DefaultWeights()}}
	maps.Copy(r.recipes, recipes)
	r.scratch.New = func() any { return &gathering{} }
	return r
}

// Recommend ranks for a request on one snapshot of the views. An unknown user
// gets what is trending. The error wraps ErrUnknownRecipe.
func (r *Ranker) Recommend(s view.Reader, streamTime event.Time, q Request) ([]Recommendation, error) {
	weights, ok := r.recipes[cmp.Or(q.Recipe, DefaultRecipe)]
	if !ok {
		return nil, fmt.Errorf("%w: %q: there are %v", ErrUnknownRecipe, q.Recipe, slices.Sorted(maps.Keys(r.recipes)))
	}
	g := r.scratch.Get().(*gathering)
	defer r.scratch.Put(g)
	g.begin(r.catalogue, s, streamTime, q)
	g.gather(q.Offset + q.N)
	list := g.best(g.blend(weights), q.Offset+q.N)
	slices.SortFunc(list, func(a, b scored) int {
		if c := cmp.Compare(b.score, a.score); c != 0 {
			return c
		}
		return cmp.Compare(a.item, b.item)
	})
	list = explore(list, weights.Exploration, turn(q, streamTime))
	list = list[min(q.Offset, len(list)):]
	list = list[:min(q.N, len(list))]
	out := make([]Recommendation, len(list))
	for i := range list {
		out[i] = g.present(&list[i], weights)
	}
	return out, nil
}
