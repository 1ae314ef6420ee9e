package keyed

import (
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/codec"
)

// TTL says how long something is kept. What has expired is never returned.
type TTL struct {
	// After is how long: something written at t is there until t+After, and
	// not at it.
	After event.Duration
	// OnRead has reads prolong it too (OnReadAndWrite, in Flink's words), not
	// only its creation and writes (OnCreateAndWrite). A call that reads then
	// changes the state: it must not say Context.Unchanged.
	OnRead bool
	// EventTime measures from the time of the record to the watermark that
	// records travel with, instead of in processing time.
	EventTime bool
	// Exact has timers let go of what has expired at the very moment, for
	// state that is not written for long. The operator's Timer must call
	// Layout.Expire, or its ProcessingTimer Layout.ExpireProcessing.
	Exact bool
}

// Policy is a TTL as a type, so that it takes no room in states:
//
//	type week struct{}
//
//	func (week) TTL() keyed.TTL { return keyed.TTL{After: 7 * event.Day} }
type Policy interface{ TTL() TTL }

// moment is when a timer fires.
type moment struct {
	at         event.Time
	processing bool
}

// expirer is a field that lets go of what has expired.
type expirer interface {
	expire(c *operator.Context, m moment)
}

// cleaned is how many entries a call looks at to let go of expired ones.
const cleaned = 2

// now is the time that decides on what has expired, and stamp the one that
// something gets that is used.
func (l TTL) now(c *operator.Context) event.Time {
	if l.EventTime {
		return c.Watermark
	}
	return c.ProcessingTime()
}

func (l TTL) stamp(c *operator.Context) event.Time {
	if l.EventTime {
		return c.Effective()
	}
	return c.ProcessingTime()
}

// clock is what a field knows of time. Only calls that change the field move
// it, so that a call which has only read may say that nothing has changed.
type clock struct {
	now     event.Time // the latest time at which the field was changed
	armed   event.Time // of the timer that was set
	changed bool       // now means something
	timed   bool       // armed does
}

// peek is the time at which a field is read.
func (k *clock) peek(c *operator.Context, l TTL) event.Time {
	if !k.changed {
		return l.now(c)
	}
	return max(k.now, l.now(c))
}

// touch moves time to that of a change.
func (k *clock) touch(c *operator.Context, l TTL) event.Time {
	k.now, k.changed = k.peek(c, l), true
	return k.now
}

// arm sets a timer for when something expires, unless an earlier one is set:
// that one will set the next.
func (k *clock) arm(c *operator.Context, l TTL, stamp event.Time) {
	at := stamp + l.After
	if !l.Exact || k.timed && k.armed <= at {
		return
	}
	k.armed, k.timed = at, true
	if l.EventTime {
		c.SetTimer(at)
	} else {
		c.SetProcessingTimer(at)
	}
}

// reach moves time to that of a timer. It is false if the timer is nothing to
// the field.
func (k *clock) reach(l TTL, m moment) bool {
	if !l.Exact || l.EventTime == m.processing || !k.timed || k.armed > m.at {
		return false
	}
	k.now, k.changed = max(k.now, m.at), true
	k.armed, k.timed = 0, false
	return true
}

// The stored form of a clock: whether there is a timer, the times.
func (k *clock) appendClock(dst []byte) []byte {
	dst = wire.AppendBool(dst, k.timed)
	dst = wire.AppendVarint(dst, int64(k.now))
	if k.timed {
		dst = wire.AppendVarint(dst, int64(k.armed-k.now))
	}
	return dst
}

func (k *clock) loadClock(r *wire.Reader) {
	k.timed = r.Bool()
	k.now, k.changed = event.Time(r.Varint()), true // what never changed is not stored
	if k.timed {
		k.armed = k.now + event.Time(r.Varint())
	}
}

// Expiring is one value, or none, with a time to live.
type Expiring[T any, P Policy] struct {
	clock
	stamp event.Time
	v     T
	set   bool
}

func (s *Expiring[T, P]) ttl() TTL {
	var p P
	return p.TTL()
}

// live reports whether there is a value at a time.
func (s *Expiring[T, P]) live(l TTL, now event.Time) bool { return s.set && s.stamp+l.After > now }

