package keyed

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"millrace/event/wire"
	"millrace/operator/codec"
)

// Value is one value, or none.
type Value[T any] struct {
	v   T
	set bool
}

// Get is the value, false if there is none.
func (s *Value[T]) Get() (T, bool) { return s.v, s.set }

// Set replaces it.
func (s *Value[T]) Set(v T) { s.v, s.set = v, true }

// Clear leaves none.
func (s *Value[T]) Clear() { *s = Value[T]{} }

// Declare names the field and says how its value is stored.
func (s *Value[T]) Declare(d *Descriptor, name string, of codec.Codec[T]) {
	add(d, name, s, func(s *Value[T]) bool { return !s.set }, codec.Codec[Value[T]]{
		Append: func(dst []byte, s *Value[T]) []byte { return of.Append(dst, &s.v) },
		Load: func(r *wire.Reader, s *Value[T]) {
			of.Load(r, &s.v)
			s.set = true
		},
	})
}

// List is a list of values.
type List[T any] struct{ all []T }

// Add adds values at the end.
func (s *List[T]) Add(v ...T) { s.all = append(s.all, v...) }

// All are the values. They may be changed where they are until the next call.
func (s *List[T]) All() []T { return s.all }

// Update replaces all values; the list keeps the slice.
func (s *List[T]) Update(all []T) { s.all = all }

// Len is how many there are.
func (s *List[T]) Len() int { return len(s.all) }

// Clear leaves none.
func (s *List[T]) Clear() { s.all = nil }

// Declare names the field and says how a value is stored.
func (s *List[T]) Declare(d *Descriptor, name string, of codec.Codec[T]) {
	list := codec.List(of)
	add(d, name, s, func(s *List[T]) bool { return len(s.all) == 0 }, codec.Codec[List[T]]{
		Append: func(dst []byte, s *List[T]) []byte { return list.Append(dst, &s.all) },
		Load:   func(r *wire.Reader, s *List[T]) { list.Load(r, &s.all) },
	})
}

// Map is values by key.
type Map[K cmp.Ordered, V any] struct{ all map[K]V }

// Get is the value of a key, false if there is none.
func (s *Map[K, V]) Get(k K) (V, bool) {
	v, ok := s.all[k]
	return v, ok
}

// Put sets the value of a key.
func (s *Map[K, V]) Put(k K, v V) {
	if s.all == nil {
		s.all = map[K]V{}
	}
	s.all[k] = v
}

// Delete takes a key out.
func (s *Map[K, V]) Delete(k K) { delete(s.all, k) }

// All are the keys and their values, in the order of the keys.
func (s *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.all)) {
			if v, ok := s.all[k]; ok && !yield(k, v) {
				return
			}
		}
	}
}

// Len is how many keys there are.
func (s *Map[K, V]) Len() int { return len(s.all) }

// Clear leaves none.
func (s *Map[K, V]) Clear() { s.all = nil }

// Declare names the field and says how keys and values are stored.
func (s *Map[K, V]) Declare(d *Descriptor, name string, key codec.Codec[K], value codec.Codec[V]) {
	entries := codec.Map(key, value)
	add(d, name, s, func(s *Map[K, V]) bool { return len(s.all) == 0 }, codec.Codec[Map[K, V]]{
		Append: func(dst []byte, s *Map[K, V]) []byte { return entries.Append(dst, &s.all) },
		Load:   func(r *wire.Reader, s *Map[K, V]) { entries.Load(r, &s.all) },
	})
}

// Reducer adds a value to what the values before have come to. It is a type
// without contents, so that it is part of the type of a field.
type Reducer[T any] interface{ Reduce(into *T, v T) }

// Reducing is what all values that were added come to; none if there were none.
type Reducing[T any, F Reducer[T]] struct{ Value[T] }

// Add adds a value; the first one is taken as it is.
func (s *Reducing[T, F]) Add(v T) {
	if !s.set {
		s.Set(v)
		return
	}
	var f F
	f.Reduce(&s.v, v)
}

// Declare names the field and says how its value is stored.
func (s *Reducing[T, F]) Declare(d *Descriptor, name string, of codec.Codec[T]) {
	add(d, name, s, func(s *Reducing[T, F]) bool { return !s.set }, codec.Codec[Reducing[T, F]]{
		Append: func(dst []byte, s *Reducing[T, F]) []byte { return of.Append(dst, &s.v) },
		Load: func(r *wire.Reader, s *Reducing[T, F]) {
			of.Load(r, &s.v)
			s.set = true
		},
	})
}

// Aggregator adds values to an accumulator, which is zero to begin with, and
// says what that comes to. It is a type without contents.
type Aggregator[In, Acc, Out any] interface {
	Add(into *Acc, in In)
	Result(of *Acc) Out
}

// Aggregating is an accumulator of the values that were added.
type Aggregating[In, Acc, Out any, F Aggregator[In, Acc, Out]] struct {
	acc Acc
	any bool
}

// Add adds a value.
func (s *Aggregating[In, Acc, Out, F]) Add(in In) {
	var f F
	f.Add(&s.acc, in)
	s.any = true
}

// Get is what the values come to, false if there were none.
func (s *Aggregating[In, Acc, Out, F]) Get() (out Out, ok bool) {
	if !s.any {
		return out, false
	}
	var f F
	return f.Result(&s.acc), true
}

// Clear forgets the values.
func (s *Aggregating[In, Acc, Out, F]) Clear() { *s = Aggregating[In, Acc, Out, F]{} }

// Declare names the field and says how its accumulator is stored.
func (s *Aggregating[In, Acc, Out, F]) Declare(d *Descriptor, name string, of codec.Codec[Acc]) {
	add(d, name, s, func(s *Aggregating[In, Acc, Out, F]) bool { return !s.any }, codec.Codec[Aggregating[In, Acc, Out, F]]{
		Append: func(dst []byte, s *Aggregating[In, Acc, Out, F]) []byte { return of.Append(dst, &s.acc) },
		Load: func(r *wire.Reader, s *Aggregating[In, Acc, Out, F]) {
			of.Load(r, &s.acc)
			s.any = true
		},
	})
}

// Number is what can be summed and compared.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Sum is a Reducer that adds. Sums of floats depend on the order of the values.
type Sum[T Number] struct{}

// Reduce adds v.
func (Sum[T]) Reduce(into *T, v T) { *into += v }

// Min is a Reducer that keeps the least value.
type Min[T cmp.Ordered] struct{}

// Reduce keeps the lesser value.
func (Min[T]) Reduce(into *T, v T) { *into = min(*into, v) }

// Max is a Reducer that keeps the largest value.
type Max[T cmp.Ordered] struct{}

// Reduce keeps the larger value.
func (Max[T]) Reduce(into *T, v T) { *into = max(*into, v) }
