// Package codec is how values that are kept in state are written: typed, with
// one byte form for equal values, and readable by later releases.
package codec

import (
	"cmp"
	"maps"
	"slices"

	"millrace/event/wire"
)

// Codec writes and reads values of one type. Equal values have equal bytes.
type Codec[T any] struct {
	// Append appends the value's bytes.
	Append func(dst []byte, v *T) []byte
	// Load reads what Append wrote into a zero value. Errors are the reader's.
	Load func(r *wire.Reader, v *T)
}

// Int64 writes whole numbers in one to ten bytes.
func Int64[T ~int64 | ~int | ~int32]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendVarint(dst, int64(*v)) },
		Load:   func(r *wire.Reader, v *T) { *v = T(r.Varint()) },
	}
}

// Uint64 writes whole numbers from 0 on in one to ten bytes.
func Uint64[T ~uint64 | ~uint32 | ~uint16 | ~uint8]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendUvarint(dst, uint64(*v)) },
		Load:   func(r *wire.Reader, v *T) { *v = T(r.Uvarint()) },
	}
}

// Float64 writes the eight bytes of IEEE 754.
func Float64[T ~float64]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendFloat64(dst, float64(*v)) },
		Load:   func(r *wire.Reader, v *T) { *v = T(r.Float64()) },
	}
}

// String writes a length and the bytes.
func String[T ~string]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendString(dst, string(*v)) },
		Load:   func(r *wire.Reader, v *T) { *v = T(r.String()) },
	}
}

// Bool writes one byte.
func Bool[T ~bool]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendBool(dst, bool(*v)) },
		Load:   func(r *wire.Reader, v *T) { *v = T(r.Bool()) },
	}
}

// List writes how many there are, and each.
func List[T any](of Codec[T]) Codec[[]T] {
	return Codec[[]T]{
		Append: func(dst []byte, list *[]T) []byte {
			dst = wire.AppendUvarint(dst, uint64(len(*list)))
			for i := range *list {
				dst = of.Append(dst, &(*list)[i])
			}
			return dst
		},
		Load: func(r *wire.Reader, list *[]T) {
			for range r.Count() {
				var v T
				of.Load(r, &v)
				*list = append(*list, v)
			}
		},
	}
}

// Map writes how many entries there are, and each in the order of the keys.
func Map[K cmp.Ordered, V any](key Codec[K], value Codec[V]) Codec[map[K]V] {
	return Codec[map[K]V]{
		Append: func(dst []byte, m *map[K]V) []byte {
			dst = wire.AppendUvarint(dst, uint64(len(*m)))
			for _, k := range slices.Sorted(maps.Keys(*m)) {
				v := (*m)[k]
				dst = value.Append(key.Append(dst, &k), &v)
			}
			return dst
		},
		Load: func(r *wire.Reader, m *map[K]V) {
			for range r.Count() {
				var k K
				var v V
				key.Load(r, &k)
				value.Load(r, &v)
				if r.Err() != nil {
					return
				}
				if *m == nil {
					*m = map[K]V{}
				}
				(*m)[k] = v
			}
		},
	}
}
