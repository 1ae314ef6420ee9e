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

// MaxAhead is how far ahead of the wall clock an event's time may be.
const MaxAhead = 5 * Minute

// An event's time is after the first of these and before the second.
const (
	epoch    Time = 0                 // 1970-01-01T00:00:00Z
	farAhead Time = 7_258_118_400_000 // 2200-01-01T00:00:00Z
)

// secondsBelow tells seconds from milliseconds: a numeric timestamp below it
// is in seconds (until the year 5138), any other in milliseconds (from March
// 1973).
const secondsBelow = 100_000_000_000

// maxTimestampBytes is longer than any timestamp that is understood.
const maxTimestampBytes = 64

// ParseTime reads a timestamp as people and programs write it:
//
//   - RFC 3339, with or without a fraction, "T" or a space between date and
//     time; without a zone it is UTC: "2006-01-02T15:04:05.999+02:00",
//     "2006-01-02 15:04:05";
//   - a number of seconds below 1e11, with a fraction or without, else of
//     milliseconds: "1700000000.25", "1700000000250".
//
// What is finer than a millisecond is cut off. It is false for any other text
// and for times that are not after 1970-01-01 and before 2200-01-01, UTC.
func ParseTime(text string) (Time, bool) {
	if len(text) > maxTimestampBytes {
		return 0, false
	}
	var buf [maxTimestampBytes]byte
	return parseTime(append(buf[:0], text...))
}

func parseTime(text []byte) (Time, bool) {
	if len(text) == 0 || len(text) > maxTimestampBytes {
		return 0, false
	}
	t, ok := numberTime(text)
	if !ok {
		t, ok = calendarTime(text)
	}
	return t, ok && inRange(t)
}

// inRange says whether t can be the time of an event at all.
func inRange(t Time) bool { return t > epoch && t < farAhead }

// TimeUnit is what a timestamp counts that is a number.
type TimeUnit uint8

// The units of timestamps.
const (
	UnitBySize TimeUnit = iota // seconds below 1e11, else milliseconds
	UnitSeconds
	UnitMilliseconds
	UnitMicroseconds
	UnitNanoseconds
)

// At is the moment that a number stands for; what is finer than a millisecond
// is cut off. It is false for one that cannot be an event's.
func (u TimeUnit) At(number int64) (Time, bool) {
	if number < 0 {
		return 0, false
	}
	t := Time(number)
	switch {
	case u == UnitSeconds, u == UnitBySize && t < secondsBelow:
		if t >= farAhead {
			return 0, false
		}
		t *= 1000
	case u == UnitMicroseconds:
		t /= 1000
	case u == UnitNanoseconds:
		t /= 1_000_000
	}
	return t, inRange(t)
}

// parse is At for the text of a number, which may have a fraction.
func (u TimeUnit) parse(text []byte) (Time, bool) {
	var scratch [maxDecimalBytes]byte
	d, ok := parseDecimal(text, scratch[:])
	if !ok || d.negative {
		return 0, false
	}
	shift := [...]int{UnitSeconds: 3, UnitMilliseconds: 0, UnitMicroseconds: -3, UnitNanoseconds: -6}
	v, ok := d.scaled(shift[u])
	return Time(v), ok && inRange(Time(v))
}

// ParseTimeIn is ParseTime for text whose numbers are in a unit.
func ParseTimeIn(text string, u TimeUnit) (Time, bool) {
	if u == UnitBySize || len(text) > maxTimestampBytes {
		return ParseTime(text)
	}
	var buf [maxTimestampBytes]byte
	b := append(buf[:0], text...)
	if t, ok := u.parse(b); ok {
		return t, true
	}
	if _, isNumber := numberTime(b); isNumber {
		return 0, false
	}
	t, ok := calendarTime(b)
	return t, ok && inRange(t)
}

// numberTime reads a number of seconds or milliseconds; false for anything
// else, for negative numbers and for those beyond 18 digits.
func numberTime(text []byte) (Time, bool) {
	var v int64
	if len(text) <= 15 {
		digits, rest := leadingDigits(text)
		for _, c := range digits {
			v = 10*v + int64(c-'0')
		}
		if len(rest) == 0 {
			if v < secondsBelow {
				v *= 1000
			}
			return Time(v), true
		}
	}
	var scratch [maxDecimalBytes]byte
	d, ok := parseDecimal(text, scratch[:])
	if !ok || d.negative {
		return 0, false
	}
	if v, ok = d.scaled(0); ok && v < secondsBelow {
		v, ok = d.scaled(3)
	}
	return Time(v), ok
}

// calendarTime reads an RFC 3339 timestamp and the looser forms of ParseTime,
// by writing them as RFC 3339 demands.
func calendarTime(text []byte) (Time, bool) {
	const dateAndTime = len("2006-01-02T15:04:05")
	if len(text) < dateAndTime {
		return 0, false
	}
	var buf [maxTimestampBytes + 1]byte
	strict := append(buf[:0], text...)
	if c := strict[len("2006-01-02")]; c == ' ' || c == 't' {
		strict[len("2006-01-02")] = 'T'
	}
	switch last := len(strict) - 1; {
	case strict[last] == 'z':
		strict[last] = 'Z'
	case !hasZone(strict[dateAndTime:]):
		strict = append(strict, 'Z')
	}
	var t time.Time
	if err := t.UnmarshalText(strict); err != nil {
		return 0, false
	}
	return FromGo(t), true
}

// hasZone says whether something other than a fraction follows the seconds.
func hasZone(rest []byte) bool {
	for _, c := range rest {
		if c != '.' && (c < '0' || c > '9') {
			return true
		}
	}
	return false
}
