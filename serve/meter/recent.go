package meter

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Recent is what the last minute was like.
type Recent struct {
	// Events that became visible, a second: over the last 1, 10 and 60 whole
	// seconds.
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
	second  int64 // Unix time of the newest count
	counts  [seconds + 1]int64
	latency *hdrhistogram.WindowedHistogram
	window  int64
}

func (r *recent) init() {
	r.latency = hdrhistogram.NewWindowed(windows, 1, maxLatency, digits)
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
		PerSecond1: r.rate(1), PerSecond10: r.rate(10), PerSecond60: r.rate(seconds),
		P50: micros(h.ValueAtQuantile(50)), P99: micros(h.ValueAtQuantile(99)), Max: micros(h.Max()),
	}
}

// rate is events a second over the last n whole seconds.
func (r *recent) rate(n int64) float64 {
	sum := int64(0)
	for s := r.second - n; s < r.second; s++ {
		if s >= 0 {
			sum += r.counts[s%int64(len(r.counts))]
		}
	}
	return float64(sum) / float64(n)
}
