package publishing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/internal/schemaregistry"
	"millrace/sink"
	"millrace/sink/kafka"
	source "millrace/source/kafka"
)

// Service publishes what an engine hands over. A nil one publishes nothing.
type Service struct {
	publisher *sink.Publisher
	sink      *kafka.Sink
	registry  *schemaregistry.Client // nil if there is none
	ended     chan error
	release   func() bool
}

// Open begins to publish to Kafka if that is enabled, else it returns nil. Once
// ctx ends the engine does not wait for brokers any more.
func Open(ctx context.Context, c Config, cluster source.Config, log *eventlog.Log, logger *slog.Logger) (*Service, error) {
	if !c.Enabled {
		return nil, nil
	}
	if _, err := cluster.Options(); err != nil { // before it is tried again and again
		return nil, err
	}
	var registry *schemaregistry.Client
	if cluster.SchemaRegistry.Enabled() {
		var err error
		if registry, err = schemaregistry.New(cluster.SchemaRegistry, logger); err != nil {
			return nil, err
		}
	}
	to, err := kafka.New(c.Config, cluster.Config, registry, logger)
	if err != nil {
		return nil, err
	}
	identity, err := log.Identity()
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	s := &Service{sink: to, registry: registry, ended: make(chan error, 1)}
	s.publisher = sink.NewPublisher(sink.Options{
		Sink: s.sink, Log: identity, Last: log.Last(), Interval: c.CommitInterval,
		MaxRecords: c.MaxWaitingRecords, MaxBytes: int64(c.MaxWaitingMiB) << 20, Words: s.sink.Words, Logger: logger,
	})
	s.release = context.AfterFunc(ctx, s.publisher.End)
	go func() { s.ended <- s.publisher.Run(context.WithoutCancel(ctx)) }()
	return s, nil
}

// Publications are what the engine hands its results over to, nil if it has no
// need to.
func (s *Service) Publications() embedded.Publications {
	if s == nil {
		return nil
	}
	return s.publisher
}

// Close ends publishing: what is not committed is by the next start.
func (s *Service) Close() error {
	if s == nil {
		return nil
	}
	s.release()
	s.publisher.Close()
	if s.registry != nil {
		defer s.registry.Close()
	}
	return <-s.ended
}

// Err is nil while results are published, or says in words what does not work.
func (s *Service) Err() error {
	status := s.publisher.Status()
	switch {
	case status.Err == nil:
		return nil
	case status.Blocked:
		return fmt.Errorf("%s: %w; %d results wait, and the engine waits for room (publish.max_waiting_records, publish.max_waiting_mib)",
			notPublished, errors.New(status.Words), status.WaitingRecords)
	}
	return fmt.Errorf("%s: %w; %d results wait", notPublished, errors.New(status.Words), status.WaitingRecords)
}

const notPublished = "results are not published"

var _ prometheus.Collector = (*Service)(nil)

// The figures that Prometheus reads.
var (
	published = prometheus.NewDesc("millrace_published_records_total", "Results that were committed to Kafka, since the start.", nil, nil)
	commits   = prometheus.NewDesc("millrace_publish_commits_total", "Transactions that were committed to Kafka, since the start.", nil, nil)
	failures  = prometheus.NewDesc("millrace_publish_failures_total", "Tries to reach Kafka, or to commit, that failed, since the start.", nil, nil)
	repeated  = prometheus.NewDesc("millrace_publish_replayed_records_total", "Results of a replay that had been published before, and were not again, since the start.", nil, nil)
	leftOut   = prometheus.NewDesc("millrace_publish_left_out_total", "Results that were left out, as they are larger than publish.max_record_kib or do not fit their topic's schema, since the start.", nil, nil)
	waiting   = prometheus.NewDesc("millrace_publish_waiting_records", "Results that wait to be committed.", nil, nil)
	bytes     = prometheus.NewDesc("millrace_publish_waiting_bytes", "Memory that results take which wait to be committed.", nil, nil)
	blocked   = prometheus.NewDesc("millrace_publish_blocked", "1 while the engine waits for room for its results, else 0.", nil, nil)
	block     = prometheus.NewDesc("millrace_publish_block", "The last block of which results were committed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Service) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, to) }

// Collect implements prometheus.Collector.
func (s *Service) Collect(to chan<- prometheus.Metric) {
	status := s.publisher.Status()
	held := 0.0
	if status.Blocked {
		held = 1
	}
	for _, m := range []struct {
		desc  *prometheus.Desc
		kind  prometheus.ValueType
		value float64
	}{
		{published, prometheus.CounterValue, float64(status.Records)},
		{commits, prometheus.CounterValue, float64(status.Commits)},
		{failures, prometheus.CounterValue, float64(status.Failures)},
		{repeated, prometheus.CounterValue, float64(status.Dropped)},
		{leftOut, prometheus.CounterValue, float64(s.sink.LeftOut())},
		{waiting, prometheus.GaugeValue, float64(status.WaitingRecords)},
		{bytes, prometheus.GaugeValue, float64(status.WaitingBytes)},
		{blocked, prometheus.GaugeValue, held},
		{block, prometheus.GaugeValue, float64(status.Committed)},
	} {
		to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value)
	}
}
