package api

import (
	"context"

	"millrace/event"
	"millrace/recommend/activity"
	"millrace/recommend/profile"
	"millrace/recommend/session"
	"millrace/recommend/tally"
	"millrace/serve/strict"
	"millrace/view"
)

// ProfileOutput is the answer of GET /v1/users/{id}/profile.
type ProfileOutput struct{ Body Profile }

// Profile is what is known of a user's taste and habits.
type Profile struct {
	UserID           string             `json:"user_id"`
	AsOf             *string            `json:"as_of" format:"date-time" doc:"Stream time of the state that was read; null before the first event."`
	Interests        map[string]float64 `json:"interests" doc:"By category: the moving average of the weights of the user's events."`
	TopInterests     []Interest         `json:"top_interests" doc:"The strongest, by score."`
	Features         map[string]Feature `json:"features" doc:"Views and purchases, by category; categories with neither are left out."`
	BehaviorPatterns Patterns           `json:"behavior_patterns" doc:"What the user does when."`
	RecentItems      []RecentItem       `json:"recent_items" doc:"Newest first."`
	BrowseCount      int64              `json:"browse_count" doc:"Events other than impressions."`
	Counts           map[string]int64   `json:"counts" doc:"Events by type."`
	SeenItems        int                `json:"seen_items" doc:"How many items the user interacted with."`
	Session          *Session           `json:"session" doc:"The session that is going on; null if there is none."`
	Sessions         Sessions           `json:"sessions" doc:"Those that have ended."`
	LastUpdated      *string            `json:"last_updated" format:"date-time" doc:"Event time of the user's latest event; null if there is none."`
}

// Interest is a category and its score.
type Interest struct {
	Category string  `json:"category"`
	Score    float64 `json:"score"`
}

// Feature is what a user did in a category.
type Feature struct {
	Views     int64 `json:"views"`
	Purchases int64 `json:"purchases"`
}

// Patterns are what a user does when. Shares are of 1.
type Patterns struct {
	Events           int64              `json:"events"`
	EventsByType     map[string]int64   `json:"events_by_type"`
	MostActive       *string            `json:"most_active" doc:"The part of the day with most events, UTC: night, morning, afternoon or evening; null without events."`
	ShareByPartOfDay map[string]float64 `json:"share_by_part_of_day"`
	WeekdayShare     float64            `json:"weekday_share"`
	WeekendShare     float64            `json:"weekend_share"`
	AverageRating    *float64           `json:"average_rating" doc:"Null without ratings."`
	PurchasesPerView *float64           `json:"purchases_per_view" doc:"Null without views."`
}

// RecentItem is something that a user did with an item.
type RecentItem struct {
	ItemID    string   `json:"item_id"`
	Title     string   `json:"title,omitempty" doc:"Absent where the catalogue has none."`
	EventType string   `json:"event_type"`
	Value     *float64 `json:"value,omitempty"`
	Time      string   `json:"time" format:"date-time"`
}

// Session is a session that is going on.
type Session struct {
	Start   string   `json:"start" format:"date-time"`
	Last    string   `json:"last" format:"date-time" doc:"Of its latest event."`
	LengthS float64  `json:"length_s"`
	Events  int64    `json:"events"`
	Items   []string `json:"items" doc:"Ids, the one met last first."`
}

// Sessions sums up the sessions that have ended.
type Sessions struct {
	Closed         int64   `json:"closed"`
	AverageLengthS float64 `json:"average_length_s"`
}

// userProfile merges what the stages know of a user.
func (a *API) userProfile(ctx context.Context, in *UserInput) (*ProfileOutput, error) {
	if err := strict.CheckID("id", in.ID); err != nil {
		return nil, err
	}
	s := a.parts.Views.Snapshot()
	defer s.Close()
	view.Prefetch(s, view.Key{View: profile.ViewName, Key: in.ID}, view.Key{View: activity.ViewName, Key: in.ID}, view.Key{View: session.ViewName, Key: in.ID})
	p := emptyProfile(in.ID, asOf(s))
	taste, hasTaste := lookup[*profile.View](s, profile.ViewName, in.ID)
	habits, hasHabits := lookup[*activity.View](s, activity.ViewName, in.ID)
	sessions, hasSessions := lookup[*session.View](s, session.ViewName, in.ID)
	if err := view.Err(s); err != nil {
		return nil, err
	}
	if !hasTaste && !hasHabits && !hasSessions {
		if _, err := a.user(ctx, in.ID); err != nil {
			return nil, err
		}
	}
	if hasTaste {
		p.addTaste(taste)
	}
	if hasHabits {
		a.addActivity(&p, habits)
	}
	if hasSessions {
		p.addSessions(sessions)
	}
	return &ProfileOutput{p}, nil
}

