package keyed

import (
	"cmp"
	"container/heap"
	"iter"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// ExpiringList is a list in which each value has its own time to live.
type ExpiringList[T any, P Policy] struct {
	clock
	all []stamped[T]
}

// stamped is a value and when it was used last.
type stamped[T any] struct {
	stamp event.Time
	v     T
}

func (s *ExpiringList[T, P]) ttl() TTL {
	var p P
	return p.TTL()
}

// Add adds values at the end.
func (s *ExpiringList[T, P]) Add(c *operator.Context, values ...T) {
	l := s.ttl()
	now, stamp := s.touch(c, l), l.stamp(c)
	for _, v := range values {
		s.all = append(s.all, stamped[T]{stamp, v})
		s.arm(c, l, stamp)
	}
	n := 0
	for n < len(s.all) && n < len(values)+cleaned && s.all[n].stamp+l.After <= now {
		n++
	}
	clear(s.all[:n])
	s.all = s.all[n:] // the memory goes when the list grows anew
}

// All are the values that have not expired, in the order in which they were
// added.
func (s *ExpiringList[T, P]) All(c *operator.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		l := s.ttl()
		now := s.peek(c, l)
		if l.OnRead {
			s.touch(c, l)
		}
		for i := range s.all {
			e := &s.all[i]
			if e.stamp+l.After <= now {
				continue
			}
			if l.OnRead {
				e.stamp = max(e.stamp, l.stamp(c))
			}
			if !yield(e.v) {
				return
			}
		}
	}
}

// Update replaces all values.
func (s *ExpiringList[T, P]) Update(c *operator.Context, values ...T) {
	s.Clear()
	s.Add(c, values...)
}

// Clear leaves none.
func (s *ExpiringList[T, P]) Clear() { s.all = nil }

func (s *ExpiringList[T, P]) expire(c *operator.Context, m moment) {
	l := s.ttl()
	if !s.reach(l, m) {
		return
	}
	s.all = slices.DeleteFunc(s.all, func(e stamped[T]) bool { return e.stamp+l.After <= s.now })
	if len(s.all) > 0 {
		first := slices.MinFunc(s.all, func(a, b stamped[T]) int { return cmp.Compare(a.stamp, b.stamp) })
		s.arm(c, l, first.stamp)
	}
}

// held is how many values have not expired.
func (s *ExpiringList[T, P]) held() (n int) {
	l := s.ttl()
	for i := range s.all {
		if s.all[i].stamp+l.After > s.now {
			n++
		}
	}
	return n
}

// Declare names the field and says how a value is stored.
func (s *ExpiringList[T, P]) Declare(d *Descriptor, name string, of codec.Codec[T]) {
	empty := func(s *ExpiringList[T, P]) bool { return !s.timed && s.held() == 0 }
	add(d, name, s, empty, codec.Codec[ExpiringList[T, P]]{
		Append: func(dst []byte, s *ExpiringList[T, P]) []byte {
			l := s.ttl()
			dst = wire.AppendUvarint(s.appendClock(dst), uint64(s.held()))
			for i := range s.all {
				if e := &s.all[i]; e.stamp+l.After > s.now {
					dst = of.Append(wire.AppendVarint(dst, int64(e.stamp-s.now)), &e.v)
				}
			}
			return dst
		},
		Load: func(r *wire.Reader, s *ExpiringList[T, P]) {
			s.loadClock(r)
			for range r.Count() {
				e := stamped[T]{stamp: s.now + event.Time(r.Varint())}
				of.Load(r, &e.v)
				s.all = append(s.all, e)
			}
		},
	})
}

// ExpiringMap is a map in which each entry has its own time to live.
type ExpiringMap[K cmp.Ordered, V any, P Policy] struct {
	clock
	all map[K]stamped[V]
	// queue has a ticket for each key, by when it was used when the ticket
	// was made: not after it was used last. It is not stored.
	queue tickets[K]
}

func (s *ExpiringMap[K, V, P]) ttl() TTL {
	var p P
	return p.TTL()
}

// Get is the value of a key, false if there is none or it has expired.
func (s *ExpiringMap[K, V, P]) Get(c *operator.Context, k K) (v V, ok bool) {
	l := s.ttl()
	e, ok := s.all[k]
	if !ok || e.stamp+l.After <= s.peek(c, l) {
		return v, false
	}
	if l.OnRead {
		s.use(c, l, k, e)
	}
	return e.v, true
}

// Put sets the value of a key.
func (s *ExpiringMap[K, V, P]) Put(c *operator.Context, k K, v V) {
	l := s.ttl()
	e, ok := s.all[k]
	if !ok {
		if s.all == nil {
			s.all = map[K]stamped[V]{}
		}
		e.stamp = l.stamp(c)
		heap.Push(&s.queue, ticket[K]{e.stamp, k})
	}
	e.v = v
	s.use(c, l, k, e)
	s.clean(l, cleaned)
}

// use prolongs an entry.
func (s *ExpiringMap[K, V, P]) use(c *operator.Context, l TTL, k K, e stamped[V]) {
	s.touch(c, l)
	e.stamp = max(e.stamp, l.stamp(c))
	s.all[k] = e
	s.arm(c, l, e.stamp)
}

