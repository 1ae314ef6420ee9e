package watermark

import (
	"millrace/event"
	"millrace/event/wire"
)

// BoundedOutOfOrderness is the strategy of a partition whose records are at
// most a bound late: the watermark is the largest event time, less the bound,
// less one millisecond, as in Flink's BoundedOutOfOrdernessWatermarks.
type BoundedOutOfOrderness struct {
	progress
	behind event.Duration // how far the watermark is behind the stream time
}

// NewBoundedOutOfOrderness makes the strategy; a bound below zero is zero.
func NewBoundedOutOfOrderness(bound event.Duration) *BoundedOutOfOrderness {
	return &BoundedOutOfOrderness{notBegun(), clamp(bound, 0, event.MaxTime-1) + 1}
}

// NewMonotonous makes the strategy of a partition whose records are in the
// order of their times, as Flink's forMonotonousTimestamps: the watermark is
// the largest event time less one millisecond, as records with the same time
// may follow.
func NewMonotonous() *BoundedOutOfOrderness { return NewBoundedOutOfOrderness(0) }

// Observe implements Strategy.
func (s *BoundedOutOfOrderness) Observe(t, _ event.Time, _ bool) event.Time {
	if t > s.streamTime {
		s.streamTime = min(t, event.MaxTime)
		s.watermark = max(s.watermark, s.streamTime-s.behind)
	}
	return s.watermark
}

// AppendTo implements Strategy.
func (s *BoundedOutOfOrderness) AppendTo(dst []byte) []byte {
	return s.appendTo(dst, kindBounded, nil)
}

// Load implements Strategy.
func (s *BoundedOutOfOrderness) Load(r *wire.Reader) error {
	p, _ := readProgress(r, kindBounded)
	if r.Err() == nil {
		s.progress = p
	}
	return r.Err()
}

// Punctuated is the strategy of a partition in which some records say where
// the watermark is.
type Punctuated struct {
	progress
	at func(t event.Time, punctuation bool) event.Time
}

// NewPunctuated makes the strategy. at says where the watermark is after a
// record, event.MinTime if the record does not say; it must be a pure
// function. What it says is ignored where the watermark is already further.
// Nil means that a punctuation mark promises that nothing older than itself
// follows: t less one millisecond.
func NewPunctuated(at func(t event.Time, punctuation bool) event.Time) *Punctuated {
	if at == nil {
		at = func(t event.Time, punctuation bool) event.Time {
			if !punctuation {
				return event.MinTime
			}
			return t - 1
		}
	}
	return &Punctuated{notBegun(), at}
}

// Observe implements Strategy.
func (s *Punctuated) Observe(t, _ event.Time, punctuation bool) event.Time {
	t = clamp(t, event.MinTime, event.MaxTime)
	s.streamTime = max(s.streamTime, t)
	s.watermark = max(s.watermark, min(s.at(t, punctuation), event.MaxTime))
	return s.watermark
}

// AppendTo implements Strategy.
func (s *Punctuated) AppendTo(dst []byte) []byte { return s.appendTo(dst, kindPunctuated, nil) }

// Load implements Strategy.
func (s *Punctuated) Load(r *wire.Reader) error {
	p, _ := readProgress(r, kindPunctuated)
	if r.Err() == nil {
		s.progress = p
	}
	return r.Err()
}

func clamp(t, from, to event.Time) event.Time { return max(from, min(t, to)) }
