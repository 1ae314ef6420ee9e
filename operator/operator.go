// Package operator is the contract between what is computed and who runs it.
//
// An operator is a pure fold: given a key, that key's state, one input and
// the event time, it changes the state, emits records downstream, writes to
// views and sets timers. It has no clock, no randomness, no I/O, no
// goroutine and no dependence on map order; a tie is broken by external id.
// Everything that it knows arrives as an argument, so it can be replayed,
// simulated, killed and compared, and it cannot tell which engine runs it.
//
// A Topology wires operators into stages. A stage that reads the source, or a
// chain of stages with the same key, sees the records of a key in the order
// of the source ("ordered"). A stage behind an exchange sees the records of a
// key in any order: its fold must commute. Integer or fixed-point sums,
// maxima that carry their time, and pruning on timers commute; floats added
// in arrival order do not.
//
// Timers are set for times that the watermark has not passed, from
// Meta.Effective of the record on (Context.SetTimer says why).
package operator

import (
	"unsafe"

	"millrace/event"
	"millrace/operator/watermark"
)

// Key is what keyed state may be keyed by: an external id, or a number where
// ids are dense integers.
type Key interface{ string | uint64 }

// Operator folds inputs of type I into one state S for each key. An engine
// makes one instance for each shard; an instance may hold output ports and
// private scratch space (an interning table, a buffer), but nothing that
// changes a result: all that is remembered lives in S.
type Operator[K Key, S, I any] interface {
	// Fold applies one input to the key's state; s is zero for a new key. in
	// is valid during the call only; strings inside may be kept.
	Fold(c *Context, key K, s *S, in *I)
	// Timer is called when the watermark has passed a timer that was set for
	// the key; at is the time that it was set for.
	Timer(c *Context, key K, s *S, at event.Time)
	// Append appends the state's bytes. Equal states give equal bytes: maps
	// are written in order of external id.
	Append(dst []byte, s *S) []byte
	// Load reads what Append wrote, by this version of the operator or an
	// older one, into a zero state.
	Load(version uint8, src []byte, s *S) error
}

// Answerer is an Operator whose state has an answer kept ready. Engines call
// Answer once for each key that changed, when a block of inputs has been
// folded, not once an input.
type Answerer[K Key, S any] interface {
	// Answer writes the key's views through the operator's view ports. s is
	// nil when the key's state is gone: the answer is to be deleted.
	Answer(key K, s *S)
}

// Warmer is an Operator whose state lies in two places of memory. A table that
// is larger than the processor's cache asks for the memory of several keys
// before it folds their records, so that it is waited for at the same time.
type Warmer[S any] interface {
	// Warm is where Fold and Timer will look besides s itself, or nil. s may
	// be a key's that neither is called for.
	Warm(s *S) unsafe.Pointer
}

// ProcessingTimer is an Operator that sets timers in processing time.
type ProcessingTimer[K Key, S any] interface {
	// ProcessingTimer is called when processing time has reached a timer that
	// was set for the key; at is the time that it was set for.
	ProcessingTimer(c *Context, key K, s *S, at event.Time)
}

// Broadcaster is the Operator of a stage with Stage.Broadcast: it has a state
// of all keys, the same in every instance, that Fold and timers may read and
// that only broadcast records change.
type Broadcaster[I any] interface {
	// Broadcast applies a record that every instance gets. It emits nothing:
	// that would be once a shard.
	Broadcast(m Meta, in *I)
	// AppendBroadcast and LoadBroadcast are the Append and Load of this state.
	AppendBroadcast(dst []byte) []byte
	LoadBroadcast(version uint8, src []byte) error
}

// Meta is what travels with every record besides its content.
type Meta struct {
	// Time is the record's event time.
	Time event.Time
	// Watermark is where the source's watermark stood just before the source
	// record that caused this one was read. It depends on the order of the
	// source only, so lateness is decided record by record and is the same
	// in every engine and for every block boundary.
	Watermark event.Time
}

