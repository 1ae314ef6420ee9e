package api

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2/sse"
	"github.com/prometheus/client_golang/prometheus"

	"millrace/event"
	"millrace/serve/meter"
	"millrace/view"
)

// Empty is the request of a route without parameters.
type Empty struct{}

// HealthOutput is the answer of GET /v1/health.
type HealthOutput struct {
	Status int
	Body   Health
}

// Health is whether the server works.
type Health struct {
	Status     string     `json:"status" enum:"ok,starting,degraded,failed" doc:"ok: everything works. starting: nothing is answered yet, and the answer is a 503. degraded: lists are answered, but a component does not work at present; the answer is a 503 if that is the log, so that events are refused, or where the views are, so that lists are, and else a 200. failed: nothing that is sent becomes visible any more, and the answer is a 503."`
	Reason     string     `json:"reason,omitempty" doc:"What does not work, in words."`
	Components Components `json:"components"`
	Version    string     `json:"version"`
	Watermark  *string    `json:"watermark" format:"date-time" doc:"No event at or before it is expected any more; null before the first event."`
	Blocks     uint64     `json:"blocks" doc:"Blocks of the log that are visible."`
}

// Components are the parts of the server that can fail by themselves.
type Components struct {
	Log         Component `json:"log" doc:"The event log. While it is unavailable events, items and users are refused with 503; it goes on by itself once its cause is gone."`
	Engine      Component `json:"engine" doc:"What applies events. Once it has failed the server has to be restarted."`
	Checkpoints Component `json:"checkpoints" doc:"While they can not be stored a restart takes longer; they are tried again all the time."`
	Catalogue   Component `json:"catalogue" doc:"The database of items and users. While it is unavailable changes of items and users are refused with 503; it is tried again all the time."`
	// Systems are those of others that the server works with.
	Systems map[string]Component `json:"systems,omitempty" doc:"Systems that the configuration names, such as Kafka. While one is unavailable requests are answered all the same; it is tried again all the time."`
}

// Component is whether one part of the server works.
type Component struct {
	Status string `json:"status" enum:"ok,unavailable,failed" doc:"unavailable: at present; it may work again by itself. failed: until a restart."`
	Reason string `json:"reason,omitempty" doc:"Why it does not work, in words."`
}

// Starting says what a server is doing that answers nothing yet.
const Starting = "what is stored is being loaded"

// StartingHealth is the health of a server that answers nothing yet.
func StartingHealth(version string) Health {
	c := Component{Status: statusUnavailable, Reason: Starting}
	return Health{Status: "starting", Reason: Starting, Components: Components{Log: c, Engine: c, Checkpoints: c, Catalogue: c}, Version: version}
}

const (
	statusOK          = "ok"
	statusUnavailable = "unavailable"
	statusFailed      = "failed"
)

// component is how a part is that is well without an error.
func component(err error) Component {
	if err == nil {
		return Component{Status: statusOK}
	}
	return Component{Status: statusUnavailable, Reason: told(err)}
}

// components are how the parts are.
func (a *API) components() Components {
	c := Components{
		Log: component(a.parts.Ingest.Err()), Engine: Component{Status: statusOK},
		Checkpoints: component(a.parts.Engine.CheckpointErr()), Catalogue: component(a.parts.Engine.CatalogErr()),
	}
	if a.parts.Engine.Err() != nil {
		// Health needs no key, and the error may name somebody.
		c.Engine = Component{Status: statusFailed, Reason: engineStopped}
	}
	for _, s := range a.parts.Systems {
		if c.Systems == nil {
			c.Systems = map[string]Component{}
		}
		c.Systems[s.Name] = component(s.Err())
	}
	return c
}

// byName are the components, the gravest first.
func (c *Components) byName() iter.Seq2[string, *Component] {
	return func(yield func(string, *Component) bool) {
		more := yield("engine", &c.Engine) && yield("log", &c.Log) &&
			yield("catalogue", &c.Catalogue) && yield("checkpoints", &c.Checkpoints)
		for _, name := range slices.Sorted(maps.Keys(c.Systems)) {
			system := c.Systems[name]
			more = more && yield(name, &system)
		}
	}
}

