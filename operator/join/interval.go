package join

import (
	"fmt"
	"unsafe"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// longest bounds how far apart the records of a pair may be.
const longest = 1 << 60

// Spec describes an interval join of records of types L and R with keys of
// type K into results of type O.
//
// A record of the left stream at time t and one of the right stream at time u
// with the same key are a pair if t+Lower <= u <= t+Upper.
type Spec[K operator.Key, L, R, O any] struct {
	// Name, Subject, Version and Parallelism are the stage's, see
	// operator.Stage. Version is that of the codecs.
	Name        string
	Subject     operator.Subject
	Version     uint8
	Parallelism int
	// LeftKey and RightKey are the keys of records.
	LeftKey  func(l *L) K
	RightKey func(r *R) K
	// Lower and Upper are the bounds of the interval, both in it unless they
	// are said not to be. Either may be negative.
	Lower, Upper                   event.Duration
	LowerExclusive, UpperExclusive bool
	// Join is called once for each pair and emits what it comes to, with the
	// later of the two times. It is not called for pairs if it is nil: then
	// only LeftOnly and RightOnly emit.
	Join func(l *L, r *R, emit func(O))
	// LeftOnly, if set, is called for each record of the left stream that had
	// no partner when its interval has passed, RightOnly likewise: an outer
	// join. What they emit has the first moment at which no partner can come
	// any more, so that it is late nowhere: a millisecond after the later of
	// the record's time and the end of its interval.
	LeftOnly  func(l *L, emit func(O))
	RightOnly func(r *R, emit func(O))
	// Left and Right are how records are stored that wait for partners.
	Left  codec.Codec[L]
	Right codec.Codec[R]
}

// Interval adds a stage that joins two streams. A record joins with those of
// the other stream from the moment it comes until the watermark has passed
// the end of its interval, but no pair is found twice. A record is late if its
// time is before the watermark that it travels with, as in Flink's interval
// join (one at the watermark is not, elsewhere it is); it goes to the late
// port of its side and has no partners, and no result as a single either.
func Interval[K operator.Key, L, R, O any](left operator.Stream[L], right operator.Stream[R], spec Spec[K, L, R, O]) Joined[L, R, O] {
	if err := spec.check(); err != nil {
		left.Refuse(fmt.Errorf("join %q: %w", spec.Name, err))
	}
	if spec.Version == 0 {
		spec.Version = 1
	}
	h := operator.Add(union(left, right), operator.Stage[K, waiting[L, R], tagged[L, R]]{
		Name: spec.Name, Subject: spec.Subject, Version: spec.Version, Parallelism: spec.Parallelism,
		Key: keyOf(spec.LeftKey, spec.RightKey),
		New: func(p *operator.Ports) operator.Operator[K, waiting[L, R], tagged[L, R]] {
			return newInterval(p, spec)
		},
	})
	return Joined[L, R, O]{
		Handle: h, Results: operator.From[O](h, portResults),
		LateLeft: operator.From[L](h, portLateLeft), LateRight: operator.From[R](h, portLateRight),
	}
}

// check says what is wrong with a specification.
func (s *Spec[K, L, R, O]) check() error {
	lower, upper := s.bounds()
	switch {
	case s.LeftKey == nil || s.RightKey == nil:
		return fmt.Errorf("%w: LeftKey and RightKey are needed", operator.ErrTopology)
	case s.Left.Append == nil || s.Left.Load == nil || s.Right.Append == nil || s.Right.Load == nil:
		return fmt.Errorf("%w: the codecs Left and Right are needed", operator.ErrTopology)
	case s.Join == nil && s.LeftOnly == nil && s.RightOnly == nil:
		return fmt.Errorf("%w: Join, LeftOnly or RightOnly is needed", operator.ErrTopology)
	case lower > upper:
		return fmt.Errorf("%w: the interval from %d to %d ms holds nothing", operator.ErrTopology, lower, upper)
	case lower < -longest || upper > longest:
		return fmt.Errorf("%w: the interval from %d to %d ms is too long", operator.ErrTopology, lower, upper)
	}
	return nil
}

// bounds are those of the interval, both in it.
func (s *Spec[K, L, R, O]) bounds() (lower, upper event.Duration) {
	lower, upper = s.Lower, s.Upper
	if s.LowerExclusive {
		lower++
	}
	if s.UpperExclusive {
		upper--
	}
	return lower, upper
}

// waiting are the records of one key that wait for partners.
type waiting[L, R any] struct {
	left  buffer[L]
	right buffer[R]
}

// interval is the operator of interval joins.
type interval[K operator.Key, L, R, O any] struct {
	spec         Spec[K, L, R, O]
	lower, upper event.Duration
	// leftKept and rightKept are how long after its time a record is kept.
	leftKept, rightKept event.Duration
	leftOrder           orderer[L]
	rightOrder          orderer[R]
	results             *operator.Output[O]
	lateLeft            *operator.Output[L]
	lateRight           *operator.Output[R]
	at                  event.Time // of what is being emitted
	emit                func(O)
}

func newInterval[K operator.Key, L, R, O any](p *operator.Ports, spec Spec[K, L, R, O]) *interval[K, L, R, O] {
	o := &interval[K, L, R, O]{
		spec: spec, leftOrder: orderer[L]{codec: spec.Left}, rightOrder: orderer[R]{codec: spec.Right},
		results: operator.Out[O](p, portResults), lateLeft: operator.Out[L](p, portLateLeft),
		lateRight: operator.Out[R](p, portLateRight),
	}
	o.lower, o.upper = spec.bounds()
	// The millisecond is for records at the watermark, which are not late.
	o.leftKept, o.rightKept = max(0, o.upper)+1, max(0, -o.lower)+1
	o.emit = func(v O) { o.results.Emit(o.at, v) }
	return o
}

// Fold joins a record with those that wait on the other side, and has it wait
// for those to come.
func (o *interval[K, L, R, O]) Fold(c *operator.Context, _ K, s *waiting[L, R], in *tagged[L, R]) {
	if c.Time < c.Watermark {
		if in.side == leftSide {
			o.lateLeft.Emit(c.Time, in.left)
		} else {
			o.lateRight.Emit(c.Time, in.right)
		}
		c.Unchanged()
		return
	}
	before := o.next(s)
	if in.side == leftSide {
		i := s.left.add(held[L]{time: c.Time, value: in.left}, &o.leftOrder)
		o.joinLeft(&s.left[i], s.right)
	} else {
		i := s.right.add(held[R]{time: c.Time, value: in.right}, &o.rightOrder)
		o.joinRight(s.left, &s.right[i])
	}
	if after := o.next(s); after < before {
		// One timer a key, whatever the order in which records come.
		if before != event.MaxTime {
			c.DeleteTimer(before)
		}
		c.SetTimer(after)
	}
}

func (o *interval[K, L, R, O]) joinLeft(l *held[L], right buffer[R]) {
	for i := right.from(l.time + o.lower); i < len(right) && right[i].time <= l.time+o.upper; i++ {
		o.pair(l, &right[i])
	}
}

func (o *interval[K, L, R, O]) joinRight(left buffer[L], r *held[R]) {
	for i := left.from(r.time - o.upper); i < len(left) && left[i].time <= r.time-o.lower; i++ {
		o.pair(&left[i], r)
	}
}

func (o *interval[K, L, R, O]) pair(l *held[L], r *held[R]) {
	l.matched, r.matched = true, true
	if o.spec.Join != nil {
		o.at = max(l.time, r.time)
		o.spec.Join(&l.value, &r.value, o.emit)
	}
}

// next is when the first record is let go, MaxTime if there is none.
func (o *interval[K, L, R, O]) next(s *waiting[L, R]) event.Time {
	next := event.MaxTime
	if len(s.left) > 0 {
		next = s.left[0].time + o.leftKept
	}
	if len(s.right) > 0 {
		next = min(next, s.right[0].time+o.rightKept)
	}
	return next
}

// Timer lets go of the records for which no partner can come any more.
func (o *interval[K, L, R, O]) Timer(c *operator.Context, _ K, s *waiting[L, R], at event.Time) {
	o.at = at
	n := 0
	for ; n < len(s.left) && s.left[n].time+o.leftKept <= at; n++ {
		if h := &s.left[n]; !h.matched && o.spec.LeftOnly != nil {
			o.spec.LeftOnly(&h.value, o.emit)
		}
	}
	s.left.drop(n)
	n = 0
	for ; n < len(s.right) && s.right[n].time+o.rightKept <= at; n++ {
		if h := &s.right[n]; !h.matched && o.spec.RightOnly != nil {
			o.spec.RightOnly(&h.value, o.emit)
		}
	}
	s.right.drop(n)
	if next := o.next(s); next != event.MaxTime {
		c.SetTimer(next)
	} else {
		c.Forget()
	}
}

// Warm is the list of the left records.
func (o *interval[K, L, R, O]) Warm(s *waiting[L, R]) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(s.left))
}

// Append writes the records of both sides.
func (o *interval[K, L, R, O]) Append(dst []byte, s *waiting[L, R]) []byte {
	return s.right.append(s.left.append(dst, &o.spec.Left), &o.spec.Right)
}

// Load reads what Append wrote.
func (o *interval[K, L, R, O]) Load(_ uint8, src []byte, s *waiting[L, R]) error {
	r := wire.NewReader(src)
	s.left.load(r, &o.spec.Left)
	s.right.load(r, &o.spec.Right)
	return r.End()
}
