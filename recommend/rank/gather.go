package rank

import (
	"math"
	"slices"

	"millrace/event"
	"millrace/internal/hashindex"
	"millrace/recommend/activity"
	"millrace/recommend/decay"
	"millrace/recommend/heat"
	"millrace/recommend/profile"
	"millrace/view"
)

const (
	// recentItems is how many of the user's latest items candidates come from.
	recentItems = 8
	// sequenceItems is how many of them are looked up for what follows.
	sequenceItems = 3
	// rowItems is how much of each row of neighbours or followers is read at
	// most.
	rowItems = 24
	// trendingItems is how much of a trending list is read at most; where too
	// little is left after the rules, all of it is.
	trendingItems = 40
	// enoughItems is how many items that may be recommended are taken from a
	// row or list at first. It is the same for all requests, so that the pages
	// of a list follow each other.
	enoughItems = 12
	// interestCategories is how many of the user's top categories are looked up.
	interestCategories = 5
	// newItems is how many new items each place adds.
	newItems = 20
)

// gathering is one request's scratch: the candidates and what is known of
// whoever asks. It is reused, so that a request allocates little.
type gathering struct {
	catalogue  Catalogue
	views      view.Reader
	streamTime event.Time
	request    Request

	activity *activity.View // nil for an unknown user or a session
	profile  *profile.View  // nil likewise
	cohorts  []string
	recent   []recentItem    // newest first
	places   hashindex.Index // in list, by hash of the item
	list     []candidate
	ranked   []scored
	scores   []float64 // a heap, the least on top
	keys     []view.Key
}

// recentItem is one of the latest items, and how it was come by.
type recentItem struct {
	item string
	kind string // the event type, "" for a session's
	time event.Time
}

// candidate is an item with its strength in each source.
type candidate struct {
	item    string
	info    *event.Item
	dropped bool // seen, hidden, unknown or of another category; it stays so
	parts   [sources]float64
	// because is the recent item that contributed most, by index; -1 if none.
	because       int
	own           int // the same item among the recent ones, by index; -1 if it is not
	becauseWeight float64
	// category is the one through which it came by interest or as new.
	category string
	time     event.Time // of the last event where it is trending
}

// scored is a candidate with its place in the list.
type scored struct {
	item  string
	score float64
	index int32
	isNew bool // it is there only because it is new
}

func (g *gathering) begin(c Catalogue, s view.Reader, streamTime event.Time, q Request) {
	g.catalogue, g.views, g.streamTime, g.request = c, s, streamTime, q
	g.places.Clear()
	g.list, g.recent, g.cohorts, g.ranked = g.list[:0], g.recent[:0], g.cohorts[:0], g.ranked[:0]
	g.activity, g.profile = nil, nil
	if q.User == "" {
		for _, item := range slices.Backward(q.Session) {
			if len(g.recent) < recentItems && !slices.ContainsFunc(g.recent, func(r recentItem) bool { return r.item == item }) {
				g.recent = append(g.recent, recentItem{item: item})
			}
		}
		return
	}
	Prefetch(s, q)
	g.activity, _ = view.Get[*activity.View](s, activity.ViewName, q.User)
	g.profile, _ = view.Get[*profile.View](s, profile.ViewName, q.User)
	if u := c.User(q.User); u != nil {
		g.cohorts = append(g.cohorts, heat.CohortScopes(u)...)
	}
	if g.activity == nil {
		return
	}
	for _, r := range g.activity.Recent {
		if len(g.recent) == recentItems {
			break
		}
		if !disliked(&r) && !slices.ContainsFunc(g.recent, func(o recentItem) bool { return o.item == r.Item }) {
			g.recent = append(g.recent, recentItem{item: r.Item, kind: r.Type, time: r.Time})
		}
	}
}

// poorRating is the rating, of 5, up to which an item speaks for nothing else.
const poorRating = 2

// disliked reports whether an interaction says that the user did not like the
// item, so that what goes with it is no recommendation.
func disliked(r *activity.Interaction) bool {
	return r.Type == event.TypeDislike || r.Type == event.TypeRating && r.HasValue && r.Value <= poorRating
}

