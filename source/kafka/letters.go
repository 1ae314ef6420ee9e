package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/eventlog"
)

const (
	// deliveryTimeout is how long the dead-letter topic may take for a record.
	deliveryTimeout = 10 * time.Second
	// unsentPause is how long it is left alone after it took none.
	unsentPause = 30 * time.Second
	// sentBytes is how much is sent to the topic at once, but for larger records: a
	// batch that is larger than its max.message.bytes, 1 MiB by default, is refused
	// as a whole.
	sentBytes = 900 << 10
	// letterPage is how many dead letters are read at once.
	letterPage = 1000
)

// letters stores records that are no events: among the dead letters of the log,
// each once, and in the dead-letter topic if there is one.
type letters struct {
	c      *Consumer
	client *kgo.Client // nil without a dead-letter topic
	retry  time.Time   // before it, the topic is left alone

	mu sync.Mutex
	// stored are records that are among the dead letters, though the log is not
	// known to have passed them: a crash loses their position.
	stored map[string]map[uint64]bool
}

func newLetters(c *Consumer) (*letters, error) {
	l := &letters{c: c, stored: map[string]map[uint64]bool{}}
	if err := l.load(); err != nil {
		return nil, err
	}
	if c.o.Config.DeadLetterTopic == "" {
		return l, nil
	}
	client, err := kgo.NewClient(append(slices.Clone(c.options),
		kgo.DefaultProduceTopic(c.o.Config.DeadLetterTopic),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
		kgo.UnknownTopicRetries(2),
		kgo.ProducerBatchMaxBytes(16<<20),
		kgo.MaxBufferedBytes(64<<20),
	)...)
	if err != nil {
		return nil, fmt.Errorf("%w: kafka: %w", ErrConfig, err)
	}
	l.client = client
	return l, nil
}

func (l *letters) close() {
	if l.client != nil {
		l.client.Close()
	}
}

// load finds the dead letters of records that the log has not passed.
func (l *letters) load() error {
	for cursor := ""; ; {
		list, next, err := l.c.o.DeadLetters.DeadLetters(cursor, letterPage)
		if err != nil {
			return err
		}
		for i := range list {
			name, offset, ok := parsePlace(list[i].Error)
			if !ok {
				continue
			}
			if at, _ := l.c.o.Position(name); offset >= at {
				l.note(name, offset)
			}
		}
		if cursor = next; len(list) == 0 {
			return nil
		}
	}
}

// note remembers a record whose letter is stored. The caller holds mu, or is
// the only one.
func (l *letters) note(name string, offset uint64) {
	if l.stored[name] == nil {
		l.stored[name] = map[uint64]bool{}
	}
	l.stored[name][offset] = true
}

// passed forgets records that the log has passed.
func (l *letters) passed(name string, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.stored[name], func(offset uint64, _ bool) bool { return offset < next })
}

// forget is for a partition whose records are others now.
func (l *letters) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.stored, name)
}

// place is where a record is, as the error of its dead letter begins.
func place(name string, offset int64) string {
	return fmt.Sprintf("%s@%d", name, offset)
}

func parsePlace(text string) (name string, offset uint64, ok bool) {
	at, _, found := strings.Cut(text, ": ")
	i := strings.LastIndexByte(at, '@')
	if !found || i < 0 || !strings.HasPrefix(at, sourcePrefix) {
		return "", 0, false
	}
	offset, err := strconv.ParseUint(at[i+1:], 10, 63)
	return at[:i], offset, err == nil
}

// store stores the records of a partition that are no events.
func (l *letters) store(ctx context.Context, p *partition, bad []badRecord) error {
	if len(bad) == 0 {
		return nil
	}
	list := make([]eventlog.DeadLetter, 0, len(bad))
	l.mu.Lock()
	for _, b := range bad {
		if !l.stored[p.source][uint64(b.record.Offset)] {
			list = append(list, eventlog.DeadLetter{
				Time: l.c.now(), Raw: b.record.Value,
				Error: place(p.source, b.record.Offset) + ": " + faultText(b.fault),
			})
		}
	}
	l.mu.Unlock()
	if err := l.c.o.DeadLetters.AppendDeadLetters(list); err != nil {
		return fmt.Errorf("the event log: %w", err)
	}
	l.mu.Lock()
	for _, b := range bad {
		l.note(p.source, uint64(b.record.Offset))
	}
	l.mu.Unlock()
	return l.produce(ctx, p, bad)
}

// faultText is what is wrong with a record.
func faultText(f *event.FieldError) string {
	text := "expected " + f.Expected + ", got " + f.Got
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	return text
}

// produce sends records to the dead-letter topic and waits until it has them. A
// topic that takes nothing holds nothing up for long: it is told in Status, and
// the log has the letters.
func (l *letters) produce(ctx context.Context, p *partition, bad []badRecord) error {
	if l.client == nil {
		return nil
	}
	if l.c.o.Now().Before(l.retry) {
		l.c.status.unsent(len(bad))
		return nil
	}
	records := make([]*kgo.Record, len(bad))
	for i, b := range bad {
		// Its time is when it is sent: with that of the bad record, the client would
		// give up at once what is older than deliveryTimeout, and retention would
		// delete it early.
		records[i] = &kgo.Record{
			Key: b.record.Key, Value: b.record.Value,
			Headers: append(slices.Clone(b.record.Headers),
				header("millrace-error", faultText(b.fault)),
				header("millrace-field", b.fault.Field),
				header("millrace-topic", b.record.Topic),
				header("millrace-partition", strconv.Itoa(int(b.record.Partition))),
				header("millrace-offset", strconv.FormatInt(b.record.Offset, 10)),
				header("millrace-timestamp", strconv.FormatInt(b.record.Timestamp.UnixMilli(), 10)),
			),
		}
	}
	large, failed, err := l.send(ctx, records)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.c.status.unsent(large + failed)
	l.c.status.deadLetterTopic(l.c.o.Config.Words(err), large)
	if err != nil {
		l.retry = l.c.o.Now().Add(unsentPause)
		// One that was made anew is another topic to the client otherwise, for ever.
		l.client.PurgeTopicsFromProducing(l.c.o.Config.DeadLetterTopic)
	}
	return nil
}

// send sends records, in batches of sentBytes. large are those that the topic does
// not take however it works, and failed those that it might have taken: the first
// error ends it.
func (l *letters) send(ctx context.Context, records []*kgo.Record) (large, failed int, err error) {
	for len(records) > 0 && err == nil {
		n, size := 1, sizeOf(records[0])
		for n < len(records) && size+sizeOf(records[n]) <= sentBytes {
			size += sizeOf(records[n])
			n++
		}
		var refused []*kgo.Record
		for _, r := range l.client.ProduceSync(ctx, records[:n]...) {
			switch {
			case errors.Is(r.Err, kerr.MessageTooLarge):
				refused = append(refused, r.Record)
			case r.Err != nil:
				failed, err = failed+1, r.Err
			}
		}
		records = records[n:]
		if n == 1 {
			large += len(refused)
			continue
		}
		// All of a batch are refused where the topic takes less at once.
		for _, r := range refused {
			r.Timestamp = time.Time{} // its delivery begins anew
			more, lost, again := 0, 1, err
			if err == nil {
				more, lost, again = l.send(ctx, []*kgo.Record{r})
			}
			large, failed, err = large+more, failed+lost, again
		}
	}
	return large, failed + len(records), err
}

// sizeOf is how many bytes a record takes about.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 64
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 8
	}
	return n
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}
