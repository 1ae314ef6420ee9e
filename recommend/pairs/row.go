package pairs

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/operator"
)

// One is the weight of a pair of neighbours in a trail, at distance 1, in the
// units of counts.
const One = 4096

// weight is what a pair at a distance weighs, in units of 1/One, rounded.
func weight(distance uint32) uint32 { return (One + distance/2) / distance }

// Contribution is what a row is told: it goes with these partners.
type Contribution struct {
	// Item is the row's item.
	Item string `json:"item"`
	// Partners are distinct and not the item. The last is at Distance, each
	// one before it one further away. The slice never changes.
	Partners []string `json:"partners"`
	Distance uint32   `json:"distance"`
}

// Row is an item's partners.
type Row struct {
	weights table[float32] // closed weight by partner, all > 0, in units of 2^base half-lives
	total   float32        // closed weight of all pairs, also of partners that were dropped
	base    int64          // 0 until a pane has closed
	through event.Time     // everything up to here is closed
	begun   bool           // a pane has closed
	panes   []pane         // open ones, in order of time, without overlap

	// What follows is derived, and not stored.

	top     []ranked // the partners of most weight, in order, as of the last ranking
	changed []uint32 // partners counted since then, with repeats
	many    bool     // too many to note: any in an open pane
	stale   bool     // top must be made anew
	pending bool     // something has changed since the last answer
}

// pane is an open pane or slice: the counts of a stretch of time.
type pane struct {
	start, end event.Time // both inclusive; the timer is at end
	counts     table[uint32]
	sum        uint64 // of all counts, also of partners that were not kept
	growth     growth // of the pane that it is, or is part of
	limit      uint64 // hashes of new partners that are kept
	crowded    int    // the number of partners at which to look for those to drop
}

// noted is how many changes a row notes between two rankings before it rather
// looks at all that is in open panes.
const noted = 64

// Book is what the rows of one operator instance share: the options, the ids
// and scratch space.
type Book struct {
	options Options
	names   *Names
	growth  growth // the last one looked up
	noted   int

	counts   pool[uint32]
	weights  pool[float32]
	scratch  []ranked
	found    []ranked
	closings []closing
	hashes   []uint64
	order    []uint32
}

// NewBook makes the shared part of rows with the given options, which are
// valid.
func NewBook(o Options) *Book {
	return &Book{options: o, names: NewNames(), noted: noted}
}

// Count adds a contribution at the time of the context to its item's row.
func (b *Book) Count(c *operator.Context, r *Row, in *Contribution) {
	at := c.Effective()
	age := at - c.Time
	h := b.options.halfLife()
	if len(in.Partners) == 0 || h.Scale(weight(in.Distance), age) == 0 {
		c.Unchanged()
		return
	}
	p := r.paneAt(at)
	if p == nil {
		p = b.open(c, r, at)
	}
	distance := in.Distance
	for _, name := range slices.Backward(in.Partners) {
		w := h.Scale(weight(distance), age)
		distance++
		if w == 0 {
			break // those further away weigh no more
		}
		b.add(r, p, b.names.ID(name), w)
	}
	r.pending = true
}

// add counts one partner in a pane.
func (b *Book) add(r *Row, p *pane, id, w uint32) {
	p.sum += uint64(w)
	if n := p.counts.at(id); n != nil {
		*n = saturating(*n, w)
	} else {
		if p.limit != math.MaxUint64 && b.hash(p, id) > p.limit && r.weights.at(id) == nil {
			return
		}
		*p.counts.insert(id, &b.counts) = w
		if p.counts.used >= p.crowded {
			b.thin(r, p)
		}
	}
	if len(r.changed) < b.noted {
		r.changed = append(r.changed, id)
	} else {
		r.many = true
	}
}

// saturating is a+b, or the largest number if that is less; it commutes.
func saturating(a, b uint32) uint32 {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxUint32
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
	var p pane
	if b.settled(r, t) {
		start := event.WindowStart(t, b.options.Pane)
		p = b.newPane(max(start, r.through+1), start+b.options.Pane-1)
		p.crowded = b.options.fresh()
	} else {
		start := event.WindowStart(t, b.options.slice())
		p = b.newPane(start, start+b.options.slice()-1)
	}
	c.SetTimer(p.end)
	i := 0
	for i < len(r.panes) && r.panes[i].start < p.start {
		i++
	}
	if i < len(r.panes) {
		r.stale = true // those after it close differently now
	}
	r.panes = slices.Insert(r.panes, i, p)
	return &r.panes[i]
}

func (b *Book) newPane(start, end event.Time) pane {
	return pane{start: start, end: end, growth: b.growthAt(start), limit: math.MaxUint64, crowded: math.MaxInt}
}

// hash orders the partners that are new in a pane: which of them are kept if
// there are too many is a lottery that is drawn anew each pane.
func (b *Book) hash(p *pane, id uint32) uint64 {
	z := xxhash.Sum64String(b.names.Name(id)) ^ uint64(event.WindowStart(p.start, b.options.Pane))
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 // the finaliser of splitmix64
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// thin drops the new partners of a pane that are beyond the bound, those with
// the largest hashes. Only panes of rows that are settled are thinned: from
// then on it is known which partners are new.
func (b *Book) thin(r *Row, p *pane) {
	b.hashes = b.hashes[:0]
	for _, c := range p.counts.cells {
		if c.id != 0 && r.weights.at(c.id) == nil {
			b.hashes = append(b.hashes, b.hash(p, c.id))
		}
	}
	keep := b.options.fresh()
	if len(b.hashes) > keep {
		slices.Sort(b.hashes)
		p.limit = b.hashes[keep-1]
		old := p.counts
		p.counts = table[uint32]{}
		for _, c := range old.cells {
			if c.id != 0 && (r.weights.at(c.id) != nil || b.hash(p, c.id) <= p.limit) {
				*p.counts.insert(c.id, &b.counts) = c.value
			}
		}
		old.drop(&b.counts)
		r.stale, r.pending = true, true
	}
	p.crowded = p.counts.used + keep
}
