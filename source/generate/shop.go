package generate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/event"
)

// shop is the items on offer. There is a fixed number of slots, each with one
// item; the item changes when it goes and another comes. A slot stands for a
// product, its items for the models of that product that follow each other.
//
// Slot s belongs to category s mod Categories. Inside a category, lineSize
// consecutive slots are a product line: the same noun and style, arranged in a
// ring. Neighbours on the ring are what a visitor looks at next; the same
// place in the neighbouring category is what goes well with it.
type shop struct {
	cfg        Config
	slots      []stock
	categories []category
	popularity zipf
	numbers    uint64       // item numbers given out
	leaving    []withdrawal // in the order of time
	withdrawAt event.Time   // when the next item is withdrawn
}

// stock is the item in a slot.
type stock struct {
	number    uint64
	id        string
	created   event.Time
	withdrawn bool // off the lists, not yet hidden
}

type category struct {
	name     string
	ranked   []int32 // its slots, the most popular first
	newest   int32   // the slot with the newest item
	division *department
}

// withdrawal is a slot whose item is hidden at a moment.
type withdrawal struct {
	slot int32
	at   event.Time
}

const (
	lineSize = 8
	// farewell is how long an item is off the lists before it is hidden:
	// longer than any event about it can be under way.
	farewell = event.Minute
)

// item is what visits remember: a slot and the item that was in it.
type item struct {
	slot   int32
	number uint64
}

func newShop(cfg Config) *shop {
	s := &shop{
		cfg:        cfg,
		slots:      make([]stock, cfg.Items),
		categories: make([]category, cfg.Categories),
		withdrawAt: event.MaxTime,
	}
	if cfg.ItemInterval > 0 {
		s.withdrawAt = cfg.Start + cfg.ItemInterval
	}
	for slot := range s.slots {
		s.numbers++
		age := event.Day + event.Duration(scale(derive(cfg.Seed, saltAge, s.numbers), int(700*event.Day)))
		s.slots[slot] = stock{number: s.numbers, id: numbered("i", s.numbers), created: cfg.Start - age}
		c := &s.categories[slot%cfg.Categories]
		c.ranked = append(c.ranked, int32(slot))
	}
	rnd := newRandom(mix(cfg.Seed, saltRank))
	for n := range s.categories {
		c := &s.categories[n]
		c.newest = int32(n)
		c.division = &departments[n%len(departments)]
		c.name = c.division.name
		if round := n / len(departments); round > 0 {
			c.name += " " + strconv.Itoa(round+1)
		}
		for i := len(c.ranked) - 1; i > 0; i-- {
			j := rnd.below(i + 1)
			c.ranked[i], c.ranked[j] = c.ranked[j], c.ranked[i]
		}
	}
	s.popularity = newZipf(max(len(s.categories[0].ranked), cfg.Categories))
	return s
}

// Salts keep the hashes of different properties apart.
const (
	saltAge = iota
	saltRank
	saltPrice
	saltQuality
	saltPerson
	saltTaste
	saltPhase
	saltStyle
	saltStaple
	saltDeal
)

func (s *shop) categoryOf(slot int32) int { return int(slot) % s.cfg.Categories }

// kind is the noun and the style of a slot's product line: another pair for
// each of the first 64 lines of a category.
func (s *shop) kind(slot int32) (noun, style int) {
	line := int(slot) / s.cfg.Categories / lineSize
	return line % 8, (line + line/8) % 8
}

// neighbour is the slot that is steps further on the ring of the product line,
// the same slot when the line has one item.
func (s *shop) neighbour(slot int32, steps int) int32 {
	c := s.categoryOf(slot)
	place := int(slot) / s.cfg.Categories
	base := place - place%lineSize
	size := min(lineSize, len(s.categories[c].ranked)-base)
	place = base + ((place-base+steps)%size+size)%size
	return int32(place*s.cfg.Categories + c)
}

// complement is the slot of what goes well with a slot.
func (s *shop) complement(slot int32) int32 {
	c := s.categoryOf(slot) ^ 1
	if c >= s.cfg.Categories {
		return s.neighbour(slot, lineSize/2)
	}
	place := int(slot) / s.cfg.Categories % len(s.categories[c].ranked)
	return int32(place*s.cfg.Categories + c)
}

