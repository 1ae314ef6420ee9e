package pairs

import (
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
	var s step
	s, r.base = stepOver(r.base, r.begun, p)
	r.begun, r.through = true, at
	r.weights = b.over(r.weights, s, r.panes[:1])
	r.total = s.after(r.total, float32(p.sum))
	r.stale, r.moved = r.stale || s.scale != 1, true
	p.counts.drop(&b.pool)
	r.panes = slices.Delete(r.panes, 0, 1)
	if len(r.weights) > 2*b.options.Capacity {
		b.prune(r)
	}
	b.join(c, r)
}

// over takes weights over a step, over panes that close as one, in place.
func (b *Book) over(weights []partner, s step, panes []pane) []partner {
	b.spread(panes)
	left := 0
	for _, k := range weights {
		if n := b.dense[k.id]; n != 0 {
			b.dense[k.id] = 0
			k.weight = s.after(k.weight, float32(n))
		} else if s.scale != 1 {
			k.weight = s.carry(k.weight)
		}
		if k.weight > 0 {
			weights[left] = k
			left++
		}
	}
	weights = weights[:left]
	for i := range panes {
		for _, c := range panes[i].counts.cells {
			if n := b.dense[c.id]; n != 0 {
				b.dense[c.id] = 0
				weights = append(weights, partner{c.id, s.after(0, float32(n))})
			}
		}
	}
	return weights
}

// spread puts the counts of panes that close as one into dense.
func (b *Book) spread(panes []pane) {
	b.dense = grow(b.dense, b.names.Len())
	for i := range panes {
		for _, c := range panes[i].counts.cells {
			b.dense[c.id] = saturating(b.dense[c.id], c.count)
		}
	}
}

// prune leaves the Capacity heaviest partners, as of what is closed.
func (b *Book) prune(r *Row) {
	b.found = b.found[:0]
	for _, k := range r.weights {
		b.found = append(b.found, rank(k.id, k.weight))
	}
	r.weights = r.weights[:0]
	for _, k := range b.choose(b.found, b.options.Capacity) {
		r.weights = append(r.weights, partner{k.id(), k.weight()})
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
			if k.id != 0 {
				first.counts.add(k.id, k.count, &b.pool)
			}
		}
		p.counts.drop(&b.pool)
	}
	first.start, first.end, first.settled = r.through+1, last, true
	r.panes = slices.Delete(r.panes, 1, n)
	c.SetTimer(last)
	if r.panes[0].counts.used > b.options.fresh() {
		b.hold(r, &r.panes[0])
	}
}
