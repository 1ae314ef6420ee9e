package rank

import (
	"millrace/recommend/activity"
	"millrace/recommend/decay"
	"millrace/recommend/heat"
	"millrace/recommend/profile"
	"millrace/view"
)

// Prefetch fetches what a request is answered with first: what is known of its
// user. Where views are on another machine a list takes two ways there: this
// one, and one for all the rows and lists that it says candidates come from.
// Recommend does it by itself; others call it who want to read something else
// of the snapshot first.
func Prefetch(r view.Reader, q Request) {
	if q.User != "" && view.Prefetches(r) {
		view.Prefetch(r, view.Key{View: activity.ViewName, Key: q.User}, view.Key{View: profile.ViewName, Key: q.User})
	}
}

// prefetchCandidates fetches all that gather may read: the lists to fill up
// from too, as there are few of them and everybody reads them.
func (g *gathering) prefetchCandidates() {
	if !view.Prefetches(g.views) {
		return
	}
	g.keys = g.keys[:0]
	for k, r := range g.recent {
		g.keys = append(g.keys, view.Key{View: rowViews[fromNeighbors], Key: r.item})
		if k < sequenceItems {
			g.keys = append(g.keys, view.Key{View: rowViews[fromSequence], Key: r.item})
		}
	}
	for _, interest := range g.interests() {
		g.trendingKey(heat.CategoryScope(interest.Category), heat.Week)
	}
	for _, scope := range g.cohorts {
		g.trendingKey(scope, heat.Week)
	}
	for _, halfLife := range trendingHalfLives {
		g.trendingKey(g.scope(), halfLife)
	}
	view.Prefetch(g.views, g.keys...)
}

func (g *gathering) trendingKey(scope string, halfLife decay.HalfLife) {
	g.keys = append(g.keys, view.Key{View: heat.TrendingView, Key: heat.TrendingKey(scope, halfLife)})
}
