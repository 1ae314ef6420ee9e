package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/event"
	"millrace/serve/meter"
)

// The gauges that are read when Prometheus asks.
var gauges = []meter.Descriptor{
	{Name: "millrace_blocks", Help: "Blocks of the log that are visible."},
	{Name: "millrace_events", Help: "Events applied since the log began."},
	{Name: "millrace_stream_time_seconds", Help: "The largest event time, as a Unix time."},
	{Name: "millrace_watermark_seconds", Help: "The watermark, as a Unix time."},
	{Name: "millrace_queue_blocks", Help: "Durable blocks that wait for the engine."},
	{Name: "millrace_body_bytes", Help: "Memory that requests under way hold."},
	{Name: "millrace_shards", Help: "Shards of the engine."},
	{Name: "millrace_failed", Help: "1 if the engine has stopped because of an error, else 0."},
	{Name: "millrace_keys", Help: "Keys of state.", Label: "stage"},
	{Name: "millrace_view_keys", Help: "Keys of a view.", Label: "view"},
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
		{Name: "millrace_queue_blocks", Value: float64(stats.Queued)},
		{Name: "millrace_body_bytes", Value: float64(a.intake.InFlight())},
		{Name: "millrace_shards", Value: float64(stats.Shards)},
		{Name: "millrace_failed", Value: failed},
	}
	if stats.StreamTime > event.MinTime {
		list = append(list,
			meter.Gauge{Name: "millrace_stream_time_seconds", Value: float64(stats.StreamTime) / 1000},
			meter.Gauge{Name: "millrace_watermark_seconds", Value: float64(stats.Watermark) / 1000})
	}
	for stage, n := range stats.Keys {
		list = append(list, meter.Gauge{Name: "millrace_keys", Label: stage, Value: float64(n)})
	}
	for _, name := range a.parts.ViewNames {
		list = append(list, meter.Gauge{Name: "millrace_view_keys", Label: name, Value: float64(a.parts.Views.Len(name))})
	}
	if history := a.parts.Engine.Checkpoints(); len(history) > 0 {
		c := history[len(history)-1]
		list = append(list,
			meter.Gauge{Name: "millrace_checkpoint_duration_seconds", Value: c.Duration.Seconds()},
			meter.Gauge{Name: "millrace_checkpoint_stall_seconds", Value: c.Stall.Seconds()},
			meter.Gauge{Name: "millrace_checkpoint_bytes", Value: float64(c.Bytes)},
			meter.Gauge{Name: "millrace_checkpoint_block", Value: float64(c.Block)},
			meter.Gauge{Name: "millrace_checkpoint_started_seconds", Value: float64(c.Started.UnixNano()) / float64(time.Second)})
	}
	return list
}
