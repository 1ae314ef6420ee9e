package event

import "time"

// Time is an event time: milliseconds since the Unix epoch, UTC. It is a
// moment of the stream, never read from a clock by an operator.
type Time int64

// Duration is a length of event time in milliseconds.
type Duration = Time

// Lengths of event time.
const (
	Millisecond Duration = 1
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
	Day                  = 24 * Hour
)

// The earliest and latest moments. MinTime is the watermark of a stream that
// has not begun, MaxTime that of a bounded stream that has ended.
const (
	MinTime Time = -1 << 62
	MaxTime Time = 1<<62 - 1
)

// FromGo converts a wall-clock time to event time, truncated to milliseconds.
func FromGo(t time.Time) Time { return Time(t.UnixMilli()) }

// Go converts an event time to a UTC time.Time.
func (t Time) Go() time.Time { return time.UnixMilli(int64(t)).UTC() }

// String writes the time as RFC 3339 with milliseconds, or -inf and +inf for
// the watermarks before and after every event.
func (t Time) String() string {
	switch {
	case t <= MinTime:
		return "-inf"
	case t >= MaxTime:
		return "+inf"
	}
	return t.Go().Format("2006-01-02T15:04:05.000Z07:00")
}

// WindowStart is the start of the tumbling window of the given size that
// holds t; windows are aligned to the Unix epoch, also before it.
func WindowStart(t Time, size Duration) Time {
	start := t - t%size
	if t < 0 && start > t {
		start -= size
	}
	return start
}
