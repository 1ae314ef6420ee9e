package generate

// list is a page of items.
type list struct {
	entries [listSize]entry
	size    int
}

// entry is an item on a list. Its relevance is how much more than another item
// it answers what the visitor looks for, in percent.
type entry struct {
	slot      int32
	relevance int
}

// add puts a slot on the page, unless the page is full, or the slot is on it
// already, has nothing to sell, or was opened in this visit not long ago.
func (g *Generator) add(v *visit, page *list, slot int32, relevance int) {
	if page.size == listSize || g.shop.slots[slot].withdrawn {
		return
	}
	for _, e := range page.entries[:page.size] {
		if e.slot == slot {
			return
		}
	}
	for _, seen := range v.seen[:min(v.opened, len(v.seen))] {
		if seen == slot {
			return
		}
	}
	page.entries[page.size] = entry{slot, relevance}
	page.size++
}

// browse fills a page without an item to start from: the home page at first,
// the page of a category later.
func (g *Generator) browse(v *visit, page *list) {
	if v.lists == 0 || g.rnd.chance(20*percent) {
		v.category = g.intent(&v.shopper)
	}
	c := v.category
	g.fill(v, page, c, 2)
	if v.lists == 0 || g.rnd.chance(30*percent) {
		g.add(v, page, g.shop.deal(g.now, c), 150)
		g.add(v, page, g.shop.categories[c].newest, 120)
		g.add(v, page, v.staple(g.shop, g.rnd.pcg.Uint64()%3), 130)
		g.fill(v, page, g.anyCategory(), 2)
	}
	g.fill(v, page, c, listSize)
}

// related fills the page of an item that was opened, roughly with the best
// first: each place goes to one of the best four that are left.
func (g *Generator) related(v *visit, page *list) {
	slot, shop := v.chosen.slot, g.shop
	g.add(v, page, shop.neighbour(slot, 1), 170)
	g.add(v, page, shop.neighbour(slot, 2), 120)
	g.add(v, page, shop.complement(slot), 130)
	g.fill(v, page, shop.categoryOf(slot), 1)
	g.add(v, page, shop.neighbour(slot, -1), 110)
	g.fill(v, page, v.category, 1)
	g.add(v, page, shop.neighbour(slot, 3), 100)
	if v.opened > 1 && g.rnd.chance(30*percent) && page.size < listSize {
		// Back to the item before: the only one that is shown again.
		before := v.seen[(v.opened-2)%len(v.seen)]
		if !shop.slots[before].withdrawn {
			page.entries[page.size] = entry{before, 110}
			page.size++
		}
	}
	g.fill(v, page, v.category, listSize)
	for i := range page.size - 1 {
		j := min(i+g.rnd.below(4), page.size-1)
		page.entries[i], page.entries[j] = page.entries[j], page.entries[i]
	}
}

// fill adds up to n items of a category by popularity; in a small category it
// may find fewer.
func (g *Generator) fill(v *visit, page *list, category, n int) {
	want := min(listSize, page.size+n)
	for range 2 * listSize {
		if page.size >= want {
			return
		}
		g.add(v, page, g.shop.popular(g.rnd.pcg.Uint64(), category), 100)
	}
}

// intent is the category that a shopper has come for.
func (g *Generator) intent(s *shopper) int {
	switch roll := g.rnd.below(100); {
	case roll < 50:
		return s.favourites[0]
	case roll < 72:
		return s.favourites[1]
	case roll < 85:
		return s.favourites[2]
	}
	return g.anyCategory()
}

// anyCategory is a category by popularity, the first the most popular.
func (g *Generator) anyCategory() int {
	return g.shop.popularity.rank(g.rnd.pcg.Uint64(), g.cfg.Categories)
}
