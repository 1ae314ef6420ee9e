// Package window has the windows of the stream, as operators: tumbling,
// sliding, session, global and count windows, in event time or in processing
// time, that aggregate as records come in.
//
// A window begins at its start and ends just before its end. Windows in time
// are aligned to the Unix epoch. A result is emitted with the time of the
// last moment of its window. Time in windows is bounded, see Longest.
package window

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/codec"
)

// The ports of a window stage.
const (
	// PortResults emits what Spec.Result makes of windows.
	PortResults = "results"
	// PortLate emits the inputs that came after every window that they belong
	// to had been let go, and those that are further than Longest from the epoch.
	PortLate = "late"
)

// Longest bounds the lengths in a Spec, and how far from the epoch an input can
// be to belong to a window in time: 36 million years, so that the end of no
// window overflows.
const Longest event.Duration = 1 << 60

// outside reports whether a time is so far from the epoch that no window holds
// it.
func outside(t event.Time) bool { return t < -Longest || t > Longest }

// Spec describes a window stage with keys of type K, inputs of type I, an
// accumulator of type A for each window, and results of type O.
type Spec[K operator.Key, I, A, O any] struct {
	// Name, Subject, Version and Parallelism are the stage's, see
	// operator.Stage. Version is that of the accumulator's codec.
	Name        string
	Subject     operator.Subject
	Version     uint8
	Parallelism int
	// Key is the key of an input.
	Key func(in *I) K
	// Windows assigns inputs to windows.
	Windows Assigner
	// More are further windows of the same inputs, tumbling or sliding as Windows
	// is. Each emits what it would in a stage of its own, but an input is added up
	// only once for all of them. An input is late if it is for all of them.
	More []Assigner
	// ProcessingTime has windows go by the recorded time of blocks, instead of
	// by the event time of records. Nothing is late then.
	ProcessingTime bool
	// Lateness is how long after its end a window is kept for inputs that come
	// late. Each of them has the window's result emitted anew, at once.
	Lateness event.Duration
	// Trigger has windows emit before their end too.
	Trigger Trigger

	// Add adds an input to an accumulator, which is zero to begin with.
	Add func(a *A, in *I)
	// Merge adds an accumulator to another: of the panes of a sliding window,
	// of two sessions that turn out to be one, of parts that were combined
	// before the exchange. For tumbling windows it may be nil. It commutes.
	Merge func(into, from *A)
	// Result emits what a window comes to.
	Result func(w Window[K], a *A, emit func(O))
	// Reset, if set, makes an accumulator zero and keeps the memory that it
	// has, for another window.
	Reset func(a *A)
	// Accumulator is how accumulators are stored.
	Accumulator codec.Codec[A]
	// Combine has inputs for one key and window added up before the exchange,
	// so that a hot key costs one record a shard and block. It needs Merge and
	// a tumbling or sliding window in event time without a trigger.
	Combine bool
}

// Firing says why a window's result is emitted.
type Firing uint8

// The reasons for a firing.
const (
	// OnTime is the firing at the end of the window.
	OnTime Firing = iota
	// Early is one before the end, by a trigger.
	Early
	// Late is one after the end, because of an input that came late.
	Late
)

// String names the reason.
func (f Firing) String() string {
	switch f {
	case OnTime:
		return "on time"
	case Early:
		return "early"
	case Late:
		return "late"
	}
	return fmt.Sprintf("Firing(%d)", uint8(f))
}

// Window is one window of one key.
type Window[K operator.Key] struct {
	Key        K
	Start, End event.Time
	Firing     Firing
	// Index says which windows it is one of: 0 of Spec.Windows, from 1 on of
	// Spec.More.
	Index int
}

// Add adds a window stage that reads in.
func Add[K operator.Key, I, A, O any](in operator.Stream[I], spec Spec[K, I, A, O]) operator.Handle {
	err := spec.check()
	if err == nil && spec.Windows.kind == count && !in.Ordered() {
		err = fmt.Errorf("%w: count windows need their inputs in order: a stream from the source, not from another stage", operator.ErrTopology)
	}
	if err != nil {
		in.Refuse(fmt.Errorf("window stage %q: %w", spec.Name, err))
	}
	if spec.Version == 0 {
		spec.Version = 1
	}
	switch spec.Windows.kind {
	case session:
		return addSession(in, spec)
	case global, count:
		return addCount(in, spec)
	}
	if spec.Combine {
		return addCombined(in, spec)
	}
	return addTimed(in, spec)
}

// Results are the results of a window stage.
func Results[O any](h operator.Handle) operator.Stream[O] { return operator.From[O](h, PortResults) }

