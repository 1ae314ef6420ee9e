// Package kafka publishes results to Apache Kafka.
//
// A commit is one transaction: the records, and the number of the last block as
// an offset of the consumer group of the sink's name. Opening the sink has the
// broker end what the engine before has begun, and that engine stops.
package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/encode"
)

// BlockHeader is the header of every record that says which block of the log it
// comes from.
const BlockHeader = "millrace-block"

// ErrTopic is the error of a topic that is not there and can not be made.
var ErrTopic = errors.New("a topic is missing")

// ErrNotOpen is the error of a commit to a sink that is not open.
var ErrNotOpen = errors.New("the sink is not open")

// Sink is a sink.Sink whose records go to Kafka.
type Sink struct {
	config  Config
	brokers kafkaclient.Config
	logger  *slog.Logger
	owner   string // this sink, as the group of owners has it
	claims  claims

	client *kgo.Client     // nil unless it is open
	topics map[string]bool // that are there

	registry *schemaregistry.Client // nil if there is none
	encoders []*encode.Encoder      // of the config's formats
	written  map[string]*written    // by result's topic

	leftOut atomic.Uint64
	warned  time.Time // when one that is left out was logged last
	away    connection
}

var _ sink.Sink = (*Sink)(nil)

// New makes a sink of a name; Open connects it. Schemas are registered with the
// registry, unless it is nil.
func New(c Config, brokers kafkaclient.Config, registry *schemaregistry.Client, logger *slog.Logger) (*Sink, error) {
	list, err := encoders(c.Formats)
	if err != nil {
		return nil, err
	}
	return &Sink{
		config: c, brokers: brokers, registry: registry, encoders: list, written: map[string]*written{}, logger: logger, owner: rand.Text(),
	}, nil
}

// Group is the consumer group whose offset is the last block that was published.
func (s *Sink) Group() string { return s.config.Group() }

// ownerGroup is the group whose offset's metadata names the sink that was opened
// last: a producer that is fenced does not learn by whom, and a broker that gave
// up a transaction fences too.
func (s *Sink) ownerGroup() string { return s.Group() + "-owner" }

// anchor is the topic whose partition 0 both groups have their offset of. It
// holds no records.
func (s *Sink) anchor() string { return s.Group() }

// LeftOut is how many records were left out, as they are too large or do not fit
// the schema of their topic.
func (s *Sink) LeftOut() uint64 { return s.leftOut.Load() }

// Open takes over the transactional id and reads the progress.
func (s *Sink) Open(ctx context.Context) (sink.Progress, error) {
	p, err := s.open(ctx)
	if err != nil {
		s.disconnect()
		return p, fmt.Errorf("open %s in Kafka: %w", s.config.Name, err)
	}
	return p, nil
}

func (s *Sink) open(ctx context.Context) (p sink.Progress, err error) {
	s.disconnect()
	if s.client, err = s.connect(); err != nil {
		return p, err
	}
	if err := s.checkOwner(ctx); err != nil { // before it fences the new owner
		return p, err
	}
	if err := s.makeTopics(ctx, 1, s.anchor()); err != nil {
		return p, err
	}
	if s.config.Delivery == ExactlyOnce {
		if _, _, err := s.client.ProducerID(ctx); err != nil {
			return p, fmt.Errorf("begin with the transactional id %s: %w", s.transactionalID(), err)
		}
	}
	if err := s.claim(ctx); err != nil {
		return p, err
	}
	return s.progress(ctx)
}

func (s *Sink) transactionalID() string { return s.Group() }

// connect makes a client. It has a producer id of its own, so that nothing of
// one that failed is left.
func (s *Sink) connect() (*kgo.Client, error) {
	options, err := s.brokers.Options()
	if err != nil {
		return nil, err
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4) // the one that goes with AddOffsetsToTxn
	options = append(options,
		kgo.MaxVersions(versions),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(int32(max(1_000_012, (s.config.MaxRecordKiB+64)<<10))),
		kgo.ProducerLinger(0),
		kgo.UnknownTopicRetries(20),              // topics that were just made
		kgo.MetadataMinAge(250*time.Millisecond), // to find them, and new leaders, soon
		kgo.WithHooks(&s.away),
	)
	if s.config.Delivery == ExactlyOnce {
		options = append(options, kgo.TransactionalID(s.transactionalID()), kgo.TransactionTimeout(s.config.TransactionTimeout))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kafkaclient.ErrConfig, err)
	}
	return client, nil
}

func (s *Sink) disconnect() {
	if s.client != nil {
		s.client.Close()
		s.client, s.topics = nil, nil
	}
}

// Close lets go of the connections.
func (s *Sink) Close() error {
	s.disconnect()
	return nil
}

// Commit commits the records and the progress in one transaction; with
// at_least_once first the ones, then the other.
func (s *Sink) Commit(ctx context.Context, blocks []sink.Block, p sink.Progress) error {
	if s.client == nil {
		return ErrNotOpen
	}
	err := s.commit(ctx, blocks, p)
	if err == nil {
		return nil
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownerTimeout)
	defer cancel()
	if fenced := s.checkOwner(again); errors.Is(fenced, sink.ErrFenced) {
		err = fenced
	}
	s.disconnect()
	return fmt.Errorf("publish to Kafka: %w", err)
}

// ownerTimeout bounds how long it is asked why a commit has failed.
const ownerTimeout = 5 * time.Second

