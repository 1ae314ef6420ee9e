package rank

import (
	"fmt"

	"millrace/event"
)

// deeds say what a user did with an item, as a sentence around its title.
var deeds = map[string][2]string{
	event.TypeView:     {"viewed ", ""},
	event.TypeClick:    {"clicked ", ""},
	event.TypeLike:     {"liked ", ""},
	event.TypeCart:     {"added ", " to your cart"},
	event.TypePurchase: {"bought ", ""},
	event.TypeRating:   {"rated ", ""},
}

// did is what was done with an item, "viewed Heat (1995)".
func did(kind, title string) string {
	deed, ok := deeds[kind]
	if !ok {
		deed[0] = "looked at "
	}
	return deed[0] + title + deed[1]
}

// present makes a recommendation of a candidate.
func (g *gathering) present(s *scored, w Weights) Recommendation {
	c := &g.list[s.index]
	lead := c.lead()
	r := Recommendation{
		Item: c.item, Title: c.info.Title, Score: s.score,
		Source: sourceNames[lead], Reason: g.reason(c, lead), Time: g.time(c, lead),
	}
	if g.request.Explain {
		r.Explain = map[string]float64{}
		for i, v := range c.parts {
			if v != 0 {
				r.Explain[sourceNames[i]] = v
			}
		}
	}
	return r
}

// lead is the source that contributed most.
func (c *candidate) lead() source {
	best := fromNeighbors
	for s := range sources {
		if c.parts[s] > c.parts[best] {
			best = s
		}
	}
	return best
}

// reason says in words why a candidate is in the list.
func (g *gathering) reason(c *candidate, lead source) string {
	switch lead {
	case fromOwn:
		if c.own >= 0 {
			return "you " + did(g.recent[c.own].kind, "it") + " before"
		}
	case fromNeighbors, fromSequence:
		if c.because < 0 {
			break
		}
		r := g.recent[c.because]
		return "because you " + did(r.kind, g.title(r.item))
	case fromInterests:
		if g.request.Category != "" {
			break // the list is of one category, whatever the interest was
		}
		return fmt.Sprintf("popular in %s, which you like", c.category)
	case fromCohort:
		return "popular with people like you"
	case fromNew:
		return newness(c.category, g.streamTime, c.info.Created)
	}
	if g.request.Category != "" {
		return "trending in " + g.request.Category
	}
	return "trending now"
}

// newDays is for how many days an item is called new. An older one may still be
// among the newest that there are.
const newDays = 30

// newness says how new an item is, "new in Camping: first seen today", on the
// day of the stream time (UTC). category is "" for the whole catalogue.
func newness(category string, now, created event.Time) string {
	if category != "" {
		category = " in " + category
	}
	days := (event.WindowStart(now, event.Day) - event.WindowStart(created, event.Day)) / event.Day
	switch {
	case created == 0: // nobody knows, and nobody has met it for long
		return "little known" + category + " so far"
	case now == event.MinTime: // the stream has not begun
		return "among the newest" + category
	case days <= 0:
		return "new" + category + ": first seen today"
	case days == 1:
		return "new" + category + ": first seen yesterday"
	case days <= newDays:
		return fmt.Sprintf("new%s: first seen %d days ago", category, days)
	}
	return "among the newest" + category
}

func (g *gathering) title(item string) string {
	if info := g.catalogue.Item(item); info != nil && info.Title != "" {
		return info.Title
	}
	return item
}

// time is the event time of what the reason is based on.
func (g *gathering) time(c *candidate, lead source) event.Time {
	switch lead {
	case fromNeighbors, fromSequence, fromOwn:
		recent := c.because
		if lead == fromOwn {
			recent = c.own
		}
		if recent >= 0 && g.recent[recent].time != 0 {
			return g.recent[recent].time
		}
		return g.streamTime
	case fromNew:
		return c.info.Created
	}
	return c.time
}
