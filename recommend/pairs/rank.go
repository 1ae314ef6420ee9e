package pairs

import (
	"math"
	"slices"

	"millrace/event"
)

// ranked is a partner with its weight, in units of its row, packed so that
// lists are sorted as numbers: the complement of the weight's bits, then the
// partner's number. Less comes first in a ranking, but for equal weights,
// whose order is that of the external ids. Weights are positive.
type ranked uint64

func rank(id uint32, weight float32) ranked {
	return ranked(^math.Float32bits(weight))<<32 | ranked(id)
}

func (k ranked) id() uint32      { return uint32(k) }
func (k ranked) weight() float32 { return math.Float32frombits(^uint32(k >> 32)) }

// before is whether x comes before y in a ranking.
func (b *Book) before(x, y ranked) bool {
	if x>>32 != y>>32 {
		return x < y
	}
	return b.names.Compare(x.id(), y.id()) < 0
}

// first puts the n that come first in a ranking into order and returns them.
// The rest of list is in no order.
func (b *Book) first(list []ranked, n int) []ranked {
	if len(list) > n {
		split(list, n)
		b.admitTies(list, n)
		list = list[:n]
	}
	slices.Sort(list)
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[j]>>32 == list[i]>>32 {
			j++
		}
		if j > i+1 {
			b.sortTies(list[i:j])
		}
		i = j
	}
	return list
}

// sortTies puts partners of equal weight into the order of external ids.
func (b *Book) sortTies(list []ranked) {
	slices.SortFunc(list, func(x, y ranked) int { return b.names.Compare(x.id(), y.id()) })
}

// admitTies sees to it that of those that weigh as much as the last of the
// first n, the ones with the first external ids are among the n.
func (b *Book) admitTies(list []ranked, n int) {
	last := slices.Max(list[:n]) >> 32
	to := n // of the ties, which are moved next to the first n
	for i := n; i < len(list); i++ {
		if list[i]>>32 == last {
			list[i], list[to] = list[to], list[i]
			to++
		}
	}
	if to == n {
		return
	}
	from := n
	for i := n - 1; i >= 0; i-- {
		if list[i]>>32 == last {
			from--
			list[i], list[from] = list[from], list[i]
		}
	}
	b.sortTies(list[from:to])
}

// split moves the n least to the front, in no order: Hoare's FIND (CACM 4,
// 1961) with the median of three as the pivot. Lists are at most some
// thousand long, so a bad case costs little.
func split(list []ranked, n int) {
	lo, hi := 0, len(list)-1
	for lo < hi {
		a, z := list[lo], list[hi]
		pivot := max(min(a, z), min(max(a, z), list[int(uint(lo+hi)/2)]))
		i, j := lo, hi
		for i <= j {
			for list[i] < pivot {
				i++
			}
			for pivot < list[j] {
				j--
			}
			if i <= j {
				list[i], list[j] = list[j], list[i]
				i++
				j--
			}
		}
		switch {
		case n-1 <= j:
			hi = j
		case n-1 >= i:
			lo = i
		default:
			return
		}
	}
}

// closing is a step over some of a row's open panes, which will be one when
// they close.
type closing struct {
	step
	from, to int
}

// plan finds what will become of the open panes, to weigh partners as if all
// were closed. It reports whether weights keep their units.
func (b *Book) plan(r *Row) (base int64, same bool) {
	b.closings = b.closings[:0]
	base, begun, through, same := r.base, r.begun, r.through, true
	for i := 0; i < len(r.panes); {
		p := &r.panes[i]
		c := closing{from: i, to: i + 1}
		start := event.WindowStart(p.start, b.options.Pane)
		if begun && through >= start-1 { // what is open of the pane is or will be joined
			through = start + b.options.Pane - 1
			for c.to < len(r.panes) && r.panes[c.to].end <= through {
				c.to++
			}
		} else {
			through = p.end
		}
		c.step, base = stepOver(base, begun, p)
		begun, i = true, c.to
		same = same && c.scale == 1
		b.closings = append(b.closings, c)
	}
	return base, same
}

// weigh is a partner's weight, as if the open panes were closed.
func (b *Book) weigh(r *Row, id uint32) float32 {
	w := r.weights.get(id)
	for i := range b.closings {
		c := &b.closings[i]
		n := r.panes[c.from].counts.get(id)
		for j := c.from + 1; j < c.to; j++ {
			n = saturating(n, r.panes[j].counts.get(id))
		}
		w = c.after(w, float32(n))
	}
	return w
}

// rank brings top up to date. Weights only grow between two rankings unless
// the row is stale, so the top partners of now are among those of before and
// those that have changed.
func (b *Book) rank(r *Row) {
	_, same := b.plan(r)
	b.found = b.found[:0]
	b.names.NewRound()
	if r.stale || !same {
		r.top = r.top[:0]
		b.findAll(r)
	} else {
		least := b.least(r)
		for _, id := range r.changed {
			b.find(r, id, least)
		}
		if r.many {
			b.findCounted(r, least)
		}
	}
	r.stale, r.many, r.changed = !same, false, r.changed[:0]
	if len(b.found) > 0 {
		b.merge(r, b.first(b.found, b.options.Top))
	}
}

// least is the weight that a partner must have to be among the top.
func (b *Book) least(r *Row) float32 {
	if len(r.top) < b.options.Top {
		return 0
	}
	return r.top[len(r.top)-1].weight()
}

// find notes a partner if it may be among the top.
func (b *Book) find(r *Row, id uint32, least float32) {
	if !b.names.Mark(id) {
		return
	}
	if w := b.weigh(r, id); w >= least && w > 0 {
		b.found = append(b.found, rank(id, w))
	}
}

// findAll notes every partner.
func (b *Book) findAll(r *Row) {
	for _, c := range r.weights.cells {
		if c.id != 0 {
			b.find(r, c.id, 0)
		}
	}
	b.findCounted(r, 0)
}

// findCounted notes the partners in open panes.
func (b *Book) findCounted(r *Row, least float32) {
	for i := range r.panes {
		for _, c := range r.panes[i].counts.cells {
			if c.id != 0 {
				b.find(r, c.id, least)
			}
		}
	}
}

// merge merges what was found, in order, into the top, of which those that
// are marked have been weighed anew.
func (b *Book) merge(r *Row, found []ranked) {
	b.scratch = b.scratch[:0]
	for _, old := range r.top {
		if b.names.Marked(old.id()) {
			continue
		}
		for len(found) > 0 && b.before(found[0], old) {
			b.scratch = append(b.scratch, found[0])
			found = found[1:]
		}
		b.scratch = append(b.scratch, old)
	}
	b.scratch = append(b.scratch, found...)
	r.top = append(r.top[:0], b.scratch[:min(b.options.Top, len(b.scratch))]...)
}
