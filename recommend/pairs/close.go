package pairs

import (
	"math"
	"slices"

	"millrace/event"
	"millrace/operator"
	"millrace/recommend/decay"
)

// growth is how much a pair of a pane weighs in forward decay:
// mantissa·2^whole, the mantissa from 1 to 2. It is that of the start of the
// whole pane, also for a slice or a rest of one.
type growth struct {
	pane     event.Time
	whole    int64
	mantissa float32
}

// growthAt is the growth of the pane that holds a time.
func (b *Book) growthAt(t event.Time) growth {
	start := event.WindowStart(t, b.options.Pane)
	if b.growth.pane != start || b.growth.mantissa == 0 {
		whole, fraction := b.options.halfLife().Position(start)
		b.growth = growth{start, whole, decay.Power(0, fraction)}
	}
	return b.growth
}

// maxRise is how many half-lives the weights of a row may rise above its base
// before the base is moved, so that float32 always has room: counts below
// 2^32, times 2^40, times the panes in 40 half-lives.
const maxRise = 40

// forgotten is the weight, in units of counts, below which a partner is
// dropped when the base moves.
const forgotten = 1.0 / (1 << 20)

// step is how weights carry over a pane: weight·scale + count·growth.
type step struct{ scale, growth float32 }

// carry is what is left of a weight when the base moves.
func (s step) carry(weight float32) float32 {
	if s.scale == 1 {
		return weight
	}
	if weight = float32(weight * s.scale); weight < forgotten {
		return 0
	}
	return weight
}

// after is a weight after the pane, rounded before the sum and after.
func (s step) after(weight, count float32) float32 {
	return s.carry(weight) + float32(count*s.growth)
}

// stepOver finds the step over a pane from weights in units of 2^base
// half-lives, and the base after it.
func stepOver(base int64, begun bool, p *pane) (step, int64) {
	rise := p.growth.whole - base
	switch {
	case !begun:
		return step{1, p.growth.mantissa}, p.growth.whole
	case rise <= maxRise:
		return step{1, p.growth.mantissa * decay.Power(int(rise), 0)}, base
	case rise <= 120:
		return step{decay.Power(-int(rise), 0), p.growth.mantissa}, p.growth.whole
	}
	return step{0, p.growth.mantissa}, p.growth.whole
}

// Close is the timer of a pane: it closes the pane that ends at a time. Where
// the next pane is open in slices, they become one.
func (b *Book) Close(c *operator.Context, r *Row, at event.Time) {
	if len(r.panes) == 0 || r.panes[0].end != at {
		return
	}
	p := &r.panes[0]
	b.settle(r)
	if r.many {
		b.rank(r) // while the changes can still be told
	}
	var s step
	s, r.base = stepOver(r.base, r.begun, p)
	r.begun, r.through = true, at
	if s.scale != 1 {
		b.rescale(r, s)
		s.scale = 1
	}
	for _, n := range p.counts.cells {
		if n.id == 0 {
			continue
		}
		w := r.weights.at(n.id)
		if w == nil {
			w = r.weights.insert(n.id, &b.weights)
		}
		*w = s.after(*w, float32(n.value))
	}
	r.total = s.after(r.total, float32(p.sum))
	p.counts.drop(&b.counts)
	r.panes = slices.Delete(r.panes, 0, 1)
	if r.weights.used > 2*b.options.Capacity {
		b.prune(r)
	}
	b.join(c, r)
	b.settle(r)
}

// settle thins the panes that may be, so that the row holds exactly what its
// definition says.
func (b *Book) settle(r *Row) {
	for i := range r.panes {
		if p := &r.panes[i]; p.crowded != math.MaxInt && p.counts.used > b.options.fresh() {
			b.thin(r, p)
		}
	}
}

// rescale moves the base of the weights.
func (b *Book) rescale(r *Row, s step) {
	old := r.weights
	r.weights = table[float32]{}
	for _, c := range old.cells {
		if w := s.carry(c.value); w > 0 {
			*r.weights.insert(c.id, &b.weights) = w
		}
	}
	old.drop(&b.weights)
	r.total = s.carry(r.total)
	r.stale = true
}

// prune keeps the Capacity heaviest partners, as of what is closed.
func (b *Book) prune(r *Row) {
	b.scratch = b.scratch[:0]
	for _, c := range r.weights.cells {
		if c.id != 0 {
			b.scratch = append(b.scratch, rank(c.id, c.value))
		}
	}
	kept := b.first(b.scratch, b.options.Capacity)
	r.weights.drop(&b.weights)
	for _, k := range kept {
		*r.weights.insert(k.id(), &b.weights) = k.weight()
	}
	if len(r.panes) > 0 { // one that was dropped may count in them
		r.stale, r.pending = true, true
	}
}

// join makes one pane of the open slices of the pane that is now settled.
func (b *Book) join(c *operator.Context, r *Row) {
	start := event.WindowStart(r.through+1, b.options.Pane)
	last := start + b.options.Pane - 1
	n := 0
	for n < len(r.panes) && r.panes[n].end <= last {
		c.DeleteTimer(r.panes[n].end)
		n++
	}
	if n == 0 {
		return
	}
	first := &r.panes[0]
	for i := 1; i < n; i++ {
		p := &r.panes[i]
		first.sum += p.sum
		for _, k := range p.counts.cells {
			if k.id == 0 {
				continue
			}
			if v := first.counts.at(k.id); v != nil {
				*v = saturating(*v, k.value)
			} else {
				*first.counts.insert(k.id, &b.counts) = k.value
			}
		}
		p.counts.drop(&b.counts)
	}
	first.start, first.end, first.crowded = r.through+1, last, b.options.fresh()
	r.panes = slices.Delete(r.panes, 1, n)
	c.SetTimer(last)
}
