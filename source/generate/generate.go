// Package generate makes the traffic of a shop that does not exist: shoppers
// with tastes, visits that go from lists to clicks to purchases, items that
// come and go, events that arrive late. Everything is a function of the seed
// and the configuration: no clock, no map order, no floating point that
// differs between machines, so the same Config gives the same bytes anywhere.
//
// Memory does not grow with users or with time: a shopper is derived from a
// hash of the user's number whenever a visit begins, and only the visits under
// way, the events not yet delivered and the items on offer are kept.
package generate

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"

	"millrace/event"
	"millrace/source"
)

// ErrConfig is wrapped by New when a configuration cannot be generated from.
var ErrConfig = errors.New("no traffic can be generated")

// MaxDisorder is the bound that Config.Disorder has to stay under: the
// out-of-orderness that stream jobs allow for by default.
const MaxDisorder = 5 * event.Second

// Config says what shop to make. Start from DefaultConfig.
type Config struct {
	Seed       uint64     // another seed is another shop with other shoppers
	Users      int        // shoppers, u1 to uN; low numbers visit more often
	Items      int        // items on offer at any time, i1 to iN at the start
	Categories int        // at most Items; beyond the vocabulary, names repeat with a number
	Start      event.Time // event time of the first events

	// EventsPerSecond is the mean rate over a day, in events a second of
	// event time.
	EventsPerSecond float64
	// FlatRate removes day and night: the rate is the same at every hour (UTC).
	FlatRate bool
	// Disorder is how much later than its event time an event may be
	// delivered, at least 0 and under MaxDisorder; 0 delivers in order.
	Disorder event.Duration
	// ItemInterval is the mean time from one item that goes, with a new one
	// in its place, to the next; 0 keeps the items of the start for ever.
	ItemInterval event.Duration
	// EventIDs puts an event_id on every event, unique for seed and start.
	EventIDs bool
}

// DefaultConfig is a shop of 2,000 items and 10,000 shoppers at 100 events a
// second, events up to 2 s late, a new item every 30 s.
func DefaultConfig() Config {
	return Config{
		Seed:            1,
		Users:           10_000,
		Items:           2_000,
		Categories:      16,
		Start:           1_767_603_600_000, // 2026-01-05T09:00:00Z, a Monday
		EventsPerSecond: 100,
		Disorder:        2 * event.Second,
		ItemInterval:    30 * event.Second,
	}
}

func (c *Config) check() error {
	switch {
	case c.Users < 1 || c.Users > math.MaxInt32:
		return fmt.Errorf("%w: users: expected 1 to %d, got %d", ErrConfig, math.MaxInt32, c.Users)
	case c.Items < 1 || c.Items > 1<<26:
		return fmt.Errorf("%w: items: expected 1 to %d, got %d", ErrConfig, 1<<26, c.Items)
	case c.Categories < 1 || c.Categories > c.Items:
		return fmt.Errorf("%w: categories: expected 1 to the number of items, got %d", ErrConfig, c.Categories)
	case !(c.EventsPerSecond >= 1e-3 && c.EventsPerSecond <= 1e7):
		return fmt.Errorf("%w: events per second: expected 0.001 to 10,000,000, got %v", ErrConfig, c.EventsPerSecond)
	case c.Disorder < 0 || c.Disorder >= MaxDisorder:
		return fmt.Errorf("%w: disorder: expected at least 0 and under %d ms, got %d ms", ErrConfig, MaxDisorder, c.Disorder)
	case c.ItemInterval < 0:
		return fmt.Errorf("%w: item interval: expected at least 0, got %d ms", ErrConfig, c.ItemInterval)
	case c.Start < -1<<50 || c.Start > 1<<50:
		return fmt.Errorf("%w: start: %v is out of range", ErrConfig, c.Start)
	}
	return nil
}

// Generator makes the records of one shop, in the order of their delivery. It
// is not safe for concurrent use.
type Generator struct {
	cfg    Config
	rnd    random
	shop   *shop
	crowd  crowd
	now    event.Time // everything due before now has been delivered
	visits visits
	out    wheel[delivery]
	tag    string // of this run, in ids
	given  bool   // the delivery at the head of out was handed to the caller
	rows   uint64 // records delivered
}