func (a *API) health(context.Context, *Empty) (*HealthOutput, error) {
	stats, c := a.parts.Engine.Stats(), a.components()
	out := &HealthOutput{Status: http.StatusOK, Body: Health{
		Status: statusOK, Components: c,
		Version: a.parts.Version, Watermark: optionalTime(stats.Watermark), Blocks: stats.Block,
	}}
	var reasons []string
	for _, c := range c.byName() {
		if c.Status != statusOK {
			reasons = append(reasons, c.Reason)
			out.Body.Status = "degraded"
		}
	}
	if c.Engine.Status != statusOK {
		out.Body.Status = statusFailed
	}
	views := a.parts.Views.Snapshot()
	defer views.Close()
	if c.Engine.Status != statusOK || c.Log.Status != statusOK || view.Err(views) != nil {
		out.Status = http.StatusServiceUnavailable
	}
	out.Body.Reason = strings.Join(reasons, "; ")
	return out, nil
}

// told is the text of an ErrUnavailable without saying that it is one.
func told(err error) string {
	return strings.TrimPrefix(firstLine(err), ErrUnavailable.Error()+": ")
}

func optionalTime(t event.Time) *string {
	if text := timestamp(t); text != "" {
		return &text
	}
	return nil
}

// Stats is how the server is doing.
type Stats struct {
	Time      string         `json:"time" format:"date-time" doc:"Wall clock."`
	Version   string         `json:"version"`
	UptimeS   float64        `json:"uptime_s"`
	Failure   string         `json:"failure,omitempty" doc:"Why the engine has stopped, or why nothing can be stored at present."`
	Shards    int            `json:"shards"`
	Blocks    uint64         `json:"blocks"`
	Events    EventStats     `json:"events"`
	Latency   LatencyStats   `json:"latency_ms"`
	Watermark WatermarkStats `json:"watermark"`
	Queue     QueueStats     `json:"queue"`
	Keys      map[string]int `json:"keys" doc:"Keys of state, by stage."`
	Views     map[string]int `json:"views" doc:"Keys, by view."`
	Memory    MemoryStats    `json:"memory"`
	Letters   int            `json:"dead_letters" doc:"Inputs that were refused and are kept; the oldest are dropped."`
	// RecentUsers are for people who want somebody to look at.
	RecentUsers []string `json:"recent_users" doc:"Users of the latest requests with events, newest first."`
}

// EventStats is how many events became visible.
type EventStats struct {
	Total       uint64  `json:"total" doc:"That count, since the log began: without the repeats of an event_id."`
	Duplicates  uint64  `json:"duplicates" doc:"Repeats of an event_id that were acknowledged and ignored, since the log began."`
	Late        uint64  `json:"late" doc:"Events that came when the stream was past their time by more than out_of_orderness, since the start: they count by what their age leaves of them."`
	PerSecond1  float64 `json:"per_second_1s" doc:"A second, in the last whole second."`
	PerSecond10 float64 `json:"per_second_10s" doc:"A second, over the last 10 s, or since the start if that is later."`
	PerSecond60 float64 `json:"per_second_60s" doc:"A second, over the last minute, or since the start if that is later."`
}

// LatencyStats is the time from a block's append to its visibility, of the
// events of the last minute, in milliseconds.
type LatencyStats struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// WatermarkStats is where event time is.
type WatermarkStats struct {
	Watermark     *string `json:"watermark" format:"date-time" doc:"Null before the first event."`
	StreamTime    *string `json:"stream_time" format:"date-time" doc:"The largest event time; null before the first event."`
	BehindStreamS float64 `json:"behind_stream_s" doc:"How far the watermark is behind stream time."`
	BehindClockS  float64 `json:"behind_clock_s" doc:"How far the watermark is behind the wall clock."`
}

// QueueStats is what waits.
type QueueStats struct {
	Blocks    int   `json:"blocks" doc:"Durable blocks that wait for the engine."`
	BodyBytes int64 `json:"body_bytes" doc:"Memory that requests under way hold."`
}

// MemoryStats is memory in bytes.
type MemoryStats struct {
	HeapBytes  uint64 `json:"heap_bytes" doc:"Of live and of dead objects."`
	TotalBytes uint64 `json:"total_bytes" doc:"What the Go runtime holds of the system's memory."`
}

// StatsOutput is the answer of GET /v1/stats.
type StatsOutput struct{ Body Stats }

func (a *API) stats(context.Context, *Empty) (*StatsOutput, error) {
	return &StatsOutput{a.readStats()}, nil
}

