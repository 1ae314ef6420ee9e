package generate

import (
	"math"
	"slices"
	"strings"
	"testing"

	"millrace/event"
)

// traffic is copies of the events of a generator, in the order of delivery.
func traffic(t *testing.T, cfg Config, records int) []event.Event {
	g := mustNew(t, cfg)
	events := make([]event.Event, 0, records)
	for range records {
		if r := g.Next(); r.Event != nil {
			events = append(events, *r.Event)
		}
	}
	return events
}

func TestFunnel(t *testing.T) {
	cfg := DefaultConfig()
	cfg.EventsPerSecond = 1000
	shown, clicked := map[string]int{}, map[string]int{}
	count := map[string]int{}
	for _, e := range traffic(t, cfg, 400_000) {
		count[e.Type]++
		switch e.Type {
		case "impression":
			shown[string(e.Metadata)]++
		case "click":
			clicked[string(e.Metadata)]++
		}
	}
	funnel := []string{"impression", "click", "cart", "purchase", "rating"}
	for i, kind := range funnel[1:] {
		if count[kind]*2 > count[funnel[i]] && kind != "purchase" || count[kind] >= count[funnel[i]] || count[kind] == 0 {
			t.Errorf("%d %ss after %d %ss", count[kind], kind, count[funnel[i]], funnel[i])
		}
	}
	if math.Abs(float64(count["view"]-count["click"])) > 100 || count["like"] <= count["dislike"] || count["dislike"] == 0 {
		t.Errorf("%v", count)
	}
	above := 1.0
	for i, place := range places {
		rate := float64(clicked[string(place)]) / float64(shown[string(place)])
		if rate >= above*1.05 || rate < 0.005 {
			t.Errorf("click rate %.4f at position %d, %.4f above", rate, i+1, above)
		}
		above = rate
	}
	if first, last := float64(clicked[string(places[0])]), float64(clicked[string(places[7])]); first < 3*last {
		t.Errorf("%v clicks on the first place, %v on the last", first, last)
	}
}

// A click follows the impression of its item on the list that it names, a cart
// follows a view, a purchase a cart, all in one session of one user.
func TestChains(t *testing.T) {
	cfg := busy()
	cfg.Disorder = 0
	type of struct{ session, item, detail string }
	times := map[string]map[of]event.Time{}
	needs := map[string]string{"click": "impression", "view": "click", "like": "view", "dislike": "view", "cart": "view", "purchase": "cart", "rating": "purchase"}
	users := map[string]string{}
	begun := map[string]bool{}
	orphans := 0
	for i, e := range traffic(t, cfg, 100_000) {
		if was := users[e.Session]; e.Session == "" || was != "" && was != e.User {
			t.Fatalf("event %d: session %q of %q and %q", i, e.Session, was, e.User)
		}
		users[e.Session] = e.User
		key := func(kind string) of {
			switch kind {
			case "impression":
				return of{e.Session, e.Item, e.Request + string(e.Metadata)}
			case "click":
				return of{e.Session, e.Item, e.Request}
			}
			return of{e.Session, e.Item, ""}
		}
		if before := needs[e.Type]; before != "" {
			at, ok := times[before][key(before)]
			// Visits that were under way at the start begin with a list, too.
			if !ok || at > e.Time {
				t.Errorf("event %d: %s without %s: %+v", i, e.Type, before, e)
				orphans++
			}
		}
		if !begun[e.Session] && e.Type != "impression" {
			t.Errorf("event %d: session %s begins with a %s", i, e.Session, e.Type)
		}
		begun[e.Session] = true
		if times[e.Type] == nil {
			times[e.Type] = map[of]event.Time{}
		}
		times[e.Type][key(e.Type)] = e.Time
	}
	if orphans > 0 || len(times) != len(needs)+1 {
		t.Errorf("%d orphans, %d types of events", orphans, len(times))
	}
}