func (s *Sink) commit(ctx context.Context, blocks []sink.Block, p sink.Progress) error {
	if s.config.Delivery == AtLeastOnce { // no broker fences this producer
		if err := s.checkOwner(ctx); err != nil {
			return err
		}
	}
	records, leftOut, err := s.records(ctx, blocks)
	if err != nil {
		return err
	}
	if err := s.makeTopics(ctx, s.config.Partitions, topicsOf(records)...); err != nil {
		return err
	}
	if s.config.Delivery == AtLeastOnce {
		if err := s.produce(ctx, records); err != nil {
			return err
		}
		if err := s.commitOffset(ctx, s.Group(), int64(p.Block), metadata(p)); err != nil {
			return err
		}
	} else if err := s.transact(ctx, records, p); err != nil {
		return err
	}
	s.leftOut.Add(leftOut)
	return nil
}

// transact commits records and progress in one transaction.
func (s *Sink) transact(ctx context.Context, records []*kgo.Record, p sink.Progress) error {
	if len(records) == 0 { // all were left out
		return s.commitOffset(ctx, s.Group(), int64(p.Block), metadata(p))
	}
	if err := s.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if err := s.produce(ctx, records); err != nil {
		return err
	}
	if err := s.addOffset(ctx, p); err != nil {
		return err
	}
	if err := s.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("end the transaction: %w", err)
	}
	return nil
}

// records makes Kafka's records, without those that are left out.
func (s *Sink) records(ctx context.Context, blocks []sink.Block) (list []*kgo.Record, leftOut uint64, err error) {
	n := 0
	for i := range blocks {
		n += len(blocks[i].Records)
	}
	all := make([]kgo.Record, 0, n)
	for i := range blocks {
		b := &blocks[i]
		headers := []kgo.RecordHeader{{Key: BlockHeader, Value: strconv.AppendUint(nil, b.Number, 10)}}
		for j := range b.Records {
			r := &b.Records[j]
			w, err := s.writtenAs(ctx, r.Topic)
			if err != nil {
				return nil, 0, err
			}
			value, err := s.value(w, r)
			if err != nil {
				leftOut++
				s.leaveOut(w.name, r, err, "block", b.Number)
				continue
			}
			all = append(all, kgo.Record{Topic: w.name, Key: []byte(r.Key), Value: value, Headers: headers, Timestamp: b.Time.Go()})
		}
	}
	list = make([]*kgo.Record, len(all))
	for i := range all {
		list[i] = &all[i]
	}
	return list, leftOut, nil
}

var errTooLarge = errors.New("it is larger than publish.max_record_kib")

// value is a result's value as it is written. The error says why the result is to
// be left out.
func (s *Sink) value(w *written, r *publish.Record) ([]byte, error) {
	value, err := w.value(r.Value)
	if err == nil && len(r.Key)+len(value) > s.config.MaxRecordKiB<<10 {
		err = errTooLarge
	}
	return value, err
}

// leaveOut logs that a record is left out, now and then; more is what else there
// is to say.
func (s *Sink) leaveOut(topic string, r *publish.Record, why error, more ...any) {
	if now := time.Now(); now.Sub(s.warned) >= time.Minute {
		s.warned = now
		s.logger.With(more...).Warn("a result is not published", "topic", topic, "bytes", len(r.Key)+len(r.Value), "because", why)
	}
}

func topicsOf(records []*kgo.Record) []string {
	seen := map[string]bool{}
	var list []string
	for _, r := range records {
		if !seen[r.Topic] {
			seen[r.Topic] = true
			list = append(list, r.Topic)
		}
	}
	slices.Sort(list)
	return list
}

// produce returns when the brokers have all records, or with the first error.
func (s *Sink) produce(ctx context.Context, records []*kgo.Record) error {
	var wait sync.WaitGroup
	failed := make(chan error, 1)
	wait.Add(len(records))
	for _, r := range records {
		s.client.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- fmt.Errorf("produce to topic %s: %w", r.Topic, err):
				default:
				}
			}
			wait.Done()
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()
	select {
	case <-done:
	case err := <-failed:
		return err
	case <-ctx.Done(): // what is on its way ends with the client
		return ctx.Err()
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// makeTopics makes topics that are not there.
func (s *Sink) makeTopics(ctx context.Context, partitions int, names ...string) error {
	names = slices.DeleteFunc(names, func(name string) bool { return s.topics[name] })
	if len(names) == 0 {
		return nil
	}
	admin := kadm.NewClient(s.client)
	found, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("look for topics: %w", err)
	}
	var missing []string
	for _, name := range names {
		switch t := found[name]; {
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, name)
		case t.Err != nil:
			return fmt.Errorf("topic %s: %w", name, t.Err)
		}
	}
	if len(missing) > 0 && !s.config.CreateTopics {
		return fmt.Errorf("%w: there is no topic %s: create it, or set publish.create_topics", ErrTopic, missing[0])
	}
	if len(missing) > 0 {
		made, err := admin.CreateTopics(ctx, int32(partitions), int16(s.config.ReplicationFactor), nil, missing...)
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		for _, name := range missing {
			if err := made[name].Err; err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return fmt.Errorf("%w: create topic %s: %w", ErrTopic, name, err)
			}
		}
	}
	if s.topics == nil {
		s.topics = map[string]bool{}
	}
	for _, name := range names {
		s.topics[name] = true
	}
	return nil
}
