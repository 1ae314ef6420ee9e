// Package keyed is typed state for operators that would rather not write
// Append and Load by hand.
//
// The state of a key is an ordinary struct. Its fields are plain Go values, or
// the kinds of state that Flink has: [Value], [List], [Map], [Reducing],
// [Aggregating]; and those whose contents end after a while: [Expiring],
// [ExpiringList], [ExpiringMap]. All are plain data between checkpoints: a
// field is read and written where it lies, without boxes, look-ups by name or
// calls of a backend. [Declare] gives each field a name and a codec; an
// operator that embeds the resulting [Layout] has its Append and Load.
//
// # What is stored
//
// Fields are stored by name, in the order of the names, maps in the order of
// their keys: equal states have equal bytes. Fields that are empty are not
// stored. What a layout can read:
//
//   - a field that is new is empty in state of before;
//   - a field that was removed must be named ([Descriptor.Dropped]): state that
//     has it is refused with [ErrLost] otherwise, so that nothing is lost by
//     mistake;
//   - a field whose form changes has a codec that is versioned
//     (codec.Versioned);
//   - state of a version after the layout's is refused with [ErrNewer].
//
// # Time to live
//
// A [Policy] is a type without contents that says how long something is kept;
// it is part of the type of a field, so that the state itself has nothing but
// a time beside each value. What has expired is never returned, and not
// stored. Memory goes bit by bit: every call of a field's methods looks at a
// few entries. With TTL.Exact it also goes at the very moment, by timers: the
// operator's Timer, or ProcessingTimer, calls [Layout.Expire].
package keyed

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// The errors of state that a layout does not read.
var (
	// ErrLost says that state has a field which is not declared any more.
	ErrLost = errors.New("state of a removed field would be lost")
	// ErrNewer says that state was written by a later version.
	ErrNewer = errors.New("state of a newer version")
	// ErrLayout is what Declare panics with.
	ErrLayout = errors.New("invalid layout of state")
)

// Layout is how states of type S are stored. It does not change, and is
// shared by all instances of an operator; embed it for its Append and Load.
type Layout[S any] struct {
	version uint8
	fields  []field // in the order of their names
	dropped []drop
}

// field is one field of a state, at an offset of the struct.
type field struct {
	name   string
	offset uintptr
	empty  func(unsafe.Pointer) bool
	append func([]byte, unsafe.Pointer) []byte
	load   func(*wire.Reader, unsafe.Pointer)
	expire func(*operator.Context, unsafe.Pointer, moment) // nil for what does not expire
}

// drop is a field that there is no longer.
type drop struct {
	name  string
	since uint8
}

// Descriptor takes the declarations of a layout.
type Descriptor struct {
	version uint8
	base    uintptr
	size    uintptr
	fields  []field
	dropped []drop
}