func TestDisorderIsBounded(t *testing.T) {
	for _, disorder := range []event.Duration{0, 1, 500, MaxDisorder - 1} {
		cfg := busy()
		cfg.Disorder = disorder
		newest, most, late := event.MinTime, event.Duration(0), 0
		for _, e := range traffic(t, cfg, 50_000) {
			newest = max(newest, e.Time)
			if behind := newest - e.Time; behind > 0 {
				late++
				most = max(most, behind)
			}
		}
		if most > disorder || disorder > 100 && (most < disorder*9/10 || late < 5000) || disorder == 0 && late > 0 {
			t.Errorf("disorder %d ms: %d events late, the worst by %d ms", disorder, late, most)
		}
	}
}

// The rate is the configured one from the first minute; day and night differ,
// and a day has the configured mean.
func TestRate(t *testing.T) {
	cfg := DefaultConfig()
	cfg.FlatRate, cfg.EventsPerSecond = true, 1000
	perMinute := make([]int, 5)
	for _, e := range traffic(t, cfg, 320_000) {
		if m := int((e.Time - cfg.Start) / event.Minute); m < len(perMinute) {
			perMinute[m]++
		}
	}
	for m, n := range perMinute {
		if n < 54_000 || n > 66_000 {
			t.Errorf("%d events in minute %d, want 60,000", n, m)
		}
	}

	cfg = DefaultConfig()
	cfg.EventsPerSecond = 3
	g := mustNew(t, cfg)
	perHour := make([]int, 24)
	for r := range g.At(cfg.Start + 2*event.Day) {
		if r.Event != nil {
			perHour[r.Event.Time.Go().Hour()]++
		}
	}
	total := 0
	for _, n := range perHour {
		total += n
	}
	if want := 2 * 24 * 3600 * 3; total < want*95/100 || total > want*105/100 {
		t.Errorf("%d events in two days, want %d", total, want)
	}
	if perHour[4]*4 > perHour[20] {
		t.Errorf("%d events at four in the morning, %d at eight in the evening", perHour[4], perHour[20])
	}
}

// Shoppers look for what their favourite categories sell, click on it more
// readily when they see it, and change their favourites slowly.
func TestTaste(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Users, cfg.EventsPerSecond, cfg.ItemInterval = 200, 500, 0
	category := map[string]int{}
	g := mustNew(t, cfg)
	for slot := range g.shop.slots {
		category[g.shop.slots[slot].id] = g.shop.categoryOf(int32(slot))
	}
	favourites := map[string][3]int{}
	for number := range cfg.Users {
		s := g.crowd.shopper(number, cfg.Start)
		favourites[s.id] = s.favourites
	}
	type sort struct {
		kind      string
		favourite bool
	}
	count := map[sort]float64{}
	var clicks [3]int
	for _, e := range traffic(t, cfg, 400_000) {
		mine := favourites[e.User]
		rank := slices.Index(mine[:], category[e.Item])
		count[sort{e.Type, rank >= 0}]++
		if rank >= 0 && e.Type == "click" {
			clicks[rank]++
		}
	}
	share := func(kind string) float64 {
		return count[sort{kind, true}] / (count[sort{kind, true}] + count[sort{kind, false}])
	}
	rate := func(favourite bool) float64 {
		return count[sort{"click", favourite}] / count[sort{"impression", favourite}]
	}
	if clicks[0] < clicks[1]*3/2 || clicks[1] < clicks[2]*5/4 {
		t.Errorf("%v clicks on the first, second and third favourites", clicks)
	}
	if share("impression") < 0.7 || share("click") < 0.8 || rate(true) < 1.8*rate(false) {
		t.Errorf("favourites are %.2f of impressions and %.2f of clicks; click rates are %.3f for them and %.3f for others",
			share("impression"), share("click"), rate(true), rate(false))
	}

	kept := func(later event.Duration) (same int) {
		for user := range 1000 {
			a, b := g.crowd.shopper(user, cfg.Start), g.crowd.shopper(user, cfg.Start+later)
			for rank := range a.favourites {
				if a.favourites[rank] == b.favourites[rank] {
					same++
				}
			}
		}
		return same
	}
	if hour, week, year := kept(event.Hour), kept(7*event.Day), kept(365*event.Day); hour < 2950 || week < 2200 || week > 2850 || year > 700 {
		t.Errorf("of 3000 favourites %d are kept for an hour, %d for a week, %d for a year", hour, week, year)
	}
}

