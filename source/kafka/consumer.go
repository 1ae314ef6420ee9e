package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
	"millrace/source/format"
)

// Log takes what was read: an eventlog.Appender.
type Log interface {
	eventlog.Submitter
	// Err is nil while batches are taken.
	Err() error
}

// DeadLetters keeps records that are no events: an eventlog.Log.
type DeadLetters interface {
	AppendDeadLetters([]eventlog.DeadLetter) error
	DeadLetters(cursor string, n int) ([]eventlog.DeadLetter, string, error)
}

// Options are the parts that a Consumer is wired to.
type Options struct {
	Config Config
	// Decoder makes the decoder of a topic.
	Decoder     func(*Topic) (format.Decoder, error)
	Log         Log
	DeadLetters DeadLetters
	// Deleted is told of users whom a record has deleted, with the block of the
	// log that has that; it does not wait. After a crash it may not be.
	Deleted func(user string, block uint64)
	// Settled returns when everything in the log is applied, so that Position
	// tells how far it has got.
	Settled func(context.Context) error
	// Position is how far a source has got in the log.
	Position func(source string) (next uint64, known bool)
	// Sources are the names of all sources that the log has positions of.
	Sources func() []string
	// LookEvery is how often the cluster is asked how it is, 0 for every 5 s.
	LookEvery time.Duration
	// Now is the wall clock, nil for the real one.
	Now    func() time.Time
	Logger *slog.Logger
}

// Consumer reads the configured topics into the log until it is closed. When
// anything fails it says so in Status and goes on from where the log is, by
// itself.
type Consumer struct {
	o       Options
	topics  map[string]*topic
	names   []string
	options []kgo.Opt // how the brokers are reached
	letters *letters
	status  status
	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
	outage  atomic.Bool // brokers did not answer since partitions were announced last
}

// topic is a topic that is read.
type topic struct {
	*Topic
	decoder format.Decoder
}

// pauses between two tries, after an error.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Start begins to read. The log must take batches already. The error is one of
// the configuration: brokers that do not answer are none.
func Start(o Options) (*Consumer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Deleted == nil {
		o.Deleted = func(string, uint64) {}
	}
	o.LookEvery = cmp.Or(o.LookEvery, lookEvery)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Consumer{o: o, topics: map[string]*topic{}, stopped: make(chan struct{})}
	c.status.init(&c.o)
	list := o.Config.topics()
	for i := range list {
		decoder, err := o.Decoder(&list[i])
		if err != nil {
			return nil, fmt.Errorf("%w: kafka.topics: %s: %w", ErrConfig, list[i].Name, err)
		}
		c.topics[list[i].Name] = &topic{&list[i], decoder}
		c.names = append(c.names, list[i].Name)
	}
	var err error
	if c.options, err = o.Config.Options(); err != nil {
		return nil, err
	}
	if c.letters, err = newLetters(c); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.expectKnown()
	go c.run()
	return c, nil
}

// expectKnown has event time wait for the partitions that were read before, so
// that what comes from elsewhere does not run ahead of them after a start.
func (c *Consumer) expectKnown() {
	for _, source := range slices.Sorted(slices.Values(c.o.Sources())) {
		if name, ok := TopicOf(source); !ok || c.topics[name] == nil || source == identity(name) {
			continue
		}
		if _, err := c.o.Log.Submit(eventlog.Batch{Kind: eventlog.Events, Partition: source}); err != nil {
			return // run meets it too
		}
	}
}

// Close commits what is durable and leaves the group.
func (c *Consumer) Close() {
	c.cancel()
	<-c.stopped
	c.letters.close()
}

// run has one session after the other.
func (c *Consumer) run() {
	defer close(c.stopped)
	pause := firstPause
	for c.ctx.Err() == nil {
		began := c.o.Now()
		err := c.session()
		if c.ctx.Err() != nil {
			return
		}
		c.status.session(c.o.Config.Words(err))
		if pause = min(2*pause, lastPause); c.o.Now().Sub(began) > lastPause {
			pause = firstPause
		}
		if errors.Is(err, errAgain) {
			pause = firstPause
		}
		if source.Sleep(c.ctx, pause) != nil {
			return
		}
	}
}

// errAgain ends a session that another one is to follow soon.
var errAgain = errors.New("the assignment is made anew")

// session reads with one client, from where the log is.
func (c *Consumer) session() error {
	if err := c.o.Log.Err(); err != nil {
		return fmt.Errorf("the event log accepts nothing: %w", err)
	}
	if err := c.o.Settled(c.ctx); err != nil {
		return err
	}
	s, err := newSession(c)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.monitor(ctx)
	}()
	err = s.run(ctx)
	cancel()
	<-done
	return err
}

// now is the wall clock in event time.
func (c *Consumer) now() event.Time { return event.FromGo(c.o.Now()) }
