// Package kafkasource wires Kafka's topics to a node: the source to the log and
// the engine, and what of its settings changes answers to the configuration
// record.
package kafkasource

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"millrace/engine/embedded"
	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/eventlog"
	"millrace/internal/schemaregistry"
	"millrace/operator/watermark"
	"millrace/source/format"
	"millrace/source/kafka"
)

// Node is what topics are read into.
type Node struct {
	Data     string // directory
	Log      *eventlog.Log
	Appender *eventlog.Appender
	Engine   *embedded.Engine
	// Redact takes a user whom a block deletes out of the stored events.
	Redact func(ctx context.Context, user string, block uint64) error
	Logger *slog.Logger
}

// Topics are the topics that are read, and the registry that has the schemas of
// their values.
type Topics struct {
	*kafka.Consumer
	registry   *schemaregistry.Client // nil if there is none
	redactions *redactions
}

// Close ends the reading.
func (t *Topics) Close() {
	t.Consumer.Close()
	t.redactions.close()
	if t.registry != nil {
		t.registry.Close()
	}
}

// Start reads the topics of a configuration into a node; nil if there are none.
func Start(c kafka.Config, n Node) (*Topics, error) {
	if !c.Reads() {
		return nil, nil
	}
	if c.InstanceID == "" {
		c.InstanceID = instance(n.Data)
	}
	t := &Topics{redactions: newRedactions(n.Redact, n.Logger)}
	var err error
	if c.SchemaRegistry.Enabled() {
		if t.registry, err = schemaregistry.New(c.SchemaRegistry, n.Logger); err != nil {
			return nil, err
		}
	}
	t.Consumer, err = kafka.Start(kafka.Options{
		Config: c,
		Decoder: func(topic *kafka.Topic) (format.Decoder, error) {
			return format.New(topic.Config, topic.Mapping, n.Engine.Types(), t.registry)
		},
		Log: n.Appender, DeadLetters: n.Log, Position: n.Engine.Position, Sources: n.Engine.Sources, Logger: n.Logger, Deleted: t.redactions.add,
		Settled: func(ctx context.Context) error { return n.Engine.Wait(ctx, n.Log.Last()) },
	})
	if err != nil {
		t.redactions.close()
		return nil, err
	}
	return t, nil
}

// instance names a data directory on a machine: the same after a restart.
func instance(data string) string {
	host, err := os.Hostname()
	if err != nil {
		return "" // a member without a name
	}
	if path, err := filepath.Abs(data); err == nil {
		data = path
	}
	return fmt.Sprintf("millrace-%016x", xxhash.Sum64String(host+"\x00"+data))
}

// Record is the part of the configuration record that topics have: how event
// time is followed in their partitions.
type Record struct {
	IdleTimeout event.Duration `json:"idle_timeout_ms"`
	ByUser      bool           `json:"by_user"`
	// OutOfOrderness are the bounds of topics that have one of their own.
	OutOfOrderness map[string]event.Duration `json:"out_of_orderness_ms,omitempty"`
}

// RecordOf is the record of a configuration, nil if it reads no topics.
func RecordOf(c *kafka.Config) *Record {
	if !c.Reads() {
		return nil
	}
	return &Record{
		IdleTimeout: event.Duration(c.IdleTimeout.Milliseconds()), ByUser: c.PartitionedByUser, OutOfOrderness: c.OutOfOrderness(),
	}
}

// Partitions say how event time is followed, nil for no record. strategy makes
// one with a bound, and bound is that of topics without one of their own.
func (r *Record) Partitions(strategy func(bound event.Duration) watermark.Strategy, bound event.Duration) *eventclock.Partitions {
	if r == nil {
		return nil
	}
	return &eventclock.Partitions{
		Idle: r.IdleTimeout, Apart: r.ByUser,
		Strategy: func(name string) watermark.Strategy {
			topic, _ := kafka.TopicOf(name)
			if own, ok := r.OutOfOrderness[topic]; ok {
				return strategy(own)
			}
			return strategy(bound)
		},
	}
}