// Late reports whether the record came after the watermark had passed it.
func (m Meta) Late() bool { return m.Time <= m.Watermark }

// Stamp gives the next record of a source its Meta: the watermark before the
// record, which the strategy then takes into account.
func Stamp(s watermark.Strategy, t event.Time) Meta {
	m := Meta{Time: t, Watermark: s.Watermark()}
	s.Observe(t, t, false)
	return m
}

// Effective is the event time at which a record counts for anything that
// closes by timers: its own time, or for a late record the first moment that
// is still open. A timer at it cannot have fired yet.
func (m Meta) Effective() event.Time {
	if m.Time <= m.Watermark {
		return m.Watermark + 1
	}
	return m.Time
}

// Context is what a call of an operator may do besides changing its state and
// emitting. It is valid during the call only.
type Context struct {
	Meta
	now                  event.Time
	set, unset           []event.Time
	clockSet, clockUnset []event.Time
	clocked              bool // one of clockSet and clockUnset is not empty
	forget               bool
	unchanged            bool
}

// ProcessingTime is the processing time of the call: the time that the log has
// recorded for the block of the record, so that a replay sees the same. Few
// operators should want it; event time is in Meta.
func (c *Context) ProcessingTime() event.Time { return c.now }

// SetProcessingTimer asks for a call of ProcessingTimer, which the operator
// must have, once processing time has reached t, for the current key. Setting
// the same time twice is one timer.
//
// t must be after ProcessingTime, and in a call of ProcessingTimer after the
// time of that timer: when another one would fire depends on the engine.
func (c *Context) SetProcessingTimer(t event.Time) {
	c.clockSet, c.clocked = append(c.clockSet, t), true
}

// DeleteProcessingTimer takes back a timer in processing time of the current
// key, if it is set.
func (c *Context) DeleteProcessingTimer(t event.Time) {
	c.clockUnset, c.clocked = append(c.clockUnset, t), true
}

// SetTimer asks for a call of Timer once the watermark reaches t, for the
// current key. Setting the same time twice is one timer.
//
// t must be after c.Watermark, as every time from c.Effective() on is, and in a
// call of Timer after the time of that timer. A stage's own watermark may be
// there already, and when a timer fires that it has passed differs: at once on
// an engine that advances record by record, at the end of the block on one that
// has blocks. Engines for production do not look at it; the one of operatortest
// panics.
func (c *Context) SetTimer(t event.Time) { c.set = append(c.set, t) }

// DeleteTimer takes back a timer of the current key, if it is set.
func (c *Context) DeleteTimer(t event.Time) { c.unset = append(c.unset, t) }

// Forget drops the key's state and timers when the call returns, as if the
// key had never been seen.
func (c *Context) Forget() { c.forget = true }

// Unchanged says that this call has left the state as it was, so that it is
// neither written at the next checkpoint nor answered again.
func (c *Context) Unchanged() { c.unchanged = true }

// Begin readies the context for one call; only engines use it.
func (c *Context) Begin(m Meta) {
	c.Meta = m
	c.set, c.unset = c.set[:0], c.unset[:0]
	c.forget, c.unchanged = false, false
	if c.clocked {
		c.clockSet, c.clockUnset, c.clocked = c.clockSet[:0], c.clockUnset[:0], false
	}
}

// SetProcessingTime sets the processing time of the calls that follow; only
// engines use it.
func (c *Context) SetProcessingTime(now event.Time) { c.now = now }

// Effects is what a call asked for; only engines use it. The slices are valid
// until the next Begin. Deletions apply before settings.
type Effects struct {
	Set, Unset, ProcessingSet, ProcessingUnset []event.Time
	Forget, Unchanged                          bool
}

// Effects is what the call asked for.
func (c *Context) Effects() Effects {
	return Effects{c.set, c.unset, c.clockSet, c.clockUnset, c.forget, c.unchanged}
}
