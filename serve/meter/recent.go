package meter

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Recent is what the last minute was like.
type Recent struct {
	// Events that became visible, a second: over the last 1, 10 and 60 whole
	// seconds, or those since the beginning if that is later.
	PerSecond1, PerSecond10, PerSecond60 float64
	// Latency from a block's append to its visibility, of the events of the
	// last minute; 0 without events.
	P50, P99, Max time.Duration
}

const (
	seconds = 60 // that are remembered
	// The latencies are kept in windows that are dropped one by one.
	windows      = 6
	windowLength = seconds / windows // seconds
	// Latencies are kept in microseconds, to two digits, up to an hour.
	maxLatency = 3_600_000_000
	digits     = 2
)

// recent counts by the second.
type recent struct {
	mutex   sync.Mutex
	began   time.Time
	second  int64 // Unix time of the newest count
	counts  [seconds + 1]int64
	latency *hdrhistogram.WindowedHistogram
	window  int64
}

// restart forgets everything and begins anew.
func (r *recent) restart(now time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.began, r.second, r.counts = now, now.Unix(), [seconds + 1]int64{}
	r.latency = hdrhistogram.NewWindowed(windows, 1, maxLatency, digits)
	r.window = r.second / windowLength
}

// advance makes now the newest second. The clock does not go backwards here.
func (r *recent) advance(now time.Time) {
	second := now.Unix()
	if second <= r.second {
		return
	}
	for s := max(r.second+1, second-seconds); s <= second; s++ {
		r.counts[s%int64(len(r.counts))] = 0
	}
	r.second = second
	window := second / windowLength
	for range min(window-r.window, windows) {
		r.latency.Rotate()
	}
	r.window = window
}

func (r *recent) add(now time.Time, events int, latency time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.advance(now)
	r.counts[r.second%int64(len(r.counts))] += int64(events)
	micros := min(max(latency.Microseconds(), 1), maxLatency)
	// The value is within the bounds, so it can be recorded.
	_ = r.latency.Current.RecordValues(micros, int64(events))
}

func (r *recent) read(now time.Time) Recent {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.advance(now)
	h := r.latency.Merge()
	micros := func(v int64) time.Duration { return time.Duration(v) * time.Microsecond }
	return Recent{
		PerSecond1: r.rate(now, 1), PerSecond10: r.rate(now, 10), PerSecond60: r.rate(now, seconds),
		P50: micros(h.ValueAtQuantile(50)), P99: micros(h.ValueAtQuantile(99)), Max: micros(h.Max()),
	}
}

// rate is events a second over the last n whole seconds, or those since the
// beginning if that is later. Before there is a whole one it is of all of the
// time so far, which counts as a second at least.
func (r *recent) rate(now time.Time, n int64) float64 {
	first, end := max(r.second-n, r.began.Unix()), r.second
	length := min(float64(n), time.Unix(end, 0).Sub(r.began).Seconds())
	if length < 1 {
		end, length = r.second+1, max(1, now.Sub(r.began).Seconds())
	}
	sum := int64(0)
	for s := first; s < end; s++ {
		sum += r.counts[s%int64(len(r.counts))]
	}
	return float64(sum) / length
}
