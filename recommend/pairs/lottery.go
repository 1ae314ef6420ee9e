package pairs

import (
	"cmp"
	"slices"

	"millrace/event"
)

// lottery says which of the new partners of a crowded pane are kept: those
// that drew the lowest numbers. It is a binary heap with the highest on top.
// Once it is drawn, the pane's counts hold all partners that are not new as
// well, with a count of 0 if need be, so that whoever is not there is new.
type lottery []ticket

// ticket is a new partner and the number that it drew.
type ticket struct {
	number uint64
	id     uint32
}

// draw is the number of a partner in a pane. Who is lucky changes from pane to
// pane, and depends on neither the order nor the machine.
func (b *Book) draw(p *pane, id uint32) ticket {
	z := b.names.Hash(id) ^ uint64(event.WindowStart(p.start, b.options.Pane))
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 // the finaliser of splitmix64
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return ticket{z ^ (z >> 31), id}
}

// higher orders tickets; should two draw the same number, by external id.
func (b *Book) higher(x, y ticket) bool {
	if x.number != y.number {
		return x.number > y.number
	}
	return b.names.Compare(x.id, y.id) > 0
}

// admit makes room in a settled pane for a partner that is not in its counts,
// and reports false if it is not to be counted there.
func (b *Book) admit(r *Row, p *pane, id uint32) bool {
	if p.lottery == nil {
		if p.counts.used < b.options.fresh() {
			return true
		}
		b.hold(r, p)
		if p.counts.has(id) {
			return true
		}
	}
	t := b.draw(p, id)
	if len(p.lottery) == b.options.fresh() {
		if !b.higher(p.lottery[0], t) {
			return false
		}
		b.drop(r, p)
	}
	p.lottery = append(p.lottery, t)
	for i := len(p.lottery) - 1; i > 0; {
		parent := (i - 1) / 2
		if !b.higher(p.lottery[i], p.lottery[parent]) {
			break
		}
		p.lottery[i], p.lottery[parent] = p.lottery[parent], p.lottery[i]
		i = parent
	}
	return true
}

// drop drops the new partner with the highest number.
func (b *Book) drop(r *Row, p *pane) {
	id := p.lottery[0].id
	p.counts.remove(id)
	last := len(p.lottery) - 1
	p.lottery[0] = p.lottery[last]
	p.lottery = p.lottery[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < last && b.higher(p.lottery[child+1], p.lottery[child]) {
			child++
		}
		if child >= last || !b.higher(p.lottery[child], p.lottery[i]) {
			break
		}
		p.lottery[i], p.lottery[child] = p.lottery[child], p.lottery[i]
		i = child
	}
	if slices.ContainsFunc(r.top, func(k ranked) bool { return k.id() == id }) {
		r.stale = true
	}
}

// hold holds the lottery of a settled pane among the new partners it has.
func (b *Book) hold(r *Row, p *pane) {
	b.names.NewRound()
	for _, k := range r.weights {
		b.names.Mark(k.id)
	}
	p.lottery = make(lottery, 0, b.options.fresh())
	b.tickets = b.tickets[:0]
	for _, c := range p.counts.cells {
		if c.id != 0 && !b.names.Marked(c.id) {
			b.tickets = append(b.tickets, b.draw(p, c.id))
		}
	}
	slices.SortFunc(b.tickets, func(x, y ticket) int {
		return cmp.Or(cmp.Compare(y.number, x.number), b.names.Compare(y.id, x.id))
	})
	for len(b.tickets) > b.options.fresh() {
		p.counts.remove(b.tickets[0].id)
		b.tickets = b.tickets[1:]
		r.stale, r.pending = true, true
	}
	p.lottery = append(p.lottery, b.tickets...) // in descending order, which is a heap
	p.counts.reserve(len(r.weights)+b.options.fresh(), &b.pool)
	for _, k := range r.weights {
		p.counts.add(k.id, 0, &b.pool)
	}
}