// Get is the value, false if there is none or it has expired.
func (s *Expiring[T, P]) Get(c *operator.Context) (v T, ok bool) {
	l := s.ttl()
	if !s.live(l, s.peek(c, l)) {
		return v, false
	}
	if l.OnRead {
		s.touch(c, l)
		s.stamp = max(s.stamp, l.stamp(c))
	}
	return s.v, true
}

// Update is the value to be changed where it is, valid during the call of the
// operator only; a zero one if there was none.
func (s *Expiring[T, P]) Update(c *operator.Context) *T {
	v, _ := s.update(c)
	return v
}

// update also says whether the value is a new one.
func (s *Expiring[T, P]) update(c *operator.Context) (v *T, fresh bool) {
	l := s.ttl()
	if fresh = !s.live(l, s.touch(c, l)); fresh {
		s.v, s.set, s.stamp = *new(T), true, l.stamp(c)
	}
	s.stamp = max(s.stamp, l.stamp(c))
	s.arm(c, l, s.stamp)
	return &s.v, fresh
}

// Set replaces the value.
func (s *Expiring[T, P]) Set(c *operator.Context, v T) { *s.Update(c) = v }

// Clear leaves none.
func (s *Expiring[T, P]) Clear() { *s = Expiring[T, P]{clock: s.clock} }

func (s *Expiring[T, P]) expire(c *operator.Context, m moment) {
	l := s.ttl()
	if !s.reach(l, m) {
		return
	}
	if s.live(l, s.now) {
		s.arm(c, l, s.stamp)
	} else {
		s.Clear()
	}
}

func (s *Expiring[T, P]) empty() bool { return !s.timed && !s.live(s.ttl(), s.now) }

func (s *Expiring[T, P]) append(dst []byte, of *codec.Codec[T]) []byte {
	dst = s.appendClock(dst)
	live := s.live(s.ttl(), s.now)
	if dst = wire.AppendBool(dst, live); live {
		dst = of.Append(wire.AppendVarint(dst, int64(s.stamp-s.now)), &s.v)
	}
	return dst
}

func (s *Expiring[T, P]) load(r *wire.Reader, of *codec.Codec[T]) {
	s.loadClock(r)
	if s.set = r.Bool(); s.set {
		s.stamp = s.now + event.Time(r.Varint())
		of.Load(r, &s.v)
	}
}

// Declare names the field and says how its value is stored.
func (s *Expiring[T, P]) Declare(d *Descriptor, name string, of codec.Codec[T]) {
	add(d, name, s, (*Expiring[T, P]).empty, codec.Codec[Expiring[T, P]]{
		Append: func(dst []byte, s *Expiring[T, P]) []byte { return s.append(dst, &of) },
		Load:   func(r *wire.Reader, s *Expiring[T, P]) { s.load(r, &of) },
	})
}

// ExpiringReducing is Reducing with a time to live of what the values come to.
type ExpiringReducing[T any, F Reducer[T], P Policy] struct{ Expiring[T, P] }

// Add adds a value; the first one is taken as it is.
func (s *ExpiringReducing[T, F, P]) Add(c *operator.Context, v T) {
	into, fresh := s.update(c)
	if fresh {
		*into = v
		return
	}
	var f F
	f.Reduce(into, v)
}

// ExpiringAggregating is Aggregating with a time to live of the accumulator.
type ExpiringAggregating[In, Acc, Out any, F Aggregator[In, Acc, Out], P Policy] struct {
	acc Expiring[Acc, P]
}

// Add adds a value.
func (s *ExpiringAggregating[In, Acc, Out, F, P]) Add(c *operator.Context, in In) {
	var f F
	f.Add(s.acc.Update(c), in)
}

// Get is what the values come to, false if there are none.
func (s *ExpiringAggregating[In, Acc, Out, F, P]) Get(c *operator.Context) (out Out, ok bool) {
	acc, ok := s.acc.Get(c)
	if !ok {
		return out, false
	}
	var f F
	return f.Result(&acc), true
}

// Clear forgets the values.
func (s *ExpiringAggregating[In, Acc, Out, F, P]) Clear() { s.acc.Clear() }

// Declare names the field and says how its accumulator is stored.
func (s *ExpiringAggregating[In, Acc, Out, F, P]) Declare(d *Descriptor, name string, of codec.Codec[Acc]) {
	s.acc.Declare(d, name, of)
}
