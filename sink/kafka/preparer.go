package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/operator/publish"
)

// Preparer makes of results what goes to Kafka, for an engine that has another
// program send it: it makes topics that are missing, and writes values in the
// format of their topic. Its methods may be called concurrently.
type Preparer struct {
	sink *Sink

	mutex sync.RWMutex
	ready map[string]*written // by result's topic: there, and its schema registered
}

// NewPreparer makes a Preparer; it connects when there is a topic to look for.
func NewPreparer(c Config, brokers kafkaclient.Config, registry *schemaregistry.Client, logger *slog.Logger) (*Preparer, error) {
	s, err := New(c, brokers, registry, logger)
	if err != nil {
		return nil, err
	}
	return &Preparer{sink: s, ready: map[string]*written{}}, nil
}

// Prepare is the topic that a result goes to, and its value. The topic is empty if
// the result is left out, as it is too large or does not fit its schema, which is
// logged. The error is of brokers or a registry that can not be asked.
func (p *Preparer) Prepare(ctx context.Context, r *publish.Record) (topic string, value []byte, err error) {
	p.mutex.RLock()
	w := p.ready[r.Topic]
	p.mutex.RUnlock()
	if w == nil {
		if w, err = p.first(ctx, r.Topic); err != nil {
			return "", nil, err
		}
	}
	value, err = p.sink.value(w, r)
	if err == nil {
		return w.name, value, nil
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.sink.leaveOut(w.name, r, err, "so far", p.sink.leftOut.Add(1))
	return "", nil, nil
}

// first makes a topic, and registers its schema.
func (p *Preparer) first(ctx context.Context, topic string) (*written, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if w := p.ready[topic]; w != nil {
		return w, nil
	}
	w, err := p.sink.writtenAs(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := p.make(ctx, w.name); err != nil {
		return nil, err
	}
	p.ready[topic] = w
	return w, nil
}

// Make makes topics, by their whole names, that are not there.
func (p *Preparer) Make(ctx context.Context, names ...string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.make(ctx, names...)
}

func (p *Preparer) make(ctx context.Context, names ...string) error {
	if p.sink.client == nil {
		options, err := p.sink.brokers.Options()
		if err != nil {
			return err
		}
		if p.sink.client, err = kgo.NewClient(options...); err != nil {
			return err
		}
	}
	for { // a broker that is away comes back
		err := p.sink.makeTopics(ctx, p.sink.config.Partitions, slices.Clone(names)...)
		if err == nil || errors.Is(err, ErrTopic) || pause(ctx) != nil {
			return err
		}
	}
}

// Close lets go of the connections.
func (p *Preparer) Close() error { return p.sink.Close() }
