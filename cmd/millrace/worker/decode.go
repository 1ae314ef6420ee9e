package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"millrace/engine/embedded"
	"millrace/engine/flink"
	"millrace/event"
	"millrace/internal/schemaregistry"
	"millrace/operator"
	"millrace/operator/watermark"
	"millrace/source"
	"millrace/source/format"
	"millrace/source/kafka"
)

// decoder makes events of the records of topics. It is used by many sessions.
type decoder struct {
	program *embedded.Program
	topics  map[string]format.Decoder
	config  kafka.Config
	logger  *slog.Logger
}

// decodePause is how long a decoder is left alone that waits for something, such
// as a schema registry.
const decodePause = 500 * time.Millisecond

func newDecoder(c kafka.Config, p *embedded.Program, registry *schemaregistry.Client, logger *slog.Logger) (*decoder, error) {
	d := &decoder{program: p, topics: map[string]format.Decoder{}, config: c, logger: logger}
	for _, t := range topics(c) {
		decode, err := format.New(t.Config, t.Mapping, p.Types, registry)
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, err)
		}
		d.topics[t.Name] = decode
	}
	return d, nil
}

// topics are those that are read.
func topics(c kafka.Config) []kafka.Topic {
	if c.Topics == nil {
		return kafka.DefaultTopics()
	}
	return c.Topics
}

// named has strategies made by the names that partitions have in positions.
func named(strategy func(name string) watermark.Strategy) func(partition string) watermark.Strategy {
	return func(partition string) watermark.Strategy {
		topic, number := split(partition)
		return strategy(kafka.Source(topic, number))
	}
}

// split takes the name of a partition apart.
func split(partition string) (topic string, number int32) {
	at := strings.LastIndexByte(partition, '/')
	if at < 0 {
		return partition, 0
	}
	_, _ = fmt.Sscan(partition[at+1:], &number) // it is Flink's own
	return partition[:at], number
}

// decode makes an event of a record, or a deletion of one without a value.
func (d *decoder) decode(r *flink.Raw, now event.Time, e *event.Enriched) (flink.Verdict, error) {
	topic, number := split(r.Partition)
	decode := d.topics[topic]
	if decode == nil {
		return flink.Verdict{}, fmt.Errorf("topic %q is not one that is read", topic)
	}
	if change, ok := d.config.Deletion(r.Key, r.Value); ok {
		if change.Kind == event.DeleteItem {
			return flink.Verdict{Deleted: change.Item.ID, Subject: operator.SubjectItem}, nil
		}
		return flink.Verdict{Deleted: change.User.ID, Subject: operator.SubjectUser}, nil
	}
	record := format.Record{Topic: topic, Key: r.Key, Value: r.Value, Time: r.Time}
	ctx, cancel := context.WithTimeout(context.Background(), openPatience)
	defer cancel()
	bad, err := decode.Decode(ctx, &record, now, &e.Event)
	for err != nil && ctx.Err() == nil {
		d.logger.Warn("a record can not be decoded yet", "topic", topic, "partition", number, "offset", r.Offset, "error", err)
		if err := source.Sleep(ctx, decodePause); err != nil {
			break
		}
		bad, err = decode.Decode(ctx, &record, now, &e.Event)
	}
	switch {
	case err != nil:
		return flink.Verdict{}, err
	case bad != nil:
		return flink.Verdict{Letter: letter(topic, number, r, bad)}, nil
	}
	return flink.Verdict{Time: e.Time, Punctuation: d.program.Punctuation != nil && d.program.Punctuation(&e.Event)}, nil
}

// deadLetter is what the dead-letter topic gets.
type deadLetter struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Field     string `json:"field,omitempty"`
	Expected  string `json:"expected"`
	Got       string `json:"got"`
	// Value is the record's, or Base64 if that is no text.
	Value  string `json:"value,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

func letter(topic string, partition int32, r *flink.Raw, bad *source.Bad) []byte {
	l := deadLetter{Topic: topic, Partition: partition, Offset: r.Offset, Field: bad.Err.Field, Expected: bad.Err.Expected, Got: bad.Err.Got}
	if utf8.Valid(r.Value) {
		l.Value = string(r.Value)
	} else {
		l.Base64 = base64.StdEncoding.EncodeToString(r.Value)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return []byte(err.Error()) // there is nothing in it that has no JSON
	}
	return b
}
