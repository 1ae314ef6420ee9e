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
	list = b.choose(list, n)
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

// choose moves the n that come first in a ranking to the front, in no order,
// and returns them.
func (b *Book) choose(list []ranked, n int) []ranked {
	if len(list) <= n {
		return list
	}
	split(list, n)
	b.admitTies(list, n)
	return list[:n]
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

// weigh is what the weights will be when all open panes but those of the last
// closing have closed. It is not to be changed, and valid until the next call.
func (b *Book) weigh(r *Row) []partner {
	if len(b.closings) <= 1 {
		return r.weights
	}
	b.weighed = append(b.weighed[:0], r.weights...)
	for _, c := range b.closings[:len(b.closings)-1] {
		b.weighed = b.over(b.weighed, c.step, r.panes[c.from:c.to])
	}
	return b.weighed
}

// rank brings top up to date. Weights only grow between two rankings unless
// the row is stale, so the top partners of now are among those of before and
// those that weigh at least what the last of before did. If no pane has
// closed since, only partners that count in open panes have changed, and if
// few were told since, only those.
func (b *Book) rank(r *Row) {
	_, same := b.plan(r)
	if !r.stale && same && !r.moved && !r.many && len(b.closings) == 1 {
		for _, id := range r.told {
			b.promote(r, id)
		}
		r.told = r.told[:0]
		return
	}
	if r.stale || !same {
		r.top = r.top[:0]
		r.moved = true
	}
	least := float32(0)
	if len(r.top) == b.options.Top {
		least = r.top[len(r.top)-1].weight()
	}
	weights := b.weigh(r)
	last, panes := step{scale: 1}, r.panes[:0]
	if n := len(b.closings); n > 0 {
		last, panes = b.closings[n-1].step, r.panes[b.closings[n-1].from:]
	}
	all := r.moved || len(b.closings) > 1
	b.spread(panes)
	b.places = grow(b.places, b.names.Len())
	for i, k := range r.top {
		b.places[k.id()] = uint16(i + 1)
	}
	b.found = b.found[:0]
	for _, k := range weights {
		w := k.weight
		if n := b.dense[k.id]; n != 0 {
			b.dense[k.id] = 0
			w = last.after(w, float32(n))
		} else if !all {
			continue
		} else if last.scale != 1 {
			w = last.carry(w)
		}
		if w >= least && w > 0 {
			b.note(r, k.id, w)
		}
	}
	for i := range panes {
		for _, c := range panes[i].counts.cells {
			if n := b.dense[c.id]; n != 0 {
				b.dense[c.id] = 0
				if w := last.after(0, float32(n)); w >= least {
					b.note(r, c.id, w)
				}
			}
		}
	}
	for _, k := range r.top {
		// What has not been met has not changed, or was pruned since the last
		// ranking: then Capacity others weigh more, and it falls out here.
		b.places[k.id()] = 0
	}
	b.insertionSort(r.top)
	b.merge(r, b.first(b.found, b.options.Top))
	r.stale, r.moved, r.many, r.told = !same, false, false, r.told[:0]
}

// promote moves a partner that was counted in the open panes, which close as
// one, to its place in top.
func (b *Book) promote(r *Row, id uint32) {
	n, w := uint32(0), float32(0)
	for i := range r.panes {
		n = saturating(n, r.panes[i].counts.count(id))
	}
	for _, k := range r.weights {
		if k.id == id {
			w = k.weight
			break
		}
	}
	k := rank(id, b.closings[0].after(w, float32(n)))
	i := slices.IndexFunc(r.top, func(k ranked) bool { return k.id() == id })
	switch {
	case k.weight() == 0:
		return
	case i >= 0:
	case len(r.top) < b.options.Top:
		i = len(r.top)
		r.top = append(r.top, k)
	case b.before(k, r.top[len(r.top)-1]):
		i = len(r.top) - 1
	default:
		return
	}
	for i > 0 && b.before(k, r.top[i-1]) {
		r.top[i] = r.top[i-1]
		i--
	}
	r.top[i] = k
}

// note notes a partner that may be among the top.
func (b *Book) note(r *Row, id uint32, w float32) {
	if at := b.places[id]; at > 0 {
		b.places[id] = 0
		r.top[at-1] = rank(id, w)
	} else {
		b.found = append(b.found, rank(id, w))
	}
}

// insertionSort sorts a list that is nearly sorted, by insertion.
func (b *Book) insertionSort(list []ranked) {
	for i := 1; i < len(list); i++ {
		k, j := list[i], i
		for j > 0 && (k>>32 < list[j-1]>>32 || k>>32 == list[j-1]>>32 && b.before(k, list[j-1])) {
			list[j] = list[j-1]
			j--
		}
		list[j] = k
	}
}

// merge merges what was found, in order, into the top.
func (b *Book) merge(r *Row, found []ranked) {
	if len(found) == 0 {
		return
	}
	b.merged = b.merged[:0]
	for _, k := range r.top {
		for len(found) > 0 && b.before(found[0], k) {
			b.merged = append(b.merged, found[0])
			found = found[1:]
		}
		b.merged = append(b.merged, k)
	}
	b.merged = append(b.merged, found...)
	r.top = append(r.top[:0], b.merged[:min(b.options.Top, len(b.merged))]...)
}
