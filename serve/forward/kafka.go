package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafkaclient"
)

// ErrFull says that too many records wait for the brokers.
var ErrFull = errors.New("too much is waiting for kafka")

// ErrBrokers says that records have not been acknowledged. Clients may be told
// its text.
var ErrBrokers = errors.New("kafka has not acknowledged it")

const (
	// mostRecords bounds the records that wait for the brokers.
	mostRecords = 100_000
	// deliveryTimeout is how long whoever sent a record waits for the brokers. What
	// may have been sent is not taken back: it may be acknowledged later.
	deliveryTimeout = 5 * time.Second
	// produceLinger is how long a record waits for others.
	produceLinger = time.Millisecond
)

// Topic is a topic of Apache Kafka that records are sent to. All replicas that
// are in sync acknowledge them.
type Topic struct {
	client  *kgo.Client
	config  kafkaclient.Config
	name    string
	log     *slog.Logger
	failure atomic.Pointer[error] // of the last record
	absent  atomic.Pointer[error] // why no record can be sent, until the topic has been seen
	waiting atomic.Int64
	stop    context.CancelFunc
	done    chan struct{}
	purging atomic.Bool
}

// Record is a record to be sent: those with the same key keep their order.
type Record struct{ Key, Value []byte }

// NewTopic makes a Topic, and begins to look whether it is there. It is closed
// after use.
func NewTopic(c kafkaclient.Config, name string, log *slog.Logger) (*Topic, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options,
		kgo.DefaultProduceTopic(name), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(produceLinger),
		kgo.MaxBufferedRecords(2*mostRecords), kgo.RecordDeliveryTimeout(2*deliveryTimeout), kgo.UnknownTopicRetries(2))...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &Topic{client: client, config: c, name: name, log: log, stop: stop, done: make(chan struct{})}
	go t.await(ctx)
	return t, nil
}

// Close ends the connection. What waits is not sent.
func (t *Topic) Close() {
	t.stop()
	<-t.done
	t.client.Close()
}

// Err is why the last record was not acknowledged, in words, or why none can be
// sent, as there is no such topic; else nil.
func (t *Topic) Err() error {
	for _, p := range []*atomic.Pointer[error]{&t.failure, &t.absent} {
		if err := p.Load(); err != nil {
			return fmt.Errorf("topic %s: %w", t.name, *err)
		}
	}
	return nil
}

// await looks for the topic until it has been seen, so that it is known before
// the first record is sent that none can be.
func (t *Topic) await(ctx context.Context) {
	defer close(t.done)
	tick := time.NewTicker(ProbeEvery)
	defer tick.Stop()
	for !t.seen(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// seen asks the brokers whether the topic is there.
func (t *Topic) seen(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	topics, err := kadm.NewClient(t.client).ListTopics(ctx, t.name)
	if err == nil {
		err = topics[t.name].Err
	}
	before := t.absent.Load()
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // it is closed
	case err == nil:
		if t.absent.Store(nil); before != nil {
			t.log.Info("kafka has the topic now", "topic", t.name)
		}
		return true
	default:
		words := errors.New(t.config.Words(err))
		if t.absent.Store(&words); before == nil {
			t.log.Warn("nothing can be sent to kafka yet", "topic", t.name, "because", words, "error", err)
		}
	}
	return false
}

// Sent is records on their way.
type Sent struct {
	done chan struct{}

	mutex  sync.Mutex
	timer  *time.Timer
	left   int
	ended  bool
	err    error
	places map[int32]int64 // by partition: the offset of the last record
}

// Send sends records together. The errors are ErrFull, and ErrBrokers while
// others wait in vain: then nothing is sent.
func (t *Topic) Send(records []Record) (*Sent, error) {
	if t.failure.Load() != nil && t.waiting.Load() > 0 {
		return nil, ErrBrokers
	}
	if n := t.waiting.Add(int64(len(records))); n > mostRecords {
		t.waiting.Add(-int64(len(records)))
		return nil, fmt.Errorf("%w: %d records", ErrFull, n-int64(len(records)))
	}
	s := &Sent{done: make(chan struct{}), left: len(records), places: map[int32]int64{}}
	if len(records) == 0 {
		s.end(nil)
		return s, nil
	}
	s.timer = time.AfterFunc(deliveryTimeout, func() { // before any can end
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if !s.ended {
			t.note(context.DeadlineExceeded)
			s.end(ErrBrokers)
		}
	})
	for _, r := range records {
		t.client.Produce(context.Background(), &kgo.Record{Key: r.Key, Value: r.Value}, func(r *kgo.Record, err error) {
			t.waiting.Add(-1)
			t.note(err)
			t.forget(err)
			s.acknowledged(r, err)
		})
	}
	return s, nil
}

// note keeps whether records are acknowledged at present.
func (t *Topic) note(err error) {
	before := t.failure.Load()
	if err == nil {
		t.absent.Store(nil)
	}
	switch {
	case err == nil && before != nil:
		t.failure.Store(nil)
		t.log.Info("kafka acknowledges events again", "topic", t.name)
	case err != nil && before == nil:
		words := errors.New(t.config.Words(err))
		t.failure.Store(&words)
		t.log.Error("kafka does not acknowledge events", "topic", t.name, "because", words, "error", err)
	}
}

// forget has the client ask anew for a topic that is not there: it takes one that
// is made anew for another, to which nothing is sent, for as long as it knows of
// the one before.
func (t *Topic) forget(err error) {
	gone := errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
	if !gone || t.purging.Swap(true) {
		return
	}
	go func() { // here the client waits for the call to end
		t.client.PurgeTopicsFromProducing(t.name)
		t.purging.Store(false)
	}()
}

func (s *Sent) acknowledged(r *kgo.Record, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.ended {
		return
	}
	if err != nil {
		s.err = fmt.Errorf("%w: %w", ErrBrokers, err)
	} else if last, ok := s.places[r.Partition]; !ok || r.Offset > last {
		s.places[r.Partition] = r.Offset
	}
	if s.left--; s.left == 0 {
		s.end(s.err)
	}
}

// end says what has become of the records; the mutex is held.
func (s *Sent) end(err error) {
	s.ended, s.err = true, err
	if s.timer != nil {
		s.timer.Stop()
	}
	close(s.done)
}

// Done is closed when all records are acknowledged, or some will not be.
func (s *Sent) Done() <-chan struct{} { return s.done }

// Err is nil if all are acknowledged, or an ErrBrokers. Like Places it may be
// called once Done is closed.
func (s *Sent) Err() error { return s.err }

// Places are the offsets of the last record in each partition.
func (s *Sent) Places() map[int32]int64 { return s.places }
