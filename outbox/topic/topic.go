// Package topic takes reactions to Kafka: a message <content_id>:<kind> to one
// topic, whose key is the user, for those who want to know, and an event for the recommender to another where there is no log to
// take it. The messages and the position are one transaction, as package
// sink/kafka makes them.
package topic

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"millrace/event"
	"millrace/operator/publish"
	"millrace/outbox"
	"millrace/sink"
)

// Options are what a Messages is made of.
type Options struct {
	Sink  sink.Sink
	Store *outbox.Store
	// Topic is that of the messages, and Events that of events, "" for none.
	Topic, Events string
	// Types are the event types of reactions; one that has none makes no event.
	Types map[outbox.Kind]string
}

// Messages is an outbox.Target.
type Messages struct {
	o    Options
	at   uint64
	open bool
}

// New makes Messages; Open connects them.
func New(o Options) *Messages { return &Messages{o: o} }

// Name implements outbox.Target.
func (m *Messages) Name() string { return "kafka" }

// Open implements outbox.Target. Whoever had the sink before can not write to it
// any more.
func (m *Messages) Open(ctx context.Context) (uint64, error) {
	p, err := m.o.Sink.Open(ctx)
	if err != nil {
		return 0, err
	}
	m.open = true
	if m.at = p.Block; p.Log != "" && p.Log != m.o.Store.Identity() {
		m.at = 0 // positions of other tables
	}
	return m.at, nil
}

// Position implements outbox.Target: nobody else moves it while it is open.
func (m *Messages) Position(context.Context) (uint64, error) { return m.at, nil }

// Close implements outbox.Target.
func (m *Messages) Close() {
	if m.open {
		_ = m.o.Sink.Close() // of connections that are given up
		m.open = false
	}
}

// Take implements outbox.Target.
func (m *Messages) Take(ctx context.Context, entries []outbox.Entry) error {
	blocks := make([]sink.Block, len(entries))
	for i := range entries {
		e := &entries[i]
		blocks[i] = sink.Block{Number: e.Position, Time: e.Time, Records: []publish.Record{
			{Topic: m.o.Topic, Key: e.User, Value: []byte(e.Content + ":" + string(e.Kind))},
		}}
		if m.o.Topic == "" {
			blocks[i].Records = nil
		}
		if m.o.Events == "" {
			continue
		}
		made, ok := Event(e, m.o.Types)
		if !ok {
			continue
		}
		value, err := encode(&made)
		if err != nil {
			return err
		}
		blocks[i].Records = append(blocks[i].Records, publish.Record{Topic: m.o.Events, Key: e.User, Value: value})
	}
	last := entries[len(entries)-1].Position
	if err := m.o.Sink.Commit(ctx, blocks, sink.Progress{Log: m.o.Store.Identity(), Block: last}); err != nil {
		return err
	}
	m.at = last
	return nil
}

// Event is what a reaction is to the recommender; ok is false where it is
// nothing. Its id is that of the row, so that it counts once however often it
// comes.
func Event(e *outbox.Entry, types map[outbox.Kind]string) (made event.Event, ok bool) {
	if types[e.Kind] == "" || e.User == "" {
		return event.Event{}, false
	}
	return event.Event{ID: "likes:" + strconv.FormatUint(e.Seq, 10), User: e.User, Item: e.Content, Type: types[e.Kind], Time: e.Time}, true
}

// message is an event as POST /v1/events takes it.
type message struct {
	ID        string `json:"event_id"`
	User      string `json:"user_id"`
	Item      string `json:"item_id"`
	Type      string `json:"event_type"`
	Timestamp string `json:"timestamp"`
}

func encode(e *event.Event) ([]byte, error) {
	b, err := json.Marshal(message{e.ID, e.User, e.Item, e.Type, e.Time.Go().UTC().Format("2006-01-02T15:04:05.000Z")})
	if err != nil {
		return nil, fmt.Errorf("encoding the event of a reaction: %w", err)
	}
	return b, nil
}