// emptyProfile is that of a user who has done nothing.
func emptyProfile(user string, asOf *string) Profile {
	return Profile{
		UserID: user, AsOf: asOf, Interests: map[string]float64{}, TopInterests: []Interest{}, Features: map[string]Feature{},
		BehaviorPatterns: Patterns{EventsByType: map[string]int64{}, ShareByPartOfDay: map[string]float64{}},
		RecentItems:      []RecentItem{}, Counts: map[string]int64{},
	}
}

func (p *Profile) addTaste(v *profile.View) {
	for _, x := range v.Interests {
		p.Interests[x.Category] = x.Score
		if x.Views != 0 || x.Purchases != 0 {
			p.Features[x.Category] = Feature{x.Views, x.Purchases}
		}
	}
	for _, x := range v.Top {
		p.TopInterests = append(p.TopInterests, Interest{x.Category, x.Score})
	}
	p.update(v.LastUpdated)
	habits, b := &v.Patterns, &p.BehaviorPatterns
	b.Events = habits.Events
	addCounts(b.EventsByType, habits.Types)
	if habits.Events == 0 {
		return
	}
	events := float64(habits.Events)
	most := habits.MostActive().String()
	b.MostActive = &most
	for part, n := range habits.PartsOfDay {
		b.ShareByPartOfDay[profile.PartOfDay(part).String()] = float64(n) / events
	}
	b.WeekendShare = float64(habits.Weekend) / events
	b.WeekdayShare = float64(habits.Events-habits.Weekend) / events
	if rating, ok := habits.AverageRating(); ok {
		b.AverageRating = &rating
	}
	if conversion, ok := habits.Conversion(); ok {
		b.PurchasesPerView = &conversion
	}
}

func (a *API) addActivity(p *Profile, v *activity.View) {
	p.BrowseCount, p.SeenItems = v.BrowseCount, v.Seen.Len()
	addCounts(p.Counts, v.Counts)
	p.update(v.LastSeen)
	for _, x := range v.Recent {
		item := RecentItem{ItemID: x.Item, Title: a.title(x.Item), EventType: x.Type, Time: x.Time.String()}
		if x.HasValue {
			item.Value = &x.Value
		}
		p.RecentItems = append(p.RecentItems, item)
	}
}

func (p *Profile) addSessions(v *session.View) {
	p.Sessions = Sessions{Closed: v.ClosedSessions, AverageLengthS: seconds(v.AverageLength())}
	if o := v.Open; o != nil {
		p.update(o.Last)
		p.Session = &Session{
			Start: o.Start.String(), Last: o.Last.String(), LengthS: seconds(o.Length()), Events: o.Events,
			Items: append([]string{}, o.Items...),
		}
	}
}

// update moves LastUpdated on. RFC 3339 in UTC sorts as the times do.
func (p *Profile) update(t event.Time) {
	if text := timestamp(t); p.LastUpdated == nil && text != "" || p.LastUpdated != nil && text > *p.LastUpdated {
		p.LastUpdated = &text
	}
}

func addCounts(to map[string]int64, counts tally.Counts) {
	for _, c := range counts {
		to[c.Name] = c.N
	}
}

func seconds(d event.Duration) float64 { return float64(d) / float64(event.Second) }

// title is an item's title, empty where it is not known.
func (a *API) title(id string) string {
	if item := a.parts.Index.Item(id); item != nil {
		return item.Title
	}
	return ""
}

// lookup is a value of a view as some type; false if there is none, or if the
// view holds something else.
func lookup[V any](s view.Reader, name, key string) (V, bool) {
	var none V
	value, ok := s.Get(name, key)
	if !ok {
		return none, false
	}
	v, ok := value.(V)
	return v, ok
}
