package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"

	"millrace/event"
	"millrace/serve/problem"
	"millrace/serve/strict"
	"millrace/view"
)

// The bounds of a request for recommendations.
const (
	MaxN         = 1000
	MaxOffset    = 10_000
	DefaultN     = 10
	MaxBatchRows = 100_000 // recommendations of a batch
)

// Choice is what all requests for recommendations can say.
type Choice struct {
	N        int    `query:"n" json:"n,omitempty" minimum:"1" maximum:"1000" default:"10" doc:"How many at most." example:"20"`
	Offset   int    `query:"offset" json:"offset,omitempty" minimum:"0" maximum:"10000" doc:"How many of the best to skip."`
	Category string `query:"category" json:"category,omitempty" doc:"Only items of this category." example:"Drama"`
	Exclude  string `query:"exclude" json:"exclude,omitempty" enum:"seen,none" default:"seen" doc:"Whether items that the user already interacted with are left out."`
	Explain  bool   `query:"explain" json:"explain,omitempty" doc:"Tell what each score is made of."`
	Recipe   string `query:"recipe" json:"recipe,omitempty" doc:"Name of a blend of sources; the default one if it is not given."`
}

// UserRecommendationsInput is the request of GET
// /v1/users/{id}/recommendations.
type UserRecommendationsInput struct {
	UserID
	Choice
}

// Recommended is one recommendation as it is written.
type Recommended struct {
	ItemID  string             `json:"item_id"`
	Title   string             `json:"title,omitempty" doc:"Absent where the catalogue has none."`
	Score   float64            `json:"score" doc:"Comparable within one list only."`
	Reason  string             `json:"reason" doc:"Why, in words."`
	Source  string             `json:"source" doc:"The source that contributed most."`
	Time    string             `json:"time,omitempty" format:"date-time" doc:"Event time of what the reason is about; absent where there is none."`
	Explain map[string]float64 `json:"explain,omitempty" doc:"What each source contributed to the score, on request."`
}

// Recommendations is a list as it is written.
type Recommendations struct {
	UserID          string        `json:"user_id,omitempty" doc:"Absent for a session."`
	RequestID       string        `json:"request_id" doc:"To be sent with the events that the list leads to."`
	AsOf            *string       `json:"as_of" format:"date-time" doc:"Stream time of the state that was read; null before the first event."`
	Recommendations []Recommended `json:"recommendations"`
}

// RecommendationsOutput is the answer with a list.
type RecommendationsOutput struct{ Body Recommendations }

// BatchOutput is the answer with a list for each user.
type BatchOutput struct {
	Body struct {
		Results []Recommendations `json:"results" doc:"In the order of the request, all of one state of the views."`
	}
}

func (a *API) userRecommendations(_ context.Context, in *UserRecommendationsInput) (*RecommendationsOutput, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	q := in.request()
	q.User = in.ID
	list, err := a.recommend(s, q)
	if err != nil {
		return nil, err
	}
	return &RecommendationsOutput{list}, nil
}

// check looks at the texts, which huma knows no bounds for.
func (c *Choice) check() error {
	if err := strict.CheckOptional("category", c.Category); err != nil {
		return err
	}
	return strict.CheckOptional("recipe", c.Recipe)
}

func (c *Choice) request() Request {
	return Request{
		N: c.N, Offset: c.Offset, Category: c.Category, ExcludeSeen: c.Exclude != "none",
		Recipe: c.Recipe, Explain: c.Explain,
	}
}

