package generate

import "millrace/event"

// visits is the sessions under way. They begin at the rate that makes the
// configured number of events, given how many a visit has had so far.
type visits struct {
	due     wheel[int32] // indexes of slab
	slab    []visit
	free    []int32
	beginAt float64 // when the next visit begins, in ms after Config.Start
	begun   uint64
	events  uint64 // made
	lists   uint64 // looked at
}

const (
	maxPages  = 8
	meanPages = 4.5

	// priorEvents is how many events come with a list, with its clicks and
	// what follows from them. It holds until priorLists were counted; it
	// makes the rate right from the start.
	priorEvents = 9.6
	priorLists  = 5000

	// meanVisit is how long a visit takes. It makes the number of visits
	// under way right at the start.
	meanVisit = 46 * event.Second
)

func newVisits(g *Generator) visits {
	v := visits{due: newWheel[int32]()}
	v.beginAt = v.gap(g) * g.rnd.unit()
	// As many visits as there would be if the shop had been open before.
	underWay := float64(meanVisit) / v.meanGap(g)
	count := int(underWay)
	if g.rnd.unit() < underWay-float64(count) {
		count++
	}
	for range count {
		n := v.begin(g)
		rest := v.meet(g, &v.slab[n])
		v.due.push(g.now+rest, n)
	}
	return v
}

// meet changes a visit that begins to one that is under way, and returns the
// time to its next step. Who is met under way is on a long visit and in a long
// pause more often than not, and as likely at its beginning as at its end
// (the inspection paradox; Feller 1971, section I.4).
func (v *visits) meet(g *Generator, s *visit) event.Duration {
	for !g.rnd.chance(certain * probability(s.pages-1) / (maxPages - 1)) {
		s.pages = g.pages()
	}
	s.pages = 1 + g.rnd.below(s.pages-1)
	pause := g.think()
	for !g.rnd.chance(certain * probability(pause) / probability(maxPause)) {
		pause = g.think()
	}
	return event.Duration(g.rnd.below(int(pause)))
}

// meanGap is the mean time from one visit's beginning to the next in ms.
func (v *visits) meanGap(g *Generator) float64 {
	perVisit := meanPages * (priorLists*priorEvents + float64(v.events)) / float64(priorLists+v.lists)
	rate := g.cfg.EventsPerSecond
	if !g.cfg.FlatRate {
		rate *= rhythm(g.now)
	}
	return perVisit * 1000 / rate
}

// gap is the time from one visit's beginning to the next in ms.
func (v *visits) gap(g *Generator) float64 { return float64(v.meanGap(g) * (0.5 + g.rnd.unit())) }

// pages is how many lists a visitor looks at: 1 to maxPages,
// meanPages on average.
func (g *Generator) pages() int { return 1 + g.rnd.below(4) + g.rnd.below(5) }

// begin makes a visit of a shopper.
func (v *visits) begin(g *Generator) int32 {
	v.begun++
	fresh := visit{
		shopper: g.crowd.shopper(g.rnd.skewed(g.cfg.Users), g.now),
		id:      numbered("s"+g.tag, v.begun),
		pages:   g.pages(),
	}
	if last := len(v.free) - 1; last >= 0 {
		n := v.free[last]
		v.free = v.free[:last]
		v.slab[n] = fresh
		return n
	}
	v.slab = append(v.slab, fresh)
	return int32(len(v.slab) - 1)
}

// begins is when the next visit begins.
func (v *visits) begins(g *Generator) event.Time { return g.cfg.Start + event.Time(v.beginAt) }

// next is the earliest moment, now or later, at which a visitor does something.
func (v *visits) next(g *Generator) event.Time { return min(v.begins(g), v.due.next(g.now)) }

// run makes the steps that are due now.
func (v *visits) run(g *Generator) {
	for v.begins(g) <= g.now {
		v.due.push(g.now, v.begin(g))
		v.beginAt += v.gap(g)
	}
	for {
		due := v.due.first(g.now)
		if due == nil {
			return
		}
		n := *due
		v.due.pop(g.now)
		s := &v.slab[n]
		if gap := g.act(s); gap > 0 {
			v.due.push(g.now+gap, n)
			continue
		}
		v.free = append(v.free, n)
	}
}