// gather collects candidates from every source, at least need of them if the
// catalogue has that many.
func (g *gathering) gather(need int) {
	g.prefetchCandidates()
	g.fromRows(fromNeighbors, recentItems)
	g.fromRows(fromSequence, sequenceItems)
	g.fromInterests()
	for i, scope := range g.cohorts {
		g.fromTrending(fromCohort, scope, heat.Week, 1/float64(1+i), trendingItems)
	}
	scope := g.scope()
	g.fromTrending(fromTrending, scope, heat.Day, 1, trendingItems)
	g.fromTrending(fromTrending, scope, heat.Week, 1, trendingItems)
	g.fromNew(g.request.Category, newItems)
	if !g.request.ExcludeSeen {
		for k, r := range g.recent {
			if c := g.candidate(r.item, event.HashID(r.item)); c != nil {
				c.parts[fromOwn] = 1 / float64(k+1)
				c.own = k
			}
		}
	}
	if g.kept() < need { // fill up from ever further away
		for _, halfLife := range trendingHalfLives {
			g.fromTrending(fromTrending, scope, halfLife, 0.01, math.MaxInt)
		}
		g.fromNew(g.request.Category, need)
	}
}

// trendingHalfLives are those of the lists that a list is filled up from, in
// this order.
var trendingHalfLives = [...]decay.HalfLife{heat.Day, heat.Week, heat.Month}

// scope is whose heat the list is about.
func (g *gathering) scope() string {
	if g.request.Category != "" {
		return heat.CategoryScope(g.request.Category)
	}
	return heat.ScopeAll
}

// candidate is the item's place in the list, made if it is new; nil if the
// catalogue does not know it.
func (g *gathering) candidate(item string, hash uint64) *candidate {
	place := g.places.Find(hash)
	for next := hash + 1; place.At != hashindex.None && g.list[place.At].item != item; next++ {
		place = g.places.Find(next) // another item has the same hash
	}
	if place.At == hashindex.None {
		place.At = int32(len(g.list))
		c := candidate{item: item, because: -1, own: -1, dropped: g.seen(item, hash)}
		if !c.dropped {
			c.info = g.catalogue.HashedItem(item, hash)
			c.dropped = !g.allowed(c.info)
		}
		g.list = append(g.list, c)
	}
	if c := &g.list[place.At]; !c.dropped {
		return c
	}
	return nil
}

// allowed applies the rules that need nothing but the item.
func (g *gathering) allowed(info *event.Item) bool {
	return info != nil && !info.Hidden &&
		(g.request.Category == "" || slices.Contains(info.Categories, g.request.Category))
}

// seen reports whether the item is to be left out because it was had before.
func (g *gathering) seen(item string, hash uint64) bool {
	return g.request.ExcludeSeen &&
		(g.activity != nil && g.activity.Seen.HasHash(item, hash) || slices.Contains(g.request.Session, item))
}

// strengthen remembers the recent item that speaks most for the candidate.
func (c *candidate) strengthen(recent int, weight float64) {
	if weight > c.becauseWeight {
		c.because, c.becauseWeight = recent, weight
	}
}

// fromRows adds what the rows of the recent items name; newer items count more.
func (g *gathering) fromRows(from source, most int) {
	for k, r := range g.recent[:min(most, len(g.recent))] {
		decay := 1 / float64(k+1)
		g.eachRow(from, r.item, func(c *candidate, share float64) {
			w := decay * share
			c.parts[from] += w
			c.strengthen(k, w)
		})
	}
}

// interests are the user's top categories, as many as are looked up.
func (g *gathering) interests() []profile.Interest {
	if g.profile == nil {
		return nil
	}
	top := g.profile.Top[:min(interestCategories, len(g.profile.Top))]
	for len(top) > 0 && top[len(top)-1].Score <= 0 { // the highest comes first
		top = top[:len(top)-1]
	}
	return top
}

// fromInterests adds what is hot in the user's top categories.
func (g *gathering) fromInterests() {
	for i, interest := range g.interests() {
		scope := heat.CategoryScope(interest.Category)
		g.eachTrending(scope, heat.Week, trendingItems, func(strength float64, c *candidate, hot *heat.Hot) {
			c.parts[fromInterests] += strength * interest.Score
			if c.category == "" {
				c.category, c.time = interest.Category, hot.Time
			}
		})
		if i == 0 {
			g.fromNew(interest.Category, newItems/2)
		}
	}
}

