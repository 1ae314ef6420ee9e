package rank_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/catalog"
	"millrace/event"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/recommend"
	"millrace/recommend/rank"
)

// shop is a small world: events go through the operators, and lists are asked
// of what they answer.
type shop struct {
	t      testing.TB
	engine *operatortest.Engine[event.Enriched]
	index  *catalog.Index
	ranker *rank.Ranker
	now    event.Time
}

func newShop(t testing.TB) *shop {
	s := &shop{t: t, index: catalog.NewIndex(), now: 1_767_261_600_000}
	topology := recommend.Topology(event.DefaultTypes(), recommend.Defaults())
	if err := topology.Err(); err != nil {
		t.Fatal(err)
	}
	s.engine = operatortest.New[event.Enriched](topology, 1, 5*event.Second, 0)
	s.ranker = rank.New(s.index, nil)
	return s
}

func (s *shop) item(id, title string, categories ...string) {
	s.index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: id, Title: title, Categories: categories, Created: s.now}})
}

// send sends events "USER ITEM TYPE", a second apart.
func (s *shop) send(events ...string) {
	for _, line := range events {
		f := strings.Fields(line)
		e := event.Enriched{Event: event.Event{User: f[0], Item: f[1], Type: f[2], Time: s.now}}
		if s.index.Item(e.Item) == nil {
			s.index.Apply(event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: e.Item, Created: s.now}})
		}
		e.ItemInfo, e.UserInfo = s.index.Item(e.Item), s.index.User(e.User)
		s.engine.Send(e.Time, &e)
		s.now += event.Second
	}
	s.engine.Drain()
}

// Get is what the views hold.
func (s *shop) Get(view, key string) (operator.Value, bool) {
	v, ok := s.engine.Views()[view][key]
	return v, ok
}

func (s *shop) ask(q rank.Request) []rank.Recommendation {
	s.t.Helper()
	if q.N == 0 {
		q.N = 10
	}
	list, err := s.ranker.Recommend(s, s.now, q)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func items(list []rank.Recommendation) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.Item + " ")
	}
	return strings.TrimSpace(b.String())
}

// movies is a shop in which who likes heat turns to ronin, and others to
// amelie.
func movies(t testing.TB) *shop {
	s := newShop(t)
	for _, m := range []string{"heat:Heat (1995):action", "ronin:Ronin (1998):action", "amelie:Amelie (2001):romance", "alien:Alien (1979):action"} {
		f := strings.Split(m, ":")
		s.item(f[0], f[1], f[2])
	}
	for i := range 5 {
		u := fmt.Sprint("u", i)
		s.send(u+" heat view", u+" ronin view")
	}
	s.send("v amelie like", "v alien view")
	return s
}

func TestWhatGoesTogetherLeads(t *testing.T) {
	s := movies(t)
	s.send("ann heat view")
	list := s.ask(rank.Request{User: "ann", ExcludeSeen: true, Explain: true})
	first := list[0]
	if first.Item != "ronin" || first.Title != "Ronin (1998)" {
		t.Fatalf("got %+v, want Ronin first", first)
	}
	if first.Reason != "because you viewed Heat (1995)" || first.Time != s.now-event.Second {
		t.Errorf("reason %q of %v, want Heat, and the time that it was viewed", first.Reason, first.Time)
	}
	sum := 0.0
	for _, part := range first.Explain {
		sum += part
	}
	if diff := sum - first.Score; diff > 1e-9 || diff < -1e-9 {
		t.Errorf("the parts sum up to %v, the score is %v", sum, first.Score)
	}
}

// What the user had before is not its own reason: another item is, or that it
// was had.
func TestNoItemSpeaksForItself(t *testing.T) {
	s := movies(t)
	s.send("ann ronin like", "ann heat view")
	for _, r := range s.ask(rank.Request{User: "ann", Explain: true}) {
		if (r.Source == "neighbors" || r.Source == "sequence") && strings.Contains(r.Reason, r.Title) {
			t.Errorf("%s is recommended %s", r.Title, r.Reason)
		}
		if r.Source == "own" && !strings.HasPrefix(r.Reason, "you ") {
			t.Errorf("%s was had before, and the reason is %s", r.Title, r.Reason)
		}
	}
}

