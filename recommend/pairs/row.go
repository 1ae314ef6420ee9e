package pairs

import (
	"slices"

	"millrace/event"
	"millrace/operator"
)

// Row is an item's partners.
type Row struct {
	weights []partner  // closed ones, in no order
	total   float32    // closed weight of all pairs, also of partners that were dropped
	base    int64      // weights are in units of 2^base half-lives; 0 until a pane has closed
	through event.Time // everything up to here is closed
	begun   bool       // a pane has closed
	panes   []pane     // open ones, in order of time, without overlap

	// What follows is derived, and not stored.

	pending bool     // something has changed since the last answer
	told    []uint32 // who was counted since top was made, if not too many
	many    bool     // too many were
	stale   bool     // top must be made anew
	moved   bool     // a pane has closed since top was made
	top     []ranked // the partners of most weight, in order, as of the last answer
}

// partner is a partner with its weight, above 0.
type partner struct {
	id     uint32
	weight float32
}

// pane is an open pane or slice: the counts of a stretch of time.
type pane struct {
	start, end event.Time // both inclusive; the timer is at end
	counts     table
	sum        uint64  // of all counts, also of partners that were not kept
	growth     growth  // of the pane that it is, or is part of
	settled    bool    // everything before it is closed
	lottery    lottery // if it is settled and crowded
}

// Book is what the rows of one operator instance share: the options, the ids
// and scratch space.
type Book struct {
	options Options
	names   *Names
	growth  growth // the last one looked up
	pool    pool

	closings []closing
	dense    []uint32 // by partner: counts, all 0 between calls
	places   []uint16 // by partner: the place in top, all 0 between calls
	weighed  []partner
	found    []ranked
	merged   []ranked
	tickets  []ticket
	order    []uint32
}

// NewBook makes the shared part of rows with the given options, which are
// valid.
func NewBook(o Options) *Book { return &Book{options: o, names: NewNames()} }

// Count adds a contribution to its item's row.
func (b *Book) Count(c *operator.Context, r *Row, in *Contribution) {
	p := r.paneAt(in.Slice)
	if p == nil {
		p = b.open(c, r, in.Slice)
	}
	p.counts.reserve(p.counts.used+1+len(in.more), &b.pool)
	own := b.names.from(in.terms)
	b.add(r, p, in, own, in.first)
	for _, t := range in.more {
		b.add(r, p, in, own, t)
	}
	r.pending = true
}

// mostTold is how many partners a row remembers to have changed: more than an
// event tells it of, less than what it costs to look at all of them.
const mostTold = 24

// add counts one pair in a pane. own is the translation of its sender's
// numbers.
func (b *Book) add(r *Row, p *pane, in *Contribution, own []uint32, t term) {
	p.sum += uint64(t.weight)
	id := own[t.id]
	if id == 0 {
		id = b.names.ID(in.terms.names[t.id])
		own[t.id] = id
	}
	if p.settled && p.counts.used >= b.options.fresh() && !p.counts.has(id) && !b.admit(r, p, id) {
		return
	}
	p.counts.add(id, t.weight, &b.pool)
	if len(r.told) < mostTold {
		r.told = append(r.told, id)
	} else {
		r.many = true
	}
}

// paneAt is the open pane that holds a time, or nil.
func (r *Row) paneAt(t event.Time) *pane {
	for i := range r.panes {
		if p := &r.panes[i]; t >= p.start && t <= p.end {
			return p
		}
	}
	return nil
}

// settled says that everything before the pane of a time is closed.
func (b *Book) settled(r *Row, t event.Time) bool {
	return r.begun && r.through >= event.WindowStart(t, b.options.Pane)-1
}

// open adds the pane for a time that no open pane holds: what is left of its
// pane if everything before that is closed, otherwise a slice.
func (b *Book) open(c *operator.Context, r *Row, t event.Time) *pane {
	length := b.options.slice()
	settled := b.settled(r, t)
	if settled {
		length = b.options.Pane
	}
	start := event.WindowStart(t, length)
	end := start + length - 1
	if settled {
		start = max(start, r.through+1)
	}
	c.SetTimer(end)
	i := 0
	for i < len(r.panes) && r.panes[i].start < start {
		i++
	}
	if i < len(r.panes) {
		r.stale = true // those after it close differently now
	}
	r.panes = slices.Insert(r.panes, i, b.newPane(start, end, settled))
	return &r.panes[i]
}

func (b *Book) newPane(start, end event.Time, settled bool) pane {
	return pane{start: start, end: end, settled: settled, growth: b.growthAt(start)}
}
