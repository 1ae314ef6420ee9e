package front

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"millrace/event"
	"millrace/event/wire"
	"millrace/serve/api"
	"millrace/serve/forward"
	"millrace/source/kafka"
	"millrace/view/redis"
)

// topicIngest sends events to a topic of Kafka, which an engine reads. They are
// durable when the brokers have acknowledged them, and visible when the engine's
// views are as of their offsets.
type topicIngest struct {
	topic *forward.Topic
	name  string

	mutex sync.Mutex
	last  uint64
	sent  map[uint64]*forward.Sent // by the number that stands for a block: those that are waited for
}

func newTopicIngest(topic *forward.Topic, name string) *topicIngest {
	return &topicIngest{topic: topic, name: name, sent: map[uint64]*forward.Sent{}}
}

// errImport is the error of batches with a position.
var errImport = fmt.Errorf("%w: events with a source and a position go to the engine itself", api.ErrUnavailable)

// Submit sends the events of a batch, keyed by their users. Changes are not
// for topics.
func (i *topicIngest) Submit(b api.Batch) (api.Ticket, error) {
	switch {
	case b.Kind != api.Events:
		return nil, errElsewhere
	case b.Source != "":
		return nil, errImport
	}
	r := wire.NewReader(b.Payload)
	records := make([]forward.Record, b.Count)
	var names event.Names
	for k := range records {
		var e event.Event
		event.ReadEvent(r, &e, &names)
		if r.Err() != nil {
			return nil, fmt.Errorf("event %d: %w", k, r.Err())
		}
		records[k] = forward.Record{Key: []byte(e.User), Value: event.AppendJSON(nil, &e)}
	}
	sent, err := i.topic.Send(records)
	if errors.Is(err, forward.ErrFull) {
		return nil, fmt.Errorf("%w: %w", api.ErrOverloaded, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return &topicTicket{ingest: i, Sent: sent}, nil
}

// Err is nil: what brokers do not take is refused, and health has a system for
// them.
func (i *topicIngest) Err() error { return nil }

// topicTicket is a batch on its way to the brokers.
type topicTicket struct {
	*forward.Sent
	ingest *topicIngest
}

// Err is nil if the brokers have all of it.
func (t *topicTicket) Err() error {
	if err := t.Sent.Err(); err != nil {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, forward.ErrBrokers)
	}
	return nil
}

// First is of no use: nobody tells here which events are repeats.
func (t *topicTicket) First() int { return 0 }

// Block is a number by which the batch is waited for.
func (t *topicTicket) Block() uint64 {
	i := t.ingest
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.last++
	i.sent[i.last] = t.Sent
	return i.last
}

// errNotTold is what those hear who wait for events that are computed on Flink.
var errNotTold = fmt.Errorf("%w: kafka has it, and the views will show it, but jobs on Flink do not tell when: use wait=durable", api.ErrUnavailable)

// wait returns once the batch of a number is in the views.
func (f *front) wait(ctx context.Context, number uint64) error {
	i := f.topic
	i.mutex.Lock()
	sent := i.sent[number]
	delete(i.sent, number)
	i.mutex.Unlock()
	if sent == nil {
		return errElsewhere
	}
	if f.reader.Figure(redis.NoPositions) != 0 {
		return errNotTold
	}
	want := map[string]uint64{}
	for partition, offset := range sent.Places() {
		want[kafka.Source(i.name, partition)] = uint64(offset) + 1
	}
	if err := f.reader.WaitPositions(ctx, want); err != nil {
		return fmt.Errorf("%w: kafka has it, but the views do not show it yet", api.ErrUnavailable)
	}
	return nil
}

// topicLetters are the events that were refused here: they go to the topic for
// them, if there is one. Whoever sent them was told in any case.
type topicLetters struct {
	noLetters
	topic  *forward.Topic // nil: there is none
	shared bool           // no engine has any
}

// Append sends letters, and returns when the brokers have them.
func (l topicLetters) Append(list []api.DeadLetter) error {
	if l.topic == nil {
		return nil
	}
	records := make([]forward.Record, len(list))
	for k, letter := range list {
		records[k] = forward.Record{Value: letter.Raw}
	}
	if err := send(l.topic, records); err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return nil
}

// Purge is not for fronts whose engine keeps them. A topic keeps what it has, for
// as long as its retention says.
func (l topicLetters) Purge(user string) error {
	if l.shared {
		return api.ErrRetained
	}
	return l.noLetters.Purge(user)
}

// send sends records and returns when the brokers have them.
func send(topic *forward.Topic, records []forward.Record) error {
	sent, err := topic.Send(records)
	if errors.Is(err, forward.ErrFull) {
		return fmt.Errorf("%w: %w", api.ErrOverloaded, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	<-sent.Done()
	if sent.Err() != nil {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, forward.ErrBrokers)
	}
	return nil
}