// delivery is a record on its way to the caller: a change, or an event.
type delivery struct {
	event  event.Event
	change *event.Change
}

// New makes a generator, or an error that wraps ErrConfig.
func New(cfg Config) (*Generator, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	g := &Generator{
		cfg:   cfg,
		rnd:   newRandom(cfg.Seed),
		shop:  newShop(cfg),
		crowd: crowd{cfg: cfg},
		now:   cfg.Start,
		tag:   runTag(cfg),
		out:   newWheel[delivery](),
	}
	g.visits = newVisits(g)
	return g, nil
}

// runTag tells the sessions, requests and events of one run from those of a
// run with another seed or start, when both are put into one log.
func runTag(cfg Config) string {
	return strconv.FormatUint(mix(cfg.Seed, uint64(cfg.Start))>>34, 36) + "-"
}

// Catalogue is what the shop knows at Config.Start: a PutItem for every item
// and then a PutUser for every user. It depends on the configuration only, not
// on how far the generator has come, and may be ranged over again.
func (g *Generator) Catalogue() iter.Seq[event.Change] {
	return func(yield func(event.Change) bool) {
		start := newShop(g.cfg)
		for slot := range start.slots {
			item := start.item(slot, false)
			if !yield(event.Change{Kind: event.PutItem, Item: &item}) {
				return
			}
		}
		for number := range g.cfg.Users {
			user := g.crowd.user(number)
			if !yield(event.Change{Kind: event.PutUser, User: &user}) {
				return
			}
		}
	}
}

// Next is the record that is delivered next: an event, or a change of the
// catalogue (an item that came or was hidden). There is always one. The record
// and what it points to are valid until the next call; strings in it stay
// valid, and its metadata must not be written to.
func (g *Generator) Next() source.Record {
	r, _ := g.next(event.MaxTime)
	return r
}

// At yields the records due at or before the moment now that have not been
// delivered yet, in the order of delivery; it is how a caller lets the
// generator follow a clock. An event is due at its event time plus its delay.
// Each record is valid until the loop asks for the next one. Breaking out of
// the loop leaves the rest for the next call.
func (g *Generator) At(now event.Time) iter.Seq[source.Record] {
	return func(yield func(source.Record) bool) {
		for {
			r, ok := g.next(now)
			if !ok || !yield(r) {
				return
			}
		}
	}
}

// next delivers the next record due at or before limit.
func (g *Generator) next(limit event.Time) (source.Record, bool) {
	if g.given {
		g.out.pop(g.now)
		g.given = false
	}
	for {
		if d := g.out.first(g.now); d != nil && g.now <= limit {
			g.given = true
			g.rows++
			if d.change != nil {
				return source.Record{Change: d.change, Row: g.rows}, true
			}
			return source.Record{Event: &d.event, Row: g.rows}, true
		}
		next := min(g.shop.nextChange(), g.visits.next(g), g.out.next(g.now))
		if next > limit {
			return source.Record{}, false
		}
		g.now = next
		g.turnOver()
		g.visits.run(g)
	}
}

// turnOver does what is due to the shop's items, and announces it.
func (g *Generator) turnOver() {
	for {
		hidden, added, ok := g.shop.turnOver(g.now, &g.rnd)
		if !ok {
			return
		}
		g.out.push(g.now, delivery{change: &event.Change{Kind: event.PutItem, Item: hidden}})
		g.out.push(g.now, delivery{change: &event.Change{Kind: event.PutItem, Item: added}})
	}
}

// emit sends an event on its way. Its time is at or after now by less than
// maxPause, so that with its delay it fits the wheel.
func (g *Generator) emit(e event.Event) {
	g.visits.events++
	if g.cfg.EventIDs {
		e.ID = numbered("g"+g.tag, g.visits.events)
	}
	due := e.Time
	if g.cfg.Disorder > 0 && g.rnd.chance(lateShare) {
		due += event.Duration(g.rnd.below(int(g.cfg.Disorder) + 1))
	}
	g.out.push(due, delivery{event: e})
}

// lateShare is the part of the events that are delivered late.
const lateShare = percent * 30