// Nothing happens to an item before the change that adds it or after the
// change that hides it, in the order of delivery; and both kinds of item sell.
func TestItemsComeAndGo(t *testing.T) {
	cfg := busy()
	cfg.Disorder = MaxDisorder - 1
	g := mustNew(t, cfg)
	offered := map[string]bool{}
	for c := range g.Catalogue() {
		if c.Item != nil {
			offered[c.Item.ID] = true
		}
	}
	hidden, newClicks := 0, 0
	for range 150_000 {
		r := g.Next()
		if r.Event != nil {
			if !offered[r.Event.Item] {
				t.Fatalf("row %d: %s of %s, which is not on offer", r.Row, r.Event.Type, r.Event.Item)
			}
			if r.Event.Type == "click" && len(r.Event.Item) == 4 && r.Event.Item > "i300" {
				newClicks++
			}
			continue
		}
		i := r.Change.Item
		switch {
		case r.Change.Kind != event.PutItem || i.Hidden != offered[i.ID]:
			t.Fatalf("row %d: %+v of %+v", r.Row, *r.Change, *i)
		case i.Hidden:
			delete(offered, i.ID)
			hidden++
		default:
			offered[i.ID] = true
		}
		if len(offered) < cfg.Items-1 || len(offered) > cfg.Items {
			t.Fatalf("row %d: %d items on offer", r.Row, len(offered))
		}
	}
	if hidden < 100 || newClicks < 100 {
		t.Errorf("%d items hidden, %d clicks on new ones", hidden, newClicks)
	}
}

// An item that is withdrawn between the list and the click cannot be opened.
func TestWithdrawnItemsCannotBeOpened(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		g := mustNew(t, busy())
		v := &g.visits.slab[g.visits.begin(g)]
		v.step, v.chosen = stepOpen, g.shop.at(7)
		g.shop.slots[7].withdrawn = withdrawn
		g.act(v)
		clicked := false
		for r := range g.At(g.cfg.Start + event.Minute) {
			clicked = clicked || r.Event != nil && r.Event.Type == "click" && r.Event.Session == v.id
		}
		if clicked == withdrawn {
			t.Errorf("withdrawn %v, clicked %v", withdrawn, clicked)
		}
	}
}

// The data has signal: guessing the next click of a session by what most often
// came after the last one beats guessing the ten most popular items clearly.
func TestSequencesCarrySignal(t *testing.T) {
	cfg := DefaultConfig()
	cfg.EventsPerSecond = 500
	last := map[string]string{}
	follows := map[string]map[string]int{}
	popularity := map[string]int{}
	top := func(counts map[string]int, n int) []string {
		var items []string
		for item := range counts {
			items = append(items, item)
		}
		slices.SortFunc(items, func(a, b string) int {
			if d := counts[b] - counts[a]; d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		return items[:min(n, len(items))]
	}
	events := traffic(t, cfg, 600_000)
	scored, byPopularity, bySequence, first := 0, 0, 0, 0
	var popular []string
	for i, e := range events {
		if e.Type != "click" {
			continue
		}
		before := last[e.Session]
		if before != "" {
			if i > len(events)*8/10 {
				if popular == nil {
					popular = top(popularity, 10)
				}
				scored++
				guess := top(follows[before], 10)
				switch {
				case slices.Contains(guess, e.Item):
					bySequence++
				}
				if len(guess) > 0 && guess[0] == e.Item {
					first++
				}
				if slices.Contains(popular, e.Item) {
					byPopularity++
				}
			} else {
				if follows[before] == nil {
					follows[before] = map[string]int{}
				}
				follows[before][e.Item]++
			}
		}
		popularity[e.Item]++
		last[e.Session] = e.Item
	}
	t.Logf("%d scored: HR@10 %.3f by popularity, %.3f by the last item's successors, HR@1 %.3f", scored,
		float64(byPopularity)/float64(scored), float64(bySequence)/float64(scored), float64(first)/float64(scored))
	if scored < 2000 || bySequence < 4*byPopularity || bySequence < scored/3 || first*10 < scored {
		t.Errorf("%d of %d by sequence (%d at first), %d by popularity", bySequence, scored, first, byPopularity)
	}
}
