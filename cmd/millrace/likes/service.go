package likes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/redis/go-redis/v9"

	"millrace/catalog/database"
	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/internal/kafkaclient"
	"millrace/outbox"
	"millrace/outbox/counter"
	"millrace/outbox/topic"
	"millrace/serve/likes"
	sinkkafka "millrace/sink/kafka"
)

// databaseFile is the table's file in a data directory, with SQLite.
const databaseFile = "likes.db"

// Parts are what the service is wired to.
type Parts struct {
	Database database.Config
	Data     string // the data directory, for SQLite
	Brokers  kafkaclient.Config
	Users    likes.Users
	// Log is the log of an engine in this process, nil in a front.
	Log    *Log
	Logger *slog.Logger
}

// Service is the likes service of a process.
type Service struct {
	// Handler answers the routes.
	Handler http.Handler

	store     *outbox.Store
	projector *outbox.Projector
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

// Start opens the table and begins to take what is in it where it belongs; nil
// if the service is not enabled.
func Start(ctx context.Context, c Config, p Parts) (*Service, error) {
	if !c.Enabled {
		return nil, nil
	}
	store, err := outbox.Open(ctx, p.Database, filepath.Join(p.Data, databaseFile))
	if err != nil {
		return nil, err
	}
	o, err := options(c, p, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s := &Service{
		Handler: likes.New(likes.Options{Store: store, Users: p.Users, Logger: p.Logger}), store: store, projector: outbox.NewProjector(o),
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.running.Go(func() { s.projector.Run(running) })
	return s, nil
}

// options are those of the projector.
func options(c Config, p Parts, store *outbox.Store) (outbox.Options, error) {
	o := outbox.Options{Store: store, Interval: c.Interval, Lease: c.Lease, Logger: p.Logger}
	if c.Redis != "" {
		o.Shared = append(o.Shared, counter.New(counter.Options{
			Connect: func() (redis.UniversalClient, error) { return c.redis() }, Store: store, Prefix: c.KeyPrefix, Logger: p.Logger,
		}))
	}
	if p.Brokers.Enabled() && len(c.Topics()) > 0 {
		sink, err := sinkkafka.New(c.Sink(), p.Brokers, nil, p.Logger)
		if err != nil {
			return o, err
		}
		messages := topic.Options{Sink: sink, Store: store, Topic: c.Topic, Types: c.types()}
		if c.EventsTo == ToKafka {
			messages.Events = c.EventsTopic
		}
		o.Shared = append(o.Shared, topic.New(messages))
	}
	if p.Log != nil && c.EventsTo == ToLog {
		o.Local = append(o.Local, &logTarget{log: p.Log, types: c.types(), source: "likes:" + store.Identity()})
	}
	return o, nil
}

// Err is nil while reactions get where they belong, or says in words that
// clients may read what they do not reach.
func (s *Service) Err() error {
	failing := s.projector.Failing()
	if len(failing) == 0 {
		return nil
	}
	return fmt.Errorf("likes are stored, and do not get on to %v at present; they will", failing)
}

// Forget takes a deleted user's name off all reactions.
func (s *Service) Forget(ctx context.Context, user string) error {
	if s == nil {
		return nil
	}
	return s.store.Forget(ctx, user)
}

// Close stops. What was not taken on is, at the next start.
func (s *Service) Close() error {
	if s == nil {
		return nil
	}
	s.cancel()
	s.running.Wait()
	return s.store.Close()
}

// Log is an event log and the engine that applies it.
type Log struct {
	Appender *eventlog.Appender
	Engine   *embedded.Engine
}