// recommend ranks, and words the list.
func (a *API) recommend(s view.Snapshot, q Request) (Recommendations, error) {
	list, err := a.parts.Recommender.Recommend(s, q)
	if err == nil {
		err = view.Err(s)
	}
	switch {
	case errors.Is(err, ErrRecipe):
		return Recommendations{}, problem.BadField("recipe", "the name of a recipe", q.Recipe)
	case err != nil:
		return Recommendations{}, fmt.Errorf("recommend: %w", err)
	}
	out := Recommendations{
		UserID: q.User, RequestID: rand.Text(), AsOf: asOf(s),
		Recommendations: make([]Recommended, len(list)),
	}
	for i := range list {
		r := &list[i]
		if math.IsNaN(r.Score) || math.IsInf(r.Score, 0) {
			return Recommendations{}, fmt.Errorf("recommend: the score of %q is %v", r.Item, r.Score)
		}
		out.Recommendations[i] = Recommended{
			ItemID: r.Item, Title: r.Title, Score: r.Score, Reason: r.Reason, Source: r.Source,
			Time: timestamp(r.Time), Explain: r.Explain,
		}
	}
	return out, nil
}

// asOf is the stream time of a snapshot, nil before the first event.
func asOf(s view.Snapshot) *string {
	t := timestamp(s.StreamTime())
	if t == "" {
		return nil
	}
	return &t
}

// timestamp is a time as RFC 3339, empty for one that says that there is none.
func timestamp(t event.Time) string {
	if t <= 0 || t == event.MaxTime {
		return ""
	}
	return t.String()
}

// SessionInput is the request of POST /v1/sessions/recommendations. Its body
// is read by the handler.
type SessionInput struct{ HTTP }

// SessionBody is the body of POST /v1/sessions/recommendations.
type SessionBody struct {
	Items strict.IDs `json:"items" doc:"What the visitor looked at, the newest last." required:"true"`
	Choice
}

// BatchBody is the body of POST /v1/recommendations:batch.
type BatchBody struct {
	UserIDs strict.IDs `json:"user_ids" doc:"For whom." required:"true"`
	Choice
}

func (a *API) sessionRecommendations(_ context.Context, in *SessionInput) (*RecommendationsOutput, error) {
	body := SessionBody{Choice: Choice{N: DefaultN}}
	if err := a.readJSON(in.HTTP, &body); err != nil {
		return nil, err
	}
	if body.Items == nil {
		return nil, problem.BadField("items", fmt.Sprintf("a list of at most %d ids", strict.MaxIDs), "")
	}
	if err := body.checkBody(); err != nil {
		return nil, err
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	q := body.request()
	q.Session = body.Items.Texts()
	list, err := a.recommend(s, q)
	if err != nil {
		return nil, err
	}
	return &RecommendationsOutput{list}, nil
}

func (a *API) batchRecommendations(ctx context.Context, in *SessionInput) (*BatchOutput, error) {
	body := BatchBody{Choice: Choice{N: DefaultN}}
	if err := a.readJSON(in.HTTP, &body); err != nil {
		return nil, err
	}
	if len(body.UserIDs) == 0 {
		return nil, problem.BadField("user_ids", fmt.Sprintf("a list of 1 to %d ids", strict.MaxIDs), "none")
	}
	if err := body.checkBody(); err != nil {
		return nil, err
	}
	if rows := len(body.UserIDs) * body.N; rows > MaxBatchRows {
		return nil, problem.BadField("n", fmt.Sprintf("at most %d recommendations in all", MaxBatchRows), strconv.Itoa(rows))
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	out := &BatchOutput{}
	out.Body.Results = make([]Recommendations, len(body.UserIDs))
	q := body.request()
	for i, id := range body.UserIDs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		q.User = string(id)
		var err error
		if out.Body.Results[i], err = a.recommend(s, q); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkBody checks what came in a body, where huma does not look.
func (c *Choice) checkBody() error {
	switch {
	case c.N < 1 || c.N > MaxN:
		return problem.BadField("n", fmt.Sprintf("a whole number from 1 to %d", MaxN), strconv.Itoa(c.N))
	case c.Offset < 0 || c.Offset > MaxOffset:
		return problem.BadField("offset", fmt.Sprintf("a whole number from 0 to %d", MaxOffset), strconv.Itoa(c.Offset))
	case c.Exclude != "" && c.Exclude != "seen" && c.Exclude != "none":
		return problem.BadField("exclude", "one of seen, none", c.Exclude)
	}
	return c.check()
}