func (g *gathering) fromTrending(from source, scope string, halfLife decay.HalfLife, weight float64, most int) {
	g.eachTrending(scope, halfLife, most, func(strength float64, c *candidate, hot *heat.Hot) {
		c.parts[from] += strength * weight
		c.time = max(c.time, hot.Time)
	})
}

// eachTrending calls fn for the head of a scope's list. The strength is that
// of the place, 1/sqrt(place): heat itself falls off so steeply that the
// first item would drown the others.
func (g *gathering) eachTrending(scope string, halfLife decay.HalfLife, most int, fn func(strength float64, c *candidate, hot *heat.Hot)) {
	list, ok := view.Get[*heat.Trending](g.views, heat.TrendingView, heat.TrendingKey(scope, halfLife))
	if !ok {
		return
	}
	left := enoughItems
	for i := range min(most, list.Len()) {
		hot := list.At(i)
		c := g.candidate(hot.Item, hot.Hash())
		if c == nil {
			continue
		}
		fn(1/math.Sqrt(float64(i+1)), c, hot)
		if left--; left == 0 && most == trendingItems {
			return
		}
	}
}

// fromNew adds the newest items of a category, or of all.
func (g *gathering) fromNew(category string, n int) {
	for i, item := range g.catalogue.Newest(category, n) {
		c := g.candidate(item.ID, event.HashID(item.ID))
		if c == nil {
			continue
		}
		c.parts[fromNew] = max(c.parts[fromNew], 1/float64(i+1))
		if c.category == "" {
			c.category = category
		}
	}
}

func (g *gathering) kept() int {
	n := 0
	for i := range g.list {
		if !g.list[i].dropped {
			n++
		}
	}
	return n
}

// blend scores the candidates: each source scaled to its strongest, weighted,
// summed.
func (g *gathering) blend(w Weights) []scored {
	weights := w.list()
	var scale [sources]float64
	for i := range g.list {
		if c := &g.list[i]; !c.dropped {
			for s, v := range c.parts {
				scale[s] = max(scale[s], v)
			}
		}
	}
	for s := range scale {
		if scale[s] > 0 {
			scale[s] = weights[s] / scale[s]
		}
	}
	for i := range g.list {
		c := &g.list[i]
		if c.dropped {
			continue
		}
		score := 0.0
		for s := range c.parts {
			c.parts[s] = float64(c.parts[s] * scale[s])
			score += c.parts[s]
		}
		g.ranked = append(g.ranked, scored{item: c.item, score: score, index: int32(i), isNew: score == c.parts[fromNew]})
	}
	return g.ranked
}

// best drops what cannot be among the first n, but for new items, which have
// places of their own: sorting numbers is cheap, sorting candidates is not.
func (g *gathering) best(list []scored, n int) []scored {
	if len(list) <= n {
		return list
	}
	least := g.nth(list, n)
	return slices.DeleteFunc(list, func(s scored) bool { return s.score < least && !s.isNew })
}

// nth is the n-th largest score: the top of a heap of the n largest (Knuth,
// TAOCP 5.2.3), as n is small.
func (g *gathering) nth(list []scored, n int) float64 {
	g.scores = g.scores[:0]
	for i := range list[:n] {
		g.scores = append(g.scores, list[i].score)
	}
	slices.Sort(g.scores) // which is a heap, the least on top
	for i := n; i < len(list); i++ {
		if s := list[i].score; s > g.scores[0] {
			g.sink(s)
		}
	}
	return g.scores[0]
}

// sink replaces the least of the heap.
func (g *gathering) sink(score float64) {
	heap := g.scores
	at := 0
	for {
		child := 2*at + 1
		if child+1 < len(heap) && heap[child+1] < heap[child] {
			child++
		}
		if child >= len(heap) || heap[child] >= score {
			break
		}
		heap[at] = heap[child]
		at = child
	}
	heap[at] = score
}