func TestSeenItemsAreExcludedOnRequest(t *testing.T) {
	s := movies(t)
	s.send("ann heat view", "ann ronin view")
	if got := items(s.ask(rank.Request{User: "ann", ExcludeSeen: true})); strings.Contains(got, "heat") || strings.Contains(got, "ronin") {
		t.Errorf("seen items are recommended: %s", got)
	}
	if got := items(s.ask(rank.Request{User: "ann"})); !strings.Contains(got, "ronin") {
		t.Errorf("nothing was excluded, and ronin is not there: %s", got)
	}
}

func TestUnknownUserGetsWhatIsTrending(t *testing.T) {
	s := movies(t)
	list := s.ask(rank.Request{User: "nobody", ExcludeSeen: true})
	if len(list) == 0 || list[0].Source != "trending" || list[0].Reason != "trending now" || list[0].Time == 0 {
		t.Errorf("got %+v", list)
	}
}

func TestNewUserGetsWhatIsTrendingInTheCohort(t *testing.T) {
	s := movies(t)
	for _, id := range []string{"p", "q", "ann"} {
		s.index.Apply(event.Change{Kind: event.PutUser, User: &event.User{ID: id, Age: 30, Gender: "f"}})
	}
	s.send("p amelie view", "q amelie view")
	list := s.ask(rank.Request{User: "ann", ExcludeSeen: true})
	if list[0].Item != "amelie" || list[0].Source != "cohort" {
		t.Errorf("got %+v, want what others of the cohort view", list[0])
	}
}

func TestRulesHold(t *testing.T) {
	s := movies(t)
	s.index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: "ronin", Title: "Ronin (1998)", Hidden: true}})
	s.index.Apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: "alien"}})
	s.send("ann heat view")
	if got := items(s.ask(rank.Request{User: "ann", ExcludeSeen: true})); strings.Contains(got, "ronin") || strings.Contains(got, "alien") {
		t.Errorf("hidden or deleted items are recommended: %s", got)
	}
	if got := items(s.ask(rank.Request{User: "ann", Category: "romance"})); got != "amelie" {
		t.Errorf("in romance: %s, want amelie only", got)
	}
}

func TestAnonymousSession(t *testing.T) {
	s := movies(t)
	list := s.ask(rank.Request{Session: []string{"amelie", "heat"}, ExcludeSeen: true})
	if list[0].Item != "ronin" || list[0].Reason != "because you looked at Heat (1995)" {
		t.Errorf("got %+v", list[0])
	}
	if got := items(list); strings.Contains(got, "heat") || strings.Contains(got, "amelie") {
		t.Errorf("the session's own items are recommended: %s", got)
	}
}

// An item that nobody has seen is in the list, and other users or hours begin
// with other ones.
func TestNewItemsAreExplored(t *testing.T) {
	s := movies(t)
	for i := range 40 {
		s.item(fmt.Sprint("old", i), "")
		s.send(fmt.Sprint("w", i%3, " old", i, " purchase"))
	}
	fresh := map[string]bool{}
	for i := range 20 {
		s.item(fmt.Sprint("fresh", i), "")
	}
	for u := range 30 {
		list := s.ask(rank.Request{User: fmt.Sprint("someone", u), ExcludeSeen: true})
		if len(list) != 10 {
			t.Fatalf("%d items, want 10", len(list))
		}
		if last := list[9]; last.Source != "new" || !strings.HasPrefix(last.Item, "fresh") {
			t.Fatalf("place 10 is %+v, want a new item", last)
		} else {
			fresh[last.Item] = true
		}
	}
	if len(fresh) < 5 {
		t.Errorf("30 users saw only %d different new items", len(fresh))
	}
}