// Declare makes the layout of the states of a stage whose Version is version.
// declare names the fields of s, which is an empty state. Mistakes are those
// of the program text: Declare panics with ErrLayout, as it is mostly called
// for a variable of a package.
func Declare[S any](version uint8, declare func(d *Descriptor, s *S)) *Layout[S] {
	s := new(S)
	d := &Descriptor{version: version, base: uintptr(unsafe.Pointer(s)), size: unsafe.Sizeof(*s)}
	declare(d, s)
	slices.SortFunc(d.fields, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	if err := d.check(); err != nil {
		panic(fmt.Errorf("%w of %T: %w", ErrLayout, *s, err))
	}
	return &Layout[S]{version: version, fields: d.fields, dropped: d.dropped}
}

func (d *Descriptor) check() error {
	if d.version == 0 {
		return errors.New("versions begin at 1")
	}
	names := map[string]bool{}
	for _, f := range d.fields {
		switch {
		case f.name == "":
			return errors.New("a field without a name")
		case names[f.name]:
			return fmt.Errorf("two fields are called %q", f.name)
		case f.offset >= d.size:
			return fmt.Errorf("field %q is not in the struct", f.name)
		}
		names[f.name] = true
	}
	for _, drop := range d.dropped {
		switch {
		case names[drop.name]:
			return fmt.Errorf("field %q is there and dropped", drop.name)
		case drop.since < 2 || drop.since > d.version:
			return fmt.Errorf("field %q is dropped since version %d of %d", drop.name, drop.since, d.version)
		}
		names[drop.name] = true
	}
	return nil
}

// Dropped says that the layout had a field of this name until version since,
// and that its state is given up.
func (d *Descriptor) Dropped(name string, since uint8) {
	d.dropped = append(d.dropped, drop{name, since})
}

// Plain declares a field that is an ordinary Go value. Its zero value is not
// stored.
func Plain[T any](d *Descriptor, name string, at *T, of codec.Codec[T]) {
	add(d, name, at, func(v *T) bool { return reflect.ValueOf(v).Elem().IsZero() }, of)
}

// add declares a field.
func add[F any](d *Descriptor, name string, at *F, empty func(*F) bool, of codec.Codec[F]) {
	f := field{
		name: name, offset: uintptr(unsafe.Pointer(at)) - d.base,
		empty:  func(p unsafe.Pointer) bool { return empty((*F)(p)) },
		append: func(dst []byte, p unsafe.Pointer) []byte { return of.Append(dst, (*F)(p)) },
		load:   func(r *wire.Reader, p unsafe.Pointer) { of.Load(r, (*F)(p)) },
	}
	if _, ok := any(at).(expirer); ok {
		f.expire = func(c *operator.Context, p unsafe.Pointer, m moment) { any((*F)(p)).(expirer).expire(c, m) }
	}
	if f.offset < d.size && f.offset+unsafe.Sizeof(*at) > d.size {
		f.offset = d.size // it begins in the struct by chance
	}
	d.fields = append(d.fields, f)
}

// Version is what the stage's Version has to be.
func (l *Layout[S]) Version() uint8 { return l.version }

// Append writes the fields that hold something.
//
//	fields uvarint, and of each its name and its bytes, with their lengths
func (l *Layout[S]) Append(dst []byte, s *S) []byte {
	base := unsafe.Pointer(s)
	held := uint64(0)
	for i := range l.fields {
		if f := &l.fields[i]; !f.empty(unsafe.Add(base, f.offset)) {
			held++
		}
	}
	dst = wire.AppendUvarint(dst, held)
	for i := range l.fields {
		f := &l.fields[i]
		if at := unsafe.Add(base, f.offset); !f.empty(at) {
			dst = wire.AppendString(dst, f.name)
			dst = sized(dst, f, at)
		}
	}
	return dst
}

// sized appends a field with its length before it, which is one byte mostly.
func sized(dst []byte, f *field, at unsafe.Pointer) []byte {
	from := len(dst)
	dst = f.append(append(dst, 0), at)
	n := uint64(len(dst) - from - 1)
	if n < 0x80 {
		dst[from] = byte(n)
		return dst
	}
	var length [10]byte
	return slices.Replace(dst, from, from+1, wire.AppendUvarint(length[:0], n)...)
}

// Load reads what Append wrote, of this version of the layout or an older one.
func (l *Layout[S]) Load(version uint8, src []byte, s *S) error {
	if version > l.version {
		return fmt.Errorf("%w: %d, and %d is the newest that is known", ErrNewer, version, l.version)
	}
	r := wire.NewReader(src)
	next := 0 // names come in order
	for range r.Count() {
		name, content := r.Bytes(), r.Bytes()
		if r.Err() != nil {
			break
		}
		for next < len(l.fields) && l.fields[next].name < string(name) {
			next++
		}
		if next == len(l.fields) || l.fields[next].name != string(name) {
			if err := l.lose(version, string(name)); err != nil {
				return err
			}
			continue
		}
		f := &l.fields[next]
		of := wire.NewReader(content)
		f.load(of, unsafe.Add(unsafe.Pointer(s), f.offset))
		if err := of.End(); err != nil {
			return fmt.Errorf("field %q: %w", f.name, err)
		}
	}
	return r.End()
}

// lose allows a field that is not declared to be dropped, or refuses it.
func (l *Layout[S]) lose(version uint8, name string) error {
	for _, d := range l.dropped {
		if d.name == name && version < d.since {
			return nil
		}
	}
	return fmt.Errorf("%w: field %q of version %d is not declared, nor dropped since a later version", ErrLost, name, version)
}

// Expire lets go of all that has expired at a moment: that of a timer in event
// time, for the operator's Timer. It sets the next timers for what is exact.
// It reports whether the state holds nothing any more, so that the operator
// can forget the key.
func (l *Layout[S]) Expire(c *operator.Context, s *S, at event.Time) (empty bool) {
	return l.expire(c, s, moment{at: at})
}

// ExpireProcessing does so for timers in processing time.
func (l *Layout[S]) ExpireProcessing(c *operator.Context, s *S, at event.Time) (empty bool) {
	return l.expire(c, s, moment{at: at, processing: true})
}

func (l *Layout[S]) expire(c *operator.Context, s *S, m moment) (empty bool) {
	empty = true
	for i := range l.fields {
		f := &l.fields[i]
		at := unsafe.Add(unsafe.Pointer(s), f.offset)
		if f.expire != nil {
			f.expire(c, at, m)
		}
		empty = empty && f.empty(at)
	}
	return empty
}
