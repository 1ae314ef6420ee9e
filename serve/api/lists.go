package api

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"

	"millrace/event"
	"millrace/recommend/cohort"
	"millrace/recommend/decay"
	"millrace/recommend/heat"
	"millrace/serve/problem"
	"millrace/serve/strict"
	"millrace/view"
)

// TrendingInput is the request of GET /v1/trending.
type TrendingInput struct {
	N        int    `query:"n" minimum:"1" maximum:"1000" default:"10" doc:"How many at most." example:"20"`
	Category string `query:"category" doc:"Only items of this category." example:"Drama"`
	Cohort   string `query:"cohort" doc:"What is popular with these people: an age band, a gender, or both, as of their events. Not together with category." example:"age:25-34/gender:f"`
	HalfLife string `query:"half_life" enum:"1h,1d,7d,30d" default:"7d" doc:"The time after which an event counts half." example:"1d"`
}

// TrendingOutput is the answer of GET /v1/trending.
type TrendingOutput struct {
	Body struct {
		AsOf  *string   `json:"as_of" format:"date-time" doc:"Stream time of the state that was read; null before the first event."`
		Items []HotItem `json:"items" doc:"Hottest first."`
	}
}

// HotItem is an item that is popular.
type HotItem struct {
	ItemID string  `json:"item_id"`
	Title  string  `json:"title,omitempty" doc:"Absent where the catalogue has none."`
	Heat   float64 `json:"heat" doc:"The sum of the weights of the item's events, each halved with every half-life that has passed since, as of as_of."`
}