// The reason says how new an item is, by the stream time's day, so that a replay
// gives the same one.
func TestReasonOfNewItems(t *testing.T) {
	const noon = 1_767_268_800_000 // 2026-01-01T12:00:00Z
	for _, c := range []struct {
		created    event.Time
		categories []string
		want       string
	}{
		{noon, nil, "new: first seen today"},
		{noon - 12*event.Hour, nil, "new: first seen today"},
		{noon + event.Hour, nil, "new: first seen today"},
		{noon - 12*event.Hour - 1, nil, "new: first seen yesterday"},
		{noon - 3*event.Day, nil, "new: first seen 3 days ago"},
		{noon - 30*event.Day, nil, "new: first seen 30 days ago"},
		{noon - 31*event.Day, nil, "among the newest"},
		{0, nil, "little known so far"},
		{noon - event.Day, []string{"camping"}, "new in camping: first seen yesterday"},
		{noon - 400*event.Day, []string{"camping"}, "among the newest in camping"},
		{0, []string{"camping"}, "little known in camping so far"},
	} {
		s := newShop(t)
		s.now = noon
		s.index.Apply(event.Change{Kind: event.PutItem, Item: &event.Item{ID: "tent", Categories: c.categories, Created: c.created}})
		q := rank.Request{User: "ann"}
		if c.categories != nil {
			q.Category = c.categories[0]
		}
		list := s.ask(q)
		if len(list) != 1 || list[0].Source != "new" || list[0].Reason != c.want || list[0].Time != c.created {
			t.Errorf("an item of %v with %q: %+v, want the reason %q", c.created, c.categories, list, c.want)
		}
	}
	s := newShop(t)
	s.item("tent", "")
	s.now = event.MinTime
	if list := s.ask(rank.Request{User: "ann"}); len(list) != 1 || list[0].Reason != "among the newest" {
		t.Errorf("before the first event: %+v", list)
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	s := movies(t)
	for i := range 30 {
		s.send(fmt.Sprint("w", i%4, " x", i, " click"))
	}
	all := s.ask(rank.Request{User: "ann", N: 20})
	var pages []rank.Recommendation
	for offset := 0; offset < 20; offset += 5 {
		pages = append(pages, s.ask(rank.Request{User: "ann", N: 5, Offset: offset})...)
	}
	if items(pages) != items(all) {
		t.Errorf("pages: %s\nat once: %s", items(pages), items(all))
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.Item] {
			t.Errorf("%s is there twice", r.Item)
		}
		seen[r.Item] = true
	}
	if list := s.ask(rank.Request{User: "ann", N: 5, Offset: 10_000}); len(list) != 0 {
		t.Errorf("beyond the end: %v", list)
	}
}

func TestTheSameRequestGivesTheSameList(t *testing.T) {
	s := movies(t)
	s.send("ann heat view", "ann alien like")
	first := s.ask(rank.Request{User: "ann"})
	for range 20 {
		if again := s.ask(rank.Request{User: "ann"}); !slices.EqualFunc(first, again, func(a, b rank.Recommendation) bool {
			return a.Item == b.Item && a.Score == b.Score && a.Reason == b.Reason
		}) {
			t.Fatalf("%v, then %v", first, again)
		}
	}
}

func TestUnknownRecipe(t *testing.T) {
	s := newShop(t)
	if _, err := s.ranker.Recommend(s, s.now, rank.Request{User: "u", N: 1, Recipe: "nothing"}); !errors.Is(err, rank.ErrUnknownRecipe) {
		t.Errorf("got %v", err)
	}
	if list := s.ask(rank.Request{User: "u", Recipe: rank.DefaultRecipe}); len(list) != 0 {
		t.Errorf("an empty shop recommends %v", list)
	}
}

func BenchmarkRecommend(b *testing.B) {
	s := newShop(b)
	for i := range 3000 {
		s.send(fmt.Sprint("u", i%97, " i", (i*7919)%400, " click"))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.ask(rank.Request{User: fmt.Sprint("u", i%97), ExcludeSeen: true})
	}
}
