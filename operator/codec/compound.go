package codec

import (
	"errors"
	"fmt"

	"millrace/event"
	"millrace/event/wire"
)

// ErrNewer is the error of a value that a later release has written.
var ErrNewer = errors.New("value of a newer version")

// Time writes a moment in one to ten bytes.
func Time() Codec[event.Time] { return Int64[event.Time]() }

// Bytes writes a length and the bytes.
func Bytes[T ~[]byte]() Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendBytes(dst, *v) },
		Load: func(r *wire.Reader, v *T) {
			if b := r.Bytes(); len(b) > 0 {
				*v = append(T(nil), b...)
			}
		},
	}
}

// FieldOf is one field of a struct.
type FieldOf[T any] struct {
	append func(dst []byte, v *T) []byte
	load   func(r *wire.Reader, v *T)
}

// Field is the field of a struct that at points to.
func Field[T, F any](at func(v *T) *F, of Codec[F]) FieldOf[T] {
	return FieldOf[T]{
		append: func(dst []byte, v *T) []byte { return of.Append(dst, at(v)) },
		load:   func(r *wire.Reader, v *T) { of.Load(r, at(v)) },
	}
}

// Struct writes fields one after the other. What is stored has no names: the
// list does not change, unless the codec is one of Versioned.
func Struct[T any](fields ...FieldOf[T]) Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte {
			for i := range fields {
				dst = fields[i].append(dst, v)
			}
			return dst
		},
		Load: func(r *wire.Reader, v *T) {
			for i := range fields {
				fields[i].load(r, v)
			}
		},
	}
}

// mostInterned bounds how many strings an Interned codec remembers.
const mostInterned = 1 << 16

// Interned is String for what repeats: it remembers strings that it has read, and
// makes no new ones of the same bytes. It is not for several goroutines.
func Interned[T ~string]() Codec[T] {
	seen := map[string]T{}
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte { return wire.AppendString(dst, string(*v)) },
		Load: func(r *wire.Reader, v *T) {
			b := r.Bytes()
			known, ok := seen[string(b)]
			if !ok {
				if len(seen) == mostInterned {
					clear(seen)
				}
				known = T(b)
				seen[string(known)] = known
			}
			*v = known
		},
	}
}

// Optional writes whether there is a value, and it.
func Optional[T any](of Codec[T]) Codec[*T] {
	return Codec[*T]{
		Append: func(dst []byte, v **T) []byte {
			dst = wire.AppendBool(dst, *v != nil)
			if *v == nil {
				return dst
			}
			return of.Append(dst, *v)
		},
		Load: func(r *wire.Reader, v **T) {
			if r.Bool() {
				*v = new(T)
				of.Load(r, *v)
			}
		},
	}
}

// Versioned writes a version, from 1, and the value as the last of forms does:
// the form of version n is the n-th. All of them are read. A version that is
// newer than the last is refused with ErrNewer.
func Versioned[T any](forms ...Codec[T]) Codec[T] {
	return Codec[T]{
		Append: func(dst []byte, v *T) []byte {
			dst = wire.AppendUvarint(dst, uint64(len(forms)))
			return forms[len(forms)-1].Append(dst, v)
		},
		Load: func(r *wire.Reader, v *T) {
			switch n := r.Uvarint(); {
			case r.Err() != nil:
			case n == 0:
				r.Fail(wire.ErrCorrupt)
			case n > uint64(len(forms)):
				r.Fail(fmt.Errorf("%w: %d, and %d is the newest that is known", ErrNewer, n, len(forms)))
			default:
				forms[n-1].Load(r, v)
			}
		},
	}
}
