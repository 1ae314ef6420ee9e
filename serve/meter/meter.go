// Package meter measures the server: counters and histograms for Prometheus,
// and the rates and quantiles of the last minute for people who watch.
package meter

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Bounds of the histograms, in seconds.
var (
	requestBounds = []float64{.0001, .00025, .0005, .001, .002, .005, .01, .025, .05, .1, .25, 1, 5}
	blockBounds   = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, 1, 5, 30}
)

// Meter takes measurements. All methods may be called from any goroutine.
type Meter struct {
	now    func() time.Time
	began  time.Time
	recent recent

	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	events   *prometheus.CounterVec
	rejected *prometheus.CounterVec
	records  prometheus.Counter
	latency  prometheus.Histogram
	apply    prometheus.Histogram
}

// New makes a Meter whose metrics, and those of the Go runtime and of the
// process, are in the registry. A registry can have one Meter.
func New(registry *prometheus.Registry, now func() time.Time) *Meter {
	m := &Meter{
		now: now, began: now(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_http_request_duration_seconds", Help: "Time from a request's headers to its answer.", Buckets: requestBounds,
		}, []string{"route", "method"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_events_received_total", Help: "Events acknowledged over HTTP, by whether they counted or repeated an event_id.",
		}, []string{"outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_events_rejected_total", Help: "Events refused over HTTP, by the field that was not as expected; client is what clients could make no events of.",
		}, []string{"reason"}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_events_applied_total", Help: "Events that became visible since the start, without repeats.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_block_visible_seconds", Help: "Time from a block's append to its visibility.", Buckets: blockBounds,
		}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_block_apply_seconds", Help: "Time from the start of a block's processing to its visibility.", Buckets: blockBounds,
		}),
	}
	m.recent.restart(m.began)
	registry.MustRegister(m.requests, m.duration, m.events, m.rejected, m.records, m.latency, m.apply,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, outcome := range []string{outcomeAccepted, outcomeDuplicate} {
		m.events.WithLabelValues(outcome)
	}
	return m
}

// The outcomes of a good event.
const (
	outcomeAccepted  = "accepted"
	outcomeDuplicate = "duplicate"
)

// Request counts one answer. Route is the pattern that matched, empty for
// none.
func (m *Meter) Request(route, method string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	method = knownMethod(method)
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
}

// knownMethod keeps what clients make up out of the labels.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS":
		return method
	}
	return "other"
}

// Received counts good events of a request.
func (m *Meter) Received(accepted, duplicates int) {
	m.events.WithLabelValues(outcomeAccepted).Add(float64(accepted))
	if duplicates > 0 {
		m.events.WithLabelValues(outcomeDuplicate).Add(float64(duplicates))
	}
}

// Rejected counts an event that was refused for a reason, one of a small set.
func (m *Meter) Rejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

// Block counts a block of events that became visible: apply is the time since
// its processing began, latency the time since it was appended.
func (m *Meter) Block(events int, apply, latency time.Duration) {
	m.records.Add(float64(events))
	m.latency.Observe(latency.Seconds())
	m.apply.Observe(apply.Seconds())
	m.recent.add(m.now(), events, latency)
}

// Uptime is the time since the Meter was made.
func (m *Meter) Uptime() time.Duration { return m.now().Sub(m.began) }

// Recent is the figures of the last minute.
func (m *Meter) Recent() Recent { return m.recent.read(m.now()) }

// ForgetRecent begins the figures of the last minute anew.
func (m *Meter) ForgetRecent() { m.recent.restart(m.now()) }