// LateInputs are the inputs that came too late.
func LateInputs[I any](h operator.Handle) operator.Stream[I] { return operator.From[I](h, PortLate) }

// check says what is wrong with a specification.
func (s *Spec[K, I, A, O]) check() error {
	timed := s.Windows.paned()
	switch {
	case s.Windows.kind == none:
		return fmt.Errorf("%w: no windows", operator.ErrTopology)
	case s.Windows.err != nil:
		return s.Windows.err
	case s.Key == nil || s.Add == nil || s.Result == nil || s.Accumulator.Append == nil || s.Accumulator.Load == nil:
		return fmt.Errorf("%w: Key, Add, Result and Accumulator are needed", operator.ErrTopology)
	case s.Merge == nil && (s.Combine || len(s.More) > 0 || s.Windows.merges()):
		return fmt.Errorf("%w: these windows need Merge", operator.ErrTopology)
	case s.Combine && (!timed || s.ProcessingTime || s.Trigger != Trigger{}):
		return fmt.Errorf("%w: Combine and Whole are for tumbling and sliding windows in event time, without a trigger", operator.ErrTopology)
	case max(s.Windows.longest(), s.Lateness, s.Trigger.Every, s.Trigger.EveryProcessing) > Longest:
		return fmt.Errorf("%w: windows, lateness or a trigger of more than %d ms", operator.ErrTopology, Longest)
	case s.Lateness < 0 || s.Lateness > 0 && (s.ProcessingTime || !timed && s.Windows.kind != session):
		return fmt.Errorf("%w: lateness %d: windows in event time can have one, from 0 on", operator.ErrTopology, s.Lateness)
	case s.Windows.kind == global && s.Trigger == Trigger{}:
		return fmt.Errorf("%w: a global window emits nothing without a trigger", operator.ErrTopology)
	case s.Windows.kind == count && s.Trigger != Trigger{}:
		return fmt.Errorf("%w: count windows have no other trigger", operator.ErrTopology)
	}
	if err := checkShared(s.Windows, s.More); err != nil {
		return err
	}
	return s.Trigger.check(s.Windows.kind == sliding || len(s.More) > 0)
}

// Trigger has windows emit what they have before their end. The zero Trigger
// does not: a window emits when the watermark has passed it.
type Trigger struct {
	// Count has a window emit when so many inputs have come since it has emitted
	// last. Not for sliding windows.
	Count int
	// Every has a window emit whenever so much time has passed: event time, or
	// processing time for windows in that. Moments are aligned to the epoch, and
	// lie between the start and the end of the window. A global window emits then
	// only if something has come since.
	Every event.Duration
	// EveryProcessing has a window emit whenever so much processing time has
	// passed, for windows in event time too.
	EveryProcessing event.Duration
	// Purge empties a window that has emitted, before its end or at it: the next
	// result is of what has come since. A window that is empty emits nothing.
	Purge bool
}

// isLate reports whether an input of a time, that no window is there for when
// time has come to passed, is late.
func (s *Spec[K, I, A, O]) isLate(t, passed event.Time) bool {
	return outside(t) || t+s.Lateness <= passed
}

// everyProcessing is the interval of early firings in processing time.
func (s *Spec[K, I, A, O]) everyProcessing() event.Duration {
	if s.ProcessingTime {
		return max(s.Trigger.Every, s.Trigger.EveryProcessing)
	}
	return s.Trigger.EveryProcessing
}

// tick sets the timers for the next early firings of a window that began at a
// time.
func (s *Spec[K, I, A, O]) tick(c *operator.Context, begun event.Time) {
	if every := s.Trigger.Every; every > 0 && !s.ProcessingTime {
		c.SetTimer(event.WindowStart(max(begun, c.Watermark), every) + every)
	}
	if every := s.everyProcessing(); every > 0 {
		c.SetProcessingTimer(event.WindowStart(c.ProcessingTime(), every) + every)
	}
}

// check says what is wrong with a trigger for windows that may share inputs.
func (t Trigger) check(shared bool) error {
	switch {
	case t.Count < 0 || t.Every < 0 || t.EveryProcessing < 0:
		return fmt.Errorf("%w: a trigger of less than nothing", operator.ErrTopology)
	case shared && (t.Count > 0 || t.Purge):
		return fmt.Errorf("%w: inputs of a sliding window, or of several, are in more than one: they can be neither counted for one nor purged", operator.ErrTopology)
	case t.Purge && t.Count == 0 && t.Every == 0 && t.EveryProcessing == 0:
		return fmt.Errorf("%w: a trigger that purges and never fires", operator.ErrTopology)
	}
	return nil
}
