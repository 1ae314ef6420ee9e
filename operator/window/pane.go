package window

import (
	"fmt"
	"slices"
	"unsafe"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator/codec"
)

// pane is a part of windows, with what was added to it: a whole window if
// windows tumble. Only the windows draw from it that end after its cut: those
// that were not closed when its inputs came. Of inputs that were late for none
// the cut is the start.
type pane[A any] struct {
	start event.Time
	cut   event.Time
	n     int // inputs since the last firing, if a trigger counts them
	sum   A
}

// drawn reports whether a window that holds the pane, and ends at a moment, draws
// from it.
func (p *pane[A]) drawn(end event.Time) bool { return p.cut < end }

// panes are those of a key, in the order of start and cut. A single one, as
// tumbling windows mostly have, lies in one, which is in the key's slot.
type panes[A any] struct {
	one  pane[A]
	list []pane[A] // if there are several, or were
	any  bool      // whether there are any
}

// all are the panes.
func (s *panes[A]) all() []pane[A] {
	switch {
	case !s.any:
		return nil
	case s.list != nil:
		return s.list
	}
	return unsafe.Slice(&s.one, 1)
}

// at is a pane, a new one if there is none. It is valid until the next call.
func (s *panes[A]) at(start, cut event.Time, free *spare[A]) (p *pane[A], fresh bool) {
	if s.list == nil && s.any && s.one.start == start && s.one.cut == cut {
		return &s.one, false
	}
	list := s.all()
	i := len(list)
	for i > 0 && (list[i-1].start > start || list[i-1].start == start && list[i-1].cut > cut) {
		i--
	}
	if i > 0 && list[i-1].start == start && list[i-1].cut == cut {
		return &list[i-1], false
	}
	p = &s.one
	if s.any {
		if s.list == nil {
			s.list = append(free.takeList(), s.one)
			s.one = pane[A]{}
		}
		s.list = slices.Insert(s.list, i, pane[A]{})
		p = &s.list[i]
	}
	s.any = true
	p.start, p.cut, p.n = start, cut, 0
	free.take(&p.sum)
	return p, true
}

// drop lets go of the first n panes.
func (s *panes[A]) drop(n int, free *spare[A]) {
	if n == 0 {
		return
	}
	list := s.all()
	for i := range n {
		free.give(&list[i].sum)
	}
	switch {
	case n < len(list):
		s.list = slices.Delete(s.list, 0, n)
		return
	case s.list != nil:
		clear(s.list)
		free.giveList(s.list)
		s.list = nil
	}
	s.any = false
}

// spare keeps the memory of panes that are not needed any more. It is an
// operator's, for all keys of a shard.
type spare[A any] struct {
	zero  func(*A) // makes an accumulator zero that keeps its memory, or nil
	sums  []A
	lists [][]pane[A]
	size  int // of a new list
}

// spared bounds the accumulators and the lists that are kept.
const spared = 1 << 14

// take fills in an accumulator, which is zero, with one that has memory.
func (f *spare[A]) take(a *A) {
	if n := len(f.sums); n > 0 {
		*a = f.sums[n-1]
		f.sums = f.sums[:n-1]
	}
}

// give takes an accumulator back, and makes it zero.
func (f *spare[A]) give(a *A) {
	if f.zero != nil && len(f.sums) < spared {
		f.zero(a)
		f.sums = append(f.sums, *a)
	}
	*a = *new(A)
}

func (f *spare[A]) takeList() []pane[A] {
	if n := len(f.lists); n > 0 {
		list := f.lists[n-1]
		f.lists = f.lists[:n-1]
		return list
	}
	return make([]pane[A], 0, f.size)
}

func (f *spare[A]) giveList(list []pane[A]) {
	if len(f.lists) < spared && cap(list) <= 4*f.size {
		f.lists = append(f.lists, list[:0])
	}
}

// append and load are the stored form of panes: how long they are, then each.
func (s *panes[A]) append(dst []byte, g *grid, c *codec.Codec[A]) []byte {
	list := s.all()
	dst = wire.AppendUvarint(dst, uint64(g.pane))
	dst = wire.AppendUvarint(dst, uint64(len(list)))
	for i := range list {
		p := &list[i]
		dst = wire.AppendVarint(dst, int64(p.start))
		dst = wire.AppendUvarint(dst, uint64(p.cut-p.start))
		dst = wire.AppendUvarint(dst, uint64(p.n))
		dst = c.Append(dst, &p.sum)
	}
	return dst
}

func (s *panes[A]) load(src []byte, g *grid, c *codec.Codec[A]) error {
	r := wire.NewReader(src)
	length, n := event.Duration(r.Uvarint()), r.Count()
	if r.Err() == nil && length != g.pane {
		return fmt.Errorf("%w: panes of %d ms: these windows have panes of %d ms", wire.ErrCorrupt, length, g.pane)
	}
	for i := range n {
		var p pane[A]
		p.start = event.Time(r.Varint())
		p.cut = p.start + event.Time(r.Uvarint())
		p.n = int(r.Uvarint())
		c.Load(r, &p.sum)
		if r.Err() != nil {
			return r.Err()
		}
		if !g.has(p.start, p.cut) || i > 0 && !s.all()[i-1].before(&p) {
			return fmt.Errorf("%w: no pane of these windows: %v, for windows that end after %v", wire.ErrCorrupt, p.start, p.cut)
		}
		s.any = true
		if n == 1 {
			s.one = p
		} else {
			s.list = append(s.list, p)
		}
	}
	return r.End()
}

// before is the order of panes.
func (p *pane[A]) before(q *pane[A]) bool {
	return p.start < q.start || p.start == q.start && p.cut < q.cut
}
