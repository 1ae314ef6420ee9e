package join

import (
	"fmt"
	"slices"
	"sort"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
	"millrace/operator/window"
)

// WindowSpec describes a join of records of types L and R with keys of type K
// that fall into the same window.
type WindowSpec[K operator.Key, L, R, O any] struct {
	// Name, Subject, Version and Parallelism are the stage's, see
	// operator.Stage. Version is that of the codecs.
	Name        string
	Subject     operator.Subject
	Version     uint8
	Parallelism int
	// LeftKey and RightKey are the keys of records.
	LeftKey  func(l *L) K
	RightKey func(r *R) K
	// Windows are tumbling, sliding or session windows in event time. Records
	// of both streams make up a session.
	Windows window.Assigner
	// Lateness is how long after its end a window is kept, see window.Spec.
	// Each record that comes late has the whole window joined anew.
	Lateness event.Duration
	// Join is called when a window is over, for each pair of a left and a
	// right record of it: an inner join. Either it or CoGroup is set.
	Join func(w window.Window[K], l *L, r *R, emit func(O))
	// CoGroup is called once for a window, with all records of both sides;
	// one side may have none, which is how outer joins are made. Records are
	// in the order of their times, those of equal times in that of their
	// bytes; the lists are valid during the call only.
	CoGroup func(w window.Window[K], left []L, right []R, emit func(O))
	// Left and Right are how records are stored until their window is over.
	Left  codec.Codec[L]
	Right codec.Codec[R]
}

// Window adds a stage that joins two streams window by window. Results have
// the time of the last moment of their window. Late records are those that
// came after all their windows had been let go, see package window.
func Window[K operator.Key, L, R, O any](left operator.Stream[L], right operator.Stream[R], spec WindowSpec[K, L, R, O]) Joined[L, R, O] {
	if err := spec.check(); err != nil {
		left.Refuse(fmt.Errorf("join %q: %w", spec.Name, err))
	}
	in := operator.Process(union(left, right), func(m operator.Meta, in *tagged[L, R], emit func(*stamped[L, R])) {
		emit(&stamped[L, R]{m.Time, *in})
	})
	key := keyOf(spec.LeftKey, spec.RightKey)
	h := window.Add(in, window.Spec[K, stamped[L, R], group[L, R], O]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism,
		Key:     func(in *stamped[L, R]) K { return key(&in.tagged) },
		Windows: spec.Windows, Lateness: spec.Lateness,
		Add: func(g *group[L, R], in *stamped[L, R]) {
			if in.side == leftSide {
				g.left.add(in.time, &in.left, &spec.Left)
			} else {
				g.right.add(in.time, &in.right, &spec.Right)
			}
		},
		Merge: func(into, from *group[L, R]) {
			into.left.merge(&from.left, &spec.Left)
			into.right.merge(&from.right, &spec.Right)
		},
		Reset: func(g *group[L, R]) {
			g.left.reset()
			g.right.reset()
		},
		Accumulator: spec.accumulator(),
		Result:      spec.result(),
	})
	late := window.LateInputs[stamped[L, R]](h)
	return Joined[L, R, O]{
		Handle: h, Results: window.Results[O](h),
		LateLeft: operator.FlatMap(late, func(in *stamped[L, R], emit func(*L)) {
			if in.side == leftSide {
				emit(&in.left)
			}
		}),
		LateRight: operator.FlatMap(late, func(in *stamped[L, R], emit func(*R)) {
			if in.side == rightSide {
				emit(&in.right)
			}
		}),
	}
}

// check says what is wrong with a specification, besides its windows.
func (s *WindowSpec[K, L, R, O]) check() error {
	switch {
	case s.LeftKey == nil || s.RightKey == nil:
		return fmt.Errorf("%w: LeftKey and RightKey are needed", operator.ErrTopology)
	case s.Left.Append == nil || s.Left.Load == nil || s.Right.Append == nil || s.Right.Load == nil:
		return fmt.Errorf("%w: the codecs Left and Right are needed", operator.ErrTopology)
	case (s.Join == nil) == (s.CoGroup == nil):
		return fmt.Errorf("%w: either Join or CoGroup is needed", operator.ErrTopology)
	case !s.Windows.Ends():
		return fmt.Errorf("%w: windows of a join are tumbling, sliding or sessions", operator.ErrTopology)
	}
	return nil
}

// result is what a window comes to.
func (s *WindowSpec[K, L, R, O]) result() func(window.Window[K], *group[L, R], func(O)) {
	if coGroup := s.CoGroup; coGroup != nil {
		return func(w window.Window[K], g *group[L, R], emit func(O)) {
			coGroup(w, g.left.values, g.right.values, emit)
		}
	}
	join := s.Join
	return func(w window.Window[K], g *group[L, R], emit func(O)) {
		for i := range g.left.values {
			for j := range g.right.values {
				join(w, &g.left.values[i], &g.right.values[j], emit)
			}
		}
	}
}

// stamped is a tagged record with its time.
type stamped[L, R any] struct {
	time event.Time
	tagged[L, R]
}

// group are the records of a window.
type group[L, R any] struct {
	left  column[L]
	right column[R]
}

func (s *WindowSpec[K, L, R, O]) accumulator() codec.Codec[group[L, R]] {
	left, right := s.Left, s.Right
	return codec.Codec[group[L, R]]{
		Append: func(dst []byte, g *group[L, R]) []byte {
			return g.right.append(g.left.append(dst, &left), &right)
		},
		Load: func(r *wire.Reader, g *group[L, R]) {
			g.left.load(r, &left)
			g.right.load(r, &right)
		},
	}
}

// column are the records of one side of a window, in the order of time, and
// of their bytes where times are equal.
type column[T any] struct {
	times  []event.Time
	values []T
}

// add puts a record in its place.
func (c *column[T]) add(t event.Time, v *T, of *codec.Codec[T]) {
	n := len(c.times)
	if n == 0 || c.times[n-1] < t {
		c.times, c.values = append(c.times, t), append(c.values, *v)
		return
	}
	i := sort.Search(n, func(i int) bool { return c.times[i] >= t })
	if ties := sort.Search(n-i, func(j int) bool { return c.times[i+j] > t }); ties > 0 {
		// Not kept between calls: all shards share the specification.
		o := orderer[T]{codec: *of, mine: of.Append(nil, v)}
		i += sort.Search(ties, func(j int) bool { return o.after(&c.values[i+j]) })
	}
	c.times, c.values = slices.Insert(c.times, i, t), slices.Insert(c.values, i, *v)
}

func (c *column[T]) merge(from *column[T], of *codec.Codec[T]) {
	for i := range from.values {
		c.add(from.times[i], &from.values[i], of)
	}
}

func (c *column[T]) reset() {
	clear(c.values)
	c.times, c.values = c.times[:0], c.values[:0]
}

func (c *column[T]) append(dst []byte, of *codec.Codec[T]) []byte {
	dst = wire.AppendUvarint(dst, uint64(len(c.values)))
	last := event.Time(0)
	for i := range c.values {
		dst = of.Append(wire.AppendVarint(dst, int64(c.times[i]-last)), &c.values[i])
		last = c.times[i]
	}
	return dst
}

func (c *column[T]) load(r *wire.Reader, of *codec.Codec[T]) {
	last := event.Time(0)
	for range r.Count() {
		last += event.Time(r.Varint())
		var v T
		of.Load(r, &v)
		if r.Err() != nil {
			return
		}
		c.times, c.values = append(c.times, last), append(c.values, v)
	}
}
