package window

import (
	"slices"

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

// panes are those of a key, in the order of start and from.
type panes[A any] struct{ list []pane[A] }

// at is a pane, a new one if there is none.
func (s *panes[A]) at(start, from event.Time, free *spare[A]) *pane[A] {
	i := len(s.list)
	for i > 0 && (s.list[i-1].start > start || s.list[i-1].start == start && s.list[i-1].from > from) {
		i--
	}
	if i > 0 && s.list[i-1].start == start && s.list[i-1].from == from {
		return &s.list[i-1]
	}
	if s.list == nil {
		s.list = free.take()
	}
	n := len(s.list)
	if n < cap(s.list) { // what lies there is a zero with memory
		s.list = s.list[:n+1]
		kept := s.list[n].sum
		copy(s.list[i+1:], s.list[i:n])
		s.list[i].sum = kept
	} else {
		s.list = slices.Insert(s.list, i, pane[A]{})
	}
	p := &s.list[i]
	p.start, p.from, p.n = start, from, 0
	return p
}

// drop lets go of the first n panes.
func (s *panes[A]) drop(n int, free *spare[A]) {
	if n == 0 {
		return
	}
	for i := range n {
		free.reset(&s.list[i].sum)
	}
	if n == len(s.list) {
		free.give(s.list)
		s.list = nil
		return
	}
	if free.keeps { // what has memory goes behind the end
		for i := range n {
			kept := s.list[i]
			copy(s.list[i:], s.list[i+1:])
			s.list[len(s.list)-1] = kept
		}
		s.list = s.list[:len(s.list)-n]
		return
	}
	s.list = slices.Delete(s.list, 0, n)
}

// spare keeps the memory of panes that are not needed any more. It is an
// operator's, for all keys of a shard.
type spare[A any] struct {
	zero  func(*A) // makes an accumulator zero, nil if there is no better way
	keeps bool     // it keeps its memory
	lists [][]pane[A]
	size  int // of a new list
}

// spareLists bounds the lists that are kept.
const spareLists = 1 << 12

func (f *spare[A]) reset(a *A) {
	if f.keeps {
		f.zero(a)
		return
	}
	*a = *new(A)
}

func (f *spare[A]) take() []pane[A] {
	if n := len(f.lists); n > 0 {
		list := f.lists[n-1]
		f.lists = f.lists[:n-1]
		return list
	}
	return make([]pane[A], 0, f.size)
}

func (f *spare[A]) give(list []pane[A]) {
	if len(f.lists) < spareLists && cap(list) <= 4*f.size {
		f.lists = append(f.lists, list[:0])
	}
}

// append and load are the stored form of panes.
func (s *panes[A]) append(dst []byte, c *codec.Codec[A]) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(s.list)))
	for i := range s.list {
		p := &s.list[i]
		dst = wire.AppendVarint(dst, int64(p.start))
		dst = wire.AppendVarint(dst, int64(p.start-p.from))
		dst = wire.AppendUvarint(dst, uint64(p.n))
		dst = c.Append(dst, &p.sum)
	}
	return dst
}

func (s *panes[A]) load(src []byte, c *codec.Codec[A]) error {
	r := wire.NewReader(src)
	for range r.Count() {
		var p pane[A]
		p.start = event.Time(r.Varint())
		p.from = p.start - event.Time(r.Varint())
		p.n = int(r.Uvarint())
		c.Load(r, &p.sum)
		s.list = append(s.list, p)
	}
	return r.Err()
}
