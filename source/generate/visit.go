package generate

import "millrace/event"

// visit is a session under way: a chain of pages, each a list of items to
// click on, with item pages between them and perhaps a checkout at the end.
type visit struct {
	shopper
	id       string
	step     step
	pages    int    // lists still to be looked at
	lists    uint64 // lists looked at
	request  string // request_id of the list in view
	category int    // what the visitor is looking for
	chosen   item   // what was clicked, for stepOpen
	position int    // where it stood on the list, from 0
	seen     [8]int32
	opened   int // item pages opened; the last len(seen) of them are in seen
	cart     [4]item
	inCart   int
}

// step is what a visitor does next.
type step uint8

const (
	stepBrowse   step = iota // look at a list of the home page or a category
	stepOpen                 // open the page of the item that was clicked
	stepCheckout             // buy what is in the cart
)

const listSize = 8

// examined is the chance that a visitor who came as far as a place of a list
// clicks on an item there that is as good as any.
var examined = [listSize]probability{9800, 7600, 6300, 5400, 4800, 4400, 4100, 3900}

// places is the metadata of an impression and its click.
var places = [listSize][]byte{
	[]byte(`{"position":1}`), []byte(`{"position":2}`), []byte(`{"position":3}`), []byte(`{"position":4}`),
	[]byte(`{"position":5}`), []byte(`{"position":6}`), []byte(`{"position":7}`), []byte(`{"position":8}`),
}

// act makes the visitor's next step and returns how long it takes until the
// one after, 0 when the visit is over.
func (g *Generator) act(v *visit) event.Duration {
	gap := g.think()
	if v.step == stepCheckout {
		g.checkout(v)
		return 0
	}
	at := g.now
	var page list
	if v.step == stepOpen && g.shop.offers(v.chosen) {
		at = g.open(v, gap)
		g.related(v, &page)
	} else {
		g.browse(v, &page)
	}
	if v.pages > 0 {
		v.pages--
		g.show(v, &page, at)
		if v.step == stepOpen {
			return gap
		}
	}
	switch {
	case v.pages > 0:
		v.step = stepBrowse
		return gap
	case v.inCart > 0 && g.rnd.chance(60*percent):
		v.step = stepCheckout
		return gap
	}
	return 0
}

const (
	minPause = 2 * event.Second
	maxPause = 42 * event.Second
)

// think is the time between two steps, mostly short.
func (g *Generator) think() event.Duration {
	return minPause + event.Duration(g.rnd.below(1+g.rnd.below(int(maxPause-minPause))))
}

// event is an event of the visit, about an item.
func (g *Generator) event(v *visit, kind string, about item, at event.Time) event.Event {
	return event.Event{User: v.shopper.id, Item: g.shop.slots[about.slot].id, Type: kind, Time: at, Session: v.id}
}

// show puts a list before the visitor, who clicks on one item at most: the
// places are examined from the top (a cascade with position bias; Craswell et
// al. 2008). With a click the next step is stepOpen, without stepBrowse.
func (g *Generator) show(v *visit, page *list, at event.Time) {
	v.lists++
	g.visits.lists++
	v.request = numbered("r"+v.id[1:]+"-", v.lists)
	v.step = stepBrowse
	for place := range page.size {
		shown := &page.entries[place]
		e := g.event(v, event.TypeImpression, g.shop.at(shown.slot), at)
		e.Request, e.Metadata = v.request, places[place]
		g.emit(e)
		if v.step == stepOpen {
			continue
		}
		chance := int(examined[place]) * shown.relevance / 100 * v.likes(g.shop, shown.slot) / 100
		if g.rnd.chance(probability(chance)) {
			v.step, v.chosen, v.position = stepOpen, g.shop.at(shown.slot), place
		}
	}
}

// open is the click on the chosen item and what happens on its page until the
// next step. It returns when the page was seen.
func (g *Generator) open(v *visit, gap event.Duration) event.Time {
	e := g.event(v, event.TypeClick, v.chosen, g.now)
	e.Request, e.Metadata = v.request, places[v.position]
	g.emit(e)
	seen := g.now + 100 + event.Duration(g.rnd.below(500))
	react := func(kind string, at event.Time) {
		e := g.event(v, kind, v.chosen, at)
		e.Request = v.request
		g.emit(e)
	}
	react(event.TypeView, seen)
	liking := probability(v.likes(g.shop, v.chosen.slot))
	if g.rnd.chance(liking * percent / 10) {
		react(event.TypeLike, g.now+gap/2)
	} else if g.rnd.chance(2 * percent) {
		react(event.TypeDislike, g.now+gap/2)
	}
	if v.inCart < len(v.cart) && g.rnd.chance(10*percent+liking*percent/15) {
		react(event.TypeCart, g.now+gap*3/4)
		v.cart[v.inCart] = v.chosen
		v.inCart++
	}
	v.seen[v.opened%len(v.seen)] = v.chosen.slot
	v.opened++
	return seen
}

// checkout buys what is in the cart and still on offer; some of it is rated.
func (g *Generator) checkout(v *visit) {
	for _, about := range v.cart[:v.inCart] {
		if !g.shop.offers(about) || !g.rnd.chance(85*percent) {
			continue
		}
		e := g.event(v, event.TypePurchase, about, g.now)
		e.Value, e.HasValue = float64(g.shop.cents(about))/100, true
		g.emit(e)
		if !g.rnd.chance(25 * percent) {
			continue
		}
		quality := 2 + scale(derive(g.cfg.Seed, saltQuality, about.number), 3)
		if v.likes(g.shop, about.slot) > 100 {
			quality++
		}
		e = g.event(v, event.TypeRating, about, g.now+event.Second+event.Duration(g.rnd.below(4000)))
		e.Value, e.HasValue = float64(min(5, max(1, quality-1+g.rnd.below(3)))), true
		g.emit(e)
	}
}