func (a *API) trending(_ context.Context, in *TrendingInput) (*TrendingOutput, error) {
	scope, err := in.scope()
	if err != nil {
		return nil, err
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	out := &TrendingOutput{}
	half := halfLife(in.HalfLife)
	view.Prefetch(s, view.Key{View: heat.TrendingView, Key: heat.TrendingKey(scope, half)})
	out.Body.AsOf, out.Body.Items = asOf(s), []HotItem{}
	list, ok := lookup[*heat.Trending](s, heat.TrendingView, heat.TrendingKey(scope, half))
	if !ok {
		return out, view.Err(s)
	}
	for i := range list.Len() {
		if len(out.Body.Items) == in.N {
			break
		}
		hot := list.At(i)
		if item := a.shown(hot.Item, in.Category); item != nil {
			out.Body.Items = append(out.Body.Items, HotItem{item.ID, item.Title, rounded(hot.Heat.At(half, s.StreamTime()))})
		}
	}
	return out, view.Err(s)
}

// rounded is a heat to six places: more of it is noise.
func rounded(heat float64) float64 { return math.Round(heat*1e6) / 1e6 }

// scope is the name of the list that is asked for.
func (in *TrendingInput) scope() (string, error) {
	if err := strict.CheckOptional("category", in.Category); err != nil {
		return "", err
	}
	if err := strict.CheckOptional("cohort", in.Cohort); err != nil {
		return "", err
	}
	switch {
	case in.Category != "" && in.Cohort != "":
		return "", problem.BadField("cohort", "category or cohort, not both", in.Cohort)
	case in.Category != "":
		return heat.CategoryScope(in.Category), nil
	case in.Cohort != "":
		cohort, ok := cohortName(in.Cohort)
		if !ok {
			return "", problem.BadField("cohort", cohortWanted, in.Cohort)
		}
		return heat.CohortScope(cohort), nil
	}
	return heat.ScopeAll, nil
}

// cohortWanted says which cohorts there are.
var cohortWanted = "age:BAND, gender:NAME or age:BAND/gender:NAME, the bands being " + strings.Join(event.AgeBands(), ", ")

// cohortName is the cohort that a request names, spelled as event.User.Cohort
// gives it or a part of it; false if there can be none of that name.
func cohortName(asked string) (string, bool) {
	asked = strings.ToLower(asked)
	if gender, ok := strings.CutPrefix(asked, "gender:"); ok {
		return "gender:" + event.Gender(gender), gender != ""
	}
	band, gender, both := strings.Cut(asked, "/gender:")
	if both {
		asked = band + "/gender:" + event.Gender(gender)
	}
	band, ok := strings.CutPrefix(band, "age:")
	return asked, ok && slices.Contains(event.AgeBands(), band) && (!both || gender != "")
}

// halfLife is the half-life of a name; huma has checked that it is one.
func halfLife(name string) decay.HalfLife {
	list, names := heat.HalfLives()
	return list[max(0, slices.Index(names, name))]
}

// shown is an item that may be in a list, nil if it is unknown, hidden, or
// not of the category any more.
func (a *API) shown(id, category string) *event.Item {
	item := a.parts.Index.Item(id)
	if item == nil || item.Hidden || category != "" && !slices.Contains(item.Categories, category) {
		return nil
	}
	return item
}

// NeighborsInput is the request of GET /v1/items/{id}/neighbors.
type NeighborsInput struct {
	ItemID
	N        int    `query:"n" minimum:"1" maximum:"1000" default:"10" doc:"How many at most." example:"20"`
	Category string `query:"category" doc:"Only items of this category." example:"Drama"`
}

// NeighborsOutput is the answer of GET /v1/items/{id}/neighbors.
type NeighborsOutput struct {
	Body struct {
		ItemID    string     `json:"item_id"`
		AsOf      *string    `json:"as_of" format:"date-time" doc:"Stream time of the state that was read; null before the first event."`
		Neighbors []Neighbor `json:"neighbors" doc:"Strongest first."`
	}
}

// Neighbor is an item that goes with another.
type Neighbor struct {
	ItemID string  `json:"item_id"`
	Title  string  `json:"title,omitempty" doc:"Absent where the catalogue has none."`
	Score  float64 `json:"score" doc:"Comparable within one list only."`
}

// partners is what the view of neighbours holds for an item, strongest first.
type partners interface {
	Len() int
	Item(rank int) string
	Score(rank int) float64
}

// neighborsView is the name of the view of neighbours.
const neighborsView = "neighbors"

func (a *API) neighbors(_ context.Context, in *NeighborsInput) (*NeighborsOutput, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	if err := strict.CheckOptional("category", in.Category); err != nil {
		return nil, err
	}
	if a.parts.Index.Item(in.ID) == nil {
		return nil, unknown("item", in.ID)
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	view.Prefetch(s, view.Key{View: neighborsView, Key: in.ID})
	out := &NeighborsOutput{}
	out.Body.ItemID, out.Body.AsOf = in.ID, asOf(s)
	out.Body.Neighbors = a.readNeighbors(s, in)
	return out, view.Err(s)
}

func (a *API) readNeighbors(s view.Reader, in *NeighborsInput) []Neighbor {
	list := []Neighbor{}
	row, ok := lookup[partners](s, neighborsView, in.ID)
	if !ok {
		return list
	}
	for i := range row.Len() {
		if len(list) == in.N {
			break
		}
		if item := a.shown(row.Item(i), in.Category); item != nil {
			list = append(list, Neighbor{item.ID, item.Title, row.Score(i)})
		}
	}
	return list
}

// CohortInput is the request of GET /v1/cohorts/{cohort}/preferences.
type CohortInput struct {
	Cohort string `path:"cohort" doc:"An age band, a gender, or both, with a slash that is written %2F." example:"age:25-34/gender:f"`
	N      int    `query:"n" minimum:"1" maximum:"1000" default:"10" doc:"How many at most." example:"20"`
}

// CohortOutput is the answer of GET /v1/cohorts/{cohort}/preferences.
type CohortOutput struct {
	Body struct {
		Cohort     string             `json:"cohort"`
		AsOf       *string            `json:"as_of" format:"date-time" doc:"Stream time of the state that was read; null before the first event."`
		Categories []CohortPreference `json:"categories" doc:"Most liked first."`
	}
}

// CohortPreference is what a cohort likes of a category.
type CohortPreference struct {
	Category string  `json:"category"`
	Share    float64 `json:"share" doc:"The part of all that the cohort likes, over all categories, from 0 to 1."`
	Weight   float64 `json:"weight" doc:"The sum of the weights of the cohort's events with items of the category, each halved every 30 days, as of as_of."`
	Events   int64   `json:"events" doc:"How many those are."`
}

func (a *API) cohortPreferences(_ context.Context, in *CohortInput) (*CohortOutput, error) {
	if kept := a.parts.ViewNames; len(kept) > 0 && !slices.Contains(kept, cohort.ViewName) {
		return nil, problem.New(http.StatusNotFound, "the preferences of cohorts are not kept: set cohort_preferences in the configuration")
	}
	name, ok := cohortName(in.Cohort)
	if !ok {
		return nil, problem.BadField("cohort", cohortWanted, in.Cohort)
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	view.Prefetch(s, view.Key{View: cohort.ViewName, Key: name})
	out := &CohortOutput{}
	out.Body.Cohort, out.Body.AsOf, out.Body.Categories = name, asOf(s), []CohortPreference{}
	liked, ok := lookup[*cohort.Preferences](s, cohort.ViewName, name)
	if !ok {
		return out, view.Err(s)
	}
	for i := range min(in.N, len(liked.Categories)) {
		c := &liked.Categories[i]
		out.Body.Categories = append(out.Body.Categories, CohortPreference{c.Category, liked.Share(i, s.StreamTime()), liked.Weight(i, s.StreamTime()), c.Events})
	}
	return out, nil
}