// popular maps a uniform number to a slot of the category by popularity.
func (s *shop) popular(x uint64, category int) int32 {
	ranked := s.categories[category].ranked
	return ranked[s.popularity.rank(x, len(ranked))]
}

// deal is the slot on offer in a category in the hour of t.
func (s *shop) deal(t event.Time, category int) int32 {
	hour := uint64(event.WindowStart(t, event.Hour) / event.Hour)
	ranked := s.categories[category].ranked
	return ranked[scale(derive(s.cfg.Seed, saltDeal, hour, uint64(category)), len(ranked))]
}

// at is what a slot holds.
func (s *shop) at(slot int32) item { return item{slot, s.slots[slot].number} }

// offers tells whether the item can be looked at and bought.
func (s *shop) offers(i item) bool {
	return s.slots[i.slot].number == i.number && !s.slots[i.slot].withdrawn
}

// cents is the price of an item, one that ends as prices do.
func (s *shop) cents(i item) int {
	noun, _ := s.kind(i.slot)
	typical := s.categories[s.categoryOf(i.slot)].division.cents[noun]
	price := typical * (60 + scale(derive(s.cfg.Seed, saltPrice, i.number), 81)) / 100
	if price < 1000 {
		return price - price%10 + 9
	}
	return price - price%100 + 90
}

// item is the catalogue's record of what a slot holds.
func (s *shop) item(slot int, hidden bool) event.Item {
	c := &s.categories[s.categoryOf(int32(slot))]
	noun, style := s.kind(int32(slot))
	held := &s.slots[slot]
	cents := s.cents(s.at(int32(slot)))
	return event.Item{
		ID:         held.id,
		Title:      c.division.styles[style] + " " + c.division.nouns[noun] + " " + strconv.FormatUint(held.number, 10),
		Categories: []string{c.name},
		Tags:       []string{strings.ToLower(c.division.styles[style]), strings.ToLower(c.division.nouns[noun])},
		Hidden:     hidden,
		Created:    held.created,
		Metadata:   fmt.Appendf(nil, `{"price":%d.%02d}`, cents/100, cents%100),
	}
}

// nextChange is when turnOver has something to do.
func (s *shop) nextChange() event.Time {
	if len(s.leaving) > 0 {
		return min(s.withdrawAt, s.leaving[0].at)
	}
	return s.withdrawAt
}

// turnOver withdraws the items whose time has come, and replaces one item that
// was withdrawn long enough ago: the old item, now hidden, and the new one in
// its place. It is called until it has none.
func (s *shop) turnOver(now event.Time, rnd *random) (hidden, added *event.Item, ok bool) {
	for s.withdrawAt <= now {
		s.withdraw(rnd)
	}
	if len(s.leaving) == 0 || s.leaving[0].at > now {
		return nil, nil, false
	}
	slot := s.leaving[0].slot
	s.leaving = slices.Delete(s.leaving, 0, 1)
	old := s.item(int(slot), true)
	s.numbers++
	s.slots[slot] = stock{number: s.numbers, id: numbered("i", s.numbers), created: now}
	// A new item has a popularity of its own.
	c := &s.categories[s.categoryOf(slot)]
	from, to := slices.Index(c.ranked, slot), rnd.below(len(c.ranked))
	c.ranked[from], c.ranked[to] = c.ranked[to], c.ranked[from]
	c.newest = slot
	fresh := s.item(int(slot), false)
	return &old, &fresh, true
}

// withdraw takes one item off the lists, unless half of the shop is.
func (s *shop) withdraw(rnd *random) {
	slot := rnd.below(len(s.slots))
	if held := &s.slots[slot]; !held.withdrawn && 2*len(s.leaving)+2 <= len(s.slots) {
		held.withdrawn = true
		s.leaving = append(s.leaving, withdrawal{int32(slot), s.withdrawAt + farewell})
	}
	s.withdrawAt += max(1, s.cfg.ItemInterval/2+event.Duration(rnd.below(int(s.cfg.ItemInterval))))
}
