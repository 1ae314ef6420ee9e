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
// windows tumble. What a late input adds goes to a pane of its own, from which
// only the windows draw that were not closed when it came.
type pane[A any] struct {
	start event.Time
	from  event.Time // the start of the first window that draws from it
	n     int        // inputs since the last firing, if a trigger counts them
	sum   A
}

// panes are those of a key, in the order of start and from. A single one, as
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
func (s *panes[A]) at(start, from event.Time, free *spare[A]) *pane[A] {
	list := s.all()
	i := len(list)
	for i > 0 && (list[i-1].start > start || list[i-1].start == start && list[i-1].from > from) {
		i--
	}
	if i > 0 && list[i-1].start == start && list[i-1].from == from {
		return &list[i-1]
	}
	p := &s.one
	if s.any {
		if s.list == nil {
			s.list = append(free.takeList(), s.one)
			s.one = pane[A]{}
		}
		s.list = slices.Insert(s.list, i, pane[A]{})
		p = &s.list[i]
	}
	s.any = true
	p.start, p.from, p.n = start, from, 0
	free.take(&p.sum)
	return p
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

// append and load are the stored form of panes.
func (s *panes[A]) append(dst []byte, c *codec.Codec[A]) []byte {
	list := s.all()
	dst = wire.AppendUvarint(dst, uint64(len(list)))
	for i := range list {
		p := &list[i]
		dst = wire.AppendVarint(dst, int64(p.start))
		dst = wire.AppendVarint(dst, int64(p.start-p.from))
		dst = wire.AppendUvarint(dst, uint64(p.n))
		dst = c.Append(dst, &p.sum)
	}
	return dst
}

func (s *panes[A]) load(src []byte, w *Assigner, c *codec.Codec[A]) error {
	r := wire.NewReader(src)
	n := r.Count()
	for i := range n {
		var p pane[A]
		p.start = event.Time(r.Varint())
		p.from = p.start - event.Time(r.Varint())
		p.n = int(r.Uvarint())
		c.Load(r, &p.sum)
		if r.Err() != nil {
			return r.Err()
		}
		if !w.has(p.start, p.from) || i > 0 && !s.all()[i-1].before(&p) {
			return fmt.Errorf("%w: no pane of these windows: %v, for windows from %v on", wire.ErrCorrupt, p.start, p.from)
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
	return p.start < q.start || p.start == q.start && p.from < q.from
}
