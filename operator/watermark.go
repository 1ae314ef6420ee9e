package operator

import "millrace/event"

// BoundedOutOfOrderness is the watermark strategy of a source whose events
// are at most Bound late: the watermark is the largest event time seen, less
// the bound, less one millisecond (as in Flink's
// BoundedOutOfOrdernessWatermarks).
type BoundedOutOfOrderness struct {
	Bound event.Duration
	max   event.Time
	begun bool
}

// Stamp gives the next record of the source its Meta: the watermark before
// the record, which it then advances.
func (w *BoundedOutOfOrderness) Stamp(t event.Time) Meta {
	m := Meta{Time: t, Watermark: w.Watermark()}
	if !w.begun || t > w.max {
		w.max, w.begun = t, true
	}
	return m
}

// Watermark says that no event at or before it is expected any more.
func (w *BoundedOutOfOrderness) Watermark() event.Time {
	if !w.begun {
		return event.MinTime
	}
	return w.max - w.Bound - 1
}

// StreamTime is the largest event time seen: the "now" of ranking and decay.
// It is MinTime before the first event.
func (w *BoundedOutOfOrderness) StreamTime() event.Time {
	if !w.begun {
		return event.MinTime
	}
	return w.max
}

// Restore sets the largest event time seen, from a checkpoint.
func (w *BoundedOutOfOrderness) Restore(streamTime event.Time) {
	w.max, w.begun = streamTime, streamTime != event.MinTime
}