// Delete takes a key out.
func (s *ExpiringMap[K, V, P]) Delete(k K) {
	delete(s.all, k)
	if len(s.queue) > 2*len(s.all)+8 { // mostly tickets of keys that were deleted
		s.renumber()
	}
}

// renumber makes the queue anew.
func (s *ExpiringMap[K, V, P]) renumber() {
	s.queue = s.queue[:0]
	for k, e := range s.all {
		s.queue = append(s.queue, ticket[K]{e.stamp, k})
	}
	heap.Init(&s.queue)
}

// clean takes up to so many tickets out of the queue that are of nobody, or
// earlier than the key was used, or of what has expired. When it has stopped
// before, the first ticket is that of the entry which expires first.
func (s *ExpiringMap[K, V, P]) clean(l TTL, most int) {
	for ; most > 0 && len(s.queue) > 0; most-- {
		first := &s.queue[0]
		e, ok := s.all[first.key]
		switch {
		case ok && e.stamp+l.After <= s.now:
			delete(s.all, first.key)
			heap.Pop(&s.queue)
		case !ok:
			heap.Pop(&s.queue)
		case e.stamp > first.stamp:
			first.stamp = e.stamp
			heap.Fix(&s.queue, 0)
		default:
			return
		}
	}
}

func (s *ExpiringMap[K, V, P]) expire(c *operator.Context, m moment) {
	l := s.ttl()
	if !s.reach(l, m) {
		return
	}
	s.clean(l, 1+2*len(s.queue)) // each ticket is put right and taken out at most once
	if len(s.queue) > 0 {
		s.arm(c, l, s.queue[0].stamp)
	}
}

// All are the entries that have not expired, in the order of the keys.
func (s *ExpiringMap[K, V, P]) All(c *operator.Context) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		l := s.ttl()
		for _, k := range s.keys(s.peek(c, l)) {
			e, ok := s.all[k]
			if !ok {
				continue
			}
			if l.OnRead {
				s.use(c, l, k, e)
			}
			if !yield(k, e.v) {
				return
			}
		}
	}
}

// keys are those of what has not expired at a time, in order.
func (s *ExpiringMap[K, V, P]) keys(now event.Time) []K {
	l := s.ttl()
	list := make([]K, 0, len(s.all))
	for k, e := range s.all {
		if e.stamp+l.After > now {
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return list
}

// Len is how many entries there are that have not expired. It counts them.
func (s *ExpiringMap[K, V, P]) Len(c *operator.Context) int {
	l := s.ttl()
	return s.held(s.peek(c, l))
}

func (s *ExpiringMap[K, V, P]) held(now event.Time) (n int) {
	l := s.ttl()
	for _, e := range s.all {
		if e.stamp+l.After > now {
			n++
		}
	}
	return n
}

// Clear leaves none.
func (s *ExpiringMap[K, V, P]) Clear() { s.all, s.queue = nil, nil }

// Declare names the field and says how keys and values are stored.
func (s *ExpiringMap[K, V, P]) Declare(d *Descriptor, name string, key codec.Codec[K], value codec.Codec[V]) {
	empty := func(s *ExpiringMap[K, V, P]) bool { return !s.timed && s.held(s.now) == 0 }
	add(d, name, s, empty, codec.Codec[ExpiringMap[K, V, P]]{
		Append: func(dst []byte, s *ExpiringMap[K, V, P]) []byte {
			keys := s.keys(s.now)
			dst = wire.AppendUvarint(s.appendClock(dst), uint64(len(keys)))
			for _, k := range keys {
				e := s.all[k]
				dst = wire.AppendVarint(key.Append(dst, &k), int64(e.stamp-s.now))
				dst = value.Append(dst, &e.v)
			}
			return dst
		},
		Load: func(r *wire.Reader, s *ExpiringMap[K, V, P]) {
			s.loadClock(r)
			for range r.Count() {
				var k K
				key.Load(r, &k)
				e := stamped[V]{stamp: s.now + event.Time(r.Varint())}
				value.Load(r, &e.v)
				if r.Err() != nil {
					return
				}
				if s.all == nil {
					s.all = map[K]stamped[V]{}
				}
				s.all[k] = e
			}
			s.renumber()
		},
	})
}

// ticket says that a key was not used after a time when it was made.
type ticket[K cmp.Ordered] struct {
	stamp event.Time
	key   K
}

// tickets are a heap of them, the earliest first.
type tickets[K cmp.Ordered] []ticket[K]

// The methods of heap.Interface.

// Len is how many there are.
func (q tickets[K]) Len() int { return len(q) }

// Less orders by time, and by key where times are equal.
func (q tickets[K]) Less(i, j int) bool {
	return q[i].stamp < q[j].stamp || q[i].stamp == q[j].stamp && q[i].key < q[j].key
}

// Swap exchanges two tickets.
func (q tickets[K]) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push appends one, for package heap.
func (q *tickets[K]) Push(x any) { *q = append(*q, x.(ticket[K])) }

// Pop removes the last one, for package heap.
func (q *tickets[K]) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