func (a *API) readStats() Stats {
	engine, recent, now := a.parts.Engine.Stats(), a.parts.Meter.Recent(), a.parts.Now()
	s := Stats{
		Time: event.FromGo(now).String(), Version: a.parts.Version, UptimeS: a.parts.Meter.Uptime().Seconds(),
		Shards: engine.Shards, Blocks: engine.Block,
		Events: EventStats{engine.Events, engine.Duplicates, engine.Late, recent.PerSecond1, recent.PerSecond10, recent.PerSecond60},
		Latency: LatencyStats{
			millis(recent.P50), millis(recent.P99), millis(recent.Max),
		},
		Watermark: WatermarkStats{Watermark: optionalTime(engine.Watermark), StreamTime: optionalTime(engine.StreamTime)},
		Queue:     QueueStats{Blocks: engine.Queued, BodyBytes: a.intake.InFlight()},
		Keys:      engine.Keys, Views: map[string]int{}, Memory: readMemory(), Letters: a.parts.DeadLetters.Count(), RecentUsers: a.active.list(),
	}
	if s.Watermark.Watermark != nil {
		s.Watermark.BehindStreamS = float64(engine.StreamTime-engine.Watermark) / 1000
		s.Watermark.BehindClockS = float64(event.FromGo(now)-engine.Watermark) / 1000
	}
	if s.Keys == nil {
		s.Keys = map[string]int{}
	}
	if err := a.parts.Engine.Err(); err != nil {
		s.Failure = firstLine(err)
	} else if err := a.parts.Ingest.Err(); err != nil {
		s.Failure = told(err)
	}
	for _, name := range a.parts.ViewNames {
		s.Views[name] = a.parts.Views.Len(name)
	}
	return s
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func readMemory() MemoryStats {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return MemoryStats{
		HeapBytes:  samples[0].Value.Uint64(),
		TotalBytes: samples[1].Value.Uint64() - samples[2].Value.Uint64(),
	}
}

// statsEvery is the time between two events of the stream.
const statsEvery = time.Second

// StatsStreamInput is the request of GET /v1/stats/stream.
type StatsStreamInput struct{ HTTP }

// streamStats sends the stats once a second until the client goes away or the
// server shuts down.
func (a *API) streamStats(ctx context.Context, in *StatsStreamInput, send sse.Sender) {
	in.takeYourTime()
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for {
		if err := send.Data(a.readStats()); err != nil || in.request.Method == http.MethodHead {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-a.closing:
			return
		}
	}
}

// The gauges that are read when Prometheus asks.
var gauges = []meter.Descriptor{
	{Name: "millrace_blocks", Help: "Blocks of the log that are visible."},
	{Name: "millrace_events", Help: "Events that count, since the log began: without repeats of an event_id."},
	{Name: "millrace_duplicates", Help: "Repeats of an event_id that were acknowledged and ignored, since the log began."},
	{Name: "millrace_late_events", Help: "Events that came when the stream was past their time by more than out_of_orderness, since the start."},
	{Name: "millrace_stream_time_seconds", Help: "The largest event time, as a Unix time."},
	{Name: "millrace_watermark_seconds", Help: "The watermark, as a Unix time."},
	{Name: "millrace_queue_blocks", Help: "Durable blocks that wait for the engine."},
	{Name: "millrace_body_bytes", Help: "Memory that requests under way hold."},
	{Name: "millrace_dead_letters", Help: "Inputs that were refused and are kept; the oldest are dropped."},
	{Name: "millrace_shards", Help: "Shards of the engine."},
	{Name: "millrace_failed", Help: "1 if the engine has stopped because of an error, else 0."},
	{Name: "millrace_unavailable", Help: "1 while a component of /v1/health does not work, else 0.", Label: "component"},
	{Name: "millrace_keys", Help: "Keys of state.", Label: "stage"},
	{Name: "millrace_operator_failures_total", Help: "Times that an operator failed, since the start: each try to fold an event counts.", Label: "stage", Counter: true},
	{Name: "millrace_events_skipped_total", Help: "Events that were given up since the start, as an operator failed on them: they are dead letters.", Counter: true},
	{Name: "millrace_view_keys", Help: "Keys of a view.", Label: "view"},
	{Name: "millrace_checkpoints_completed_total", Help: "Checkpoints that were stored in time, since the start.", Counter: true},
	{Name: "millrace_checkpoints_failed_total", Help: "Tries to store a checkpoint that failed, since the start; those that took longer than the timeout too.", Counter: true},
	{Name: "millrace_checkpoint_age_seconds", Help: "How long ago the latest checkpoint started: as much as that a restart replays."},
	{Name: "millrace_checkpoint_stored_bytes", Help: "What all state takes after the latest checkpoint."},
	{Name: "millrace_checkpoint_duration_seconds", Help: "How long the latest checkpoint took until it was durable."},
	{Name: "millrace_checkpoint_stall_seconds", Help: "The longest time that a block waited for the latest checkpoint."},
	{Name: "millrace_checkpoint_bytes", Help: "What the latest checkpoint wrote."},
	{Name: "millrace_checkpoint_block", Help: "The block of the latest checkpoint."},
	{Name: "millrace_checkpoint_started_seconds", Help: "When the latest checkpoint started, as a Unix time."},
}

// RegisterGauges makes a registry report the engine, the views and the
// checkpoints.
func (a *API) RegisterGauges(registry *prometheus.Registry) {
	meter.RegisterGauges(registry, gauges, a.readGauges)
}

func (a *API) readGauges() []meter.Gauge {
	stats := a.parts.Engine.Stats()
	failed := 0.0
	if a.parts.Engine.Err() != nil {
		failed = 1
	}
	list := []meter.Gauge{
		{Name: "millrace_blocks", Value: float64(stats.Block)},
		{Name: "millrace_events", Value: float64(stats.Events)},
		{Name: "millrace_duplicates", Value: float64(stats.Duplicates)},
		{Name: "millrace_late_events", Value: float64(stats.Late)},
		{Name: "millrace_queue_blocks", Value: float64(stats.Queued)},
		{Name: "millrace_body_bytes", Value: float64(a.intake.InFlight())},
		{Name: "millrace_dead_letters", Value: float64(a.parts.DeadLetters.Count())},
		{Name: "millrace_shards", Value: float64(stats.Shards)},
		{Name: "millrace_failed", Value: failed},
		{Name: "millrace_events_skipped_total", Value: float64(stats.Skipped)},
	}
	components := a.components()
	for name, c := range components.byName() {
		value := 0.0
		if c.Status != statusOK {
			value = 1
		}
		list = append(list, meter.Gauge{Name: "millrace_unavailable", Label: name, Value: value})
	}
	if stats.StreamTime > event.MinTime {
		list = append(list,
			meter.Gauge{Name: "millrace_stream_time_seconds", Value: float64(stats.StreamTime) / 1000},
			meter.Gauge{Name: "millrace_watermark_seconds", Value: float64(stats.Watermark) / 1000})
	}
	for stage, n := range stats.Keys {
		list = append(list, meter.Gauge{Name: "millrace_keys", Label: stage, Value: float64(n)})
	}
	for stage, n := range stats.Failures {
		list = append(list, meter.Gauge{Name: "millrace_operator_failures_total", Label: stage, Value: float64(n)})
	}
	for _, name := range a.parts.ViewNames {
		list = append(list, meter.Gauge{Name: "millrace_view_keys", Label: name, Value: float64(a.parts.Views.Len(name))})
	}
	return append(list, a.checkpointGauges()...)
}

// checkpointGauges are of the latest checkpoint that did not fail.
func (a *API) checkpointGauges() []meter.Gauge {
	all := a.parts.Engine.Checkpoints()
	list := []meter.Gauge{
		{Name: "millrace_checkpoints_completed_total", Value: float64(all.Completed)},
		{Name: "millrace_checkpoints_failed_total", Value: float64(all.Failed)},
	}
	for _, c := range slices.Backward(all.History) {
		if c.Failure != "" {
			continue
		}
		return append(list,
			meter.Gauge{Name: "millrace_checkpoint_age_seconds", Value: a.parts.Now().Sub(c.Started).Seconds()},
			meter.Gauge{Name: "millrace_checkpoint_stored_bytes", Value: float64(c.TotalBytes)},
			meter.Gauge{Name: "millrace_checkpoint_duration_seconds", Value: c.Duration.Seconds()},
			meter.Gauge{Name: "millrace_checkpoint_stall_seconds", Value: c.Stall.Seconds()},
			meter.Gauge{Name: "millrace_checkpoint_bytes", Value: float64(c.Bytes)},
			meter.Gauge{Name: "millrace_checkpoint_block", Value: float64(c.Block)},
			meter.Gauge{Name: "millrace_checkpoint_started_seconds", Value: float64(c.Started.UnixNano()) / float64(time.Second)})
	}
	return list
}
