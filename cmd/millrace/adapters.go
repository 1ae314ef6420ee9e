package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"millrace/catalog"
	"millrace/catalog/sqlstore"
	"millrace/cmd/millrace/checkpoints"
	"millrace/cmd/millrace/collect"
	"millrace/cmd/millrace/export"
	"millrace/cmd/millrace/savepoint"
	"millrace/cmd/millrace/worker"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/recommend"
	"millrace/recommend/rank"
	"millrace/serve"
	"millrace/serve/api"
	"millrace/source/kafka"
	"millrace/view"
)

// The API names what it needs from the rest in its own words; here the rest
// meets them.

// apiParts are the parts that the API of a node is wired to.
func (n *node) apiParts(ranker *rank.Ranker) api.Parts {
	p := api.Parts{
		Ingest: ingest{n.appender}, Engine: apiEngine{n.engine}, Views: n.views, Catalog: apiCatalog{n.catalog}, Index: n.engine.Index(),
		DeadLetters: deadLetters{n.log}, Redactor: redactor{n}, Recommender: recommender{ranker},
		Savepoints: savepoint.API{Service: n.savepoints},
		ViewNames:  recommend.Topology(n.engine.Types(), n.operators).Views(),
		Types:      n.engine.Types, Version: version(), Logger: n.logger,
	}
	if n.mirror != nil {
		p.Systems = append(p.Systems, n.mirror.System())
	}
	return p
}

// outage is an error that makes the service unavailable, in words that clients
// may read: without the paths of this machine. The part that failed has logged
// the error itself.
type outage struct {
	words string
	err   error
}

// Error is what clients are told.
func (o *outage) Error() string { return api.ErrUnavailable.Error() + ": " + o.words }

// Unwrap gives what is wrong as well.
func (o *outage) Unwrap() []error { return []error{api.ErrUnavailable, o.err} }

// unavailable marks an error as one that makes the service unavailable. Where
// it is not known otherwise, it is doing that does not work.
func unavailable(doing string, err error) error {
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, eventlog.ErrClosed) || errors.Is(err, embedded.ErrClosed):
		doing = "the server is stopping"
	case errors.Is(err, embedded.ErrFailed):
		doing = "the engine has stopped because of an error"
	case errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrCorrupt):
		doing = "the event log accepts nothing: " + eventlog.Cause(err)
	case errors.As(err, new(syscall.Errno)):
		doing += " does not work at present: " + eventlog.Cause(err)
	default:
		doing += " does not work at present"
	}
	return &outage{doing, err}
}

// What may not work, in the words of unavailable.
const (
	eventLog           = "the event log"
	writingCatalogue   = "writing to the catalogue's database"
	storingCheckpoints = "storing checkpoints"
)

type ingest struct{ appender *eventlog.Appender }

// Err is nil while the log takes batches.
func (i ingest) Err() error { return unavailable(eventLog, i.appender.Err()) }

// Submit hands a batch to the log; a full queue is an api.ErrOverloaded.
func (i ingest) Submit(b api.Batch) (api.Ticket, error) {
	batch := eventlog.Batch{Kind: eventlog.Events, Payload: b.Payload, Count: b.Count}
	if b.Kind == api.Changes {
		batch.Kind = eventlog.Catalogue
	}
	if b.Source != "" {
		batch.Positions = []eventlog.Position{{Source: b.Source, Next: b.Next}}
	}
	t, err := i.appender.Submit(batch)
	if errors.Is(err, eventlog.ErrOverloaded) {
		return nil, fmt.Errorf("%w: %w", api.ErrOverloaded, err)
	}
	if err != nil {
		return nil, unavailable(eventLog, err)
	}
	return ticket{t}, nil
}

type ticket struct{ *eventlog.Ticket }

// Err is why the batch is not durable, an api.ErrUnavailable.
func (t ticket) Err() error { return unavailable(eventLog, t.Ticket.Err()) }

// apiEngine is the engine; its Err is told where it is safe to.
type apiEngine struct{ *embedded.Engine }

// Wait returns once a block is visible in the views.
func (e apiEngine) Wait(ctx context.Context, block uint64) error {
	return unavailable("the engine", e.Engine.Wait(ctx, block))
}

// WaitCatalog returns once a block's changes are in the SQL catalogue.
func (e apiEngine) WaitCatalog(ctx context.Context, block uint64) error {
	return unavailable(writingCatalogue, e.Engine.WaitCatalog(ctx, block))
}

// CheckpointErr is why checkpoints are not stored, an api.ErrUnavailable.
func (e apiEngine) CheckpointErr() error {
	return checkpointError(e.Engine.CheckpointErr())
}

// checkpointError is why checkpoints are not stored, in words.
func checkpointError(err error) error {
	if errors.Is(err, checkpoint.ErrTimeout) {
		return &outage{"storing checkpoints takes longer than checkpoint_timeout", err}
	}
	return unavailable(storingCheckpoints, err)
}

// CatalogErr is why changes do not reach SQL, an api.ErrUnavailable.
func (e apiEngine) CatalogErr() error { return unavailable(writingCatalogue, e.Engine.CatalogErr()) }

// Stats are the engine's figures in the API's words.
func (e apiEngine) Stats() api.EngineStats {
	s := e.Engine.Stats()
	return api.EngineStats{
		Block: s.Block, Events: s.Events, Duplicates: s.Duplicates, Late: s.Late, StreamTime: s.StreamTime, Watermark: s.Watermark,
		Shards: s.Shards, Queued: s.Queued, Keys: s.Keys, Failures: s.Failures, Skipped: s.Skipped,
	}
}

// Checkpoints is what the engine knows of its own in the API's words.
func (e apiEngine) Checkpoints() api.Checkpoints {
	s := e.CheckpointStatus()
	return checkpoints.Words(&s, func(err error) string {
		return strings.TrimPrefix(checkpointError(err).Error(), api.ErrUnavailable.Error()+": ")
	})
}

type apiCatalog struct{ store *sqlstore.Store }

// User is a user of the SQL catalogue.
func (c apiCatalog) User(ctx context.Context, id string) (*event.User, error) {
	user, err := c.store.User(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, err
	}
	return user, unavailable("reading the catalogue's database", err)
}

type redactor struct{ node *node }

// Redact logs why a redaction did not succeed: clients are not told.
func (r redactor) Redact(ctx context.Context, user string, block uint64) error {
	err := r.node.Redact(ctx, user, block)
	if err != nil {
		r.node.logger.Error("a deleted user's events are not redacted yet", "block", block, "error", err)
	}
	return unavailable("redaction", err)
}

type deadLetters struct{ log *eventlog.Log }

// Append stores refused inputs in the log.
func (d deadLetters) Append(list []api.DeadLetter) error {
	letters := make([]eventlog.DeadLetter, len(list))
	for i, l := range list {
		letters[i] = eventlog.DeadLetter{Time: l.Time, Raw: l.Raw, Error: l.Error}
	}
	return unavailable(eventLog, d.log.AppendDeadLetters(letters))
}

// List pages through them; a cursor that was not given out is an
// api.ErrCursor.
func (d deadLetters) List(cursor string, n int) ([]api.DeadLetter, string, error) {
	list, next, err := d.log.DeadLetters(cursor, n)
	if errors.Is(err, eventlog.ErrInvalid) {
		return nil, "", fmt.Errorf("%w: %w", api.ErrCursor, err)
	}
	if err != nil {
		return nil, "", unavailable(eventLog, err)
	}
	letters := make([]api.DeadLetter, len(list))
	for i, l := range list {
		letters[i] = api.DeadLetter{Time: l.Time, Raw: l.Raw, Error: l.Error}
	}
	return letters, next, nil
}

// Count is how many dead letters are kept.
func (d deadLetters) Count() int { return d.log.DeadLetterCount() }

// Purge drops the dead letters of a user.
func (d deadLetters) Purge(user string) error {
	return unavailable(eventLog, d.log.PurgeDeadLetters(user))
}

type recommender struct{ ranker *rank.Ranker }

// Recommend ranks as of the snapshot, and rounds what people will read.
func (r recommender) Recommend(s view.Snapshot, q api.Request) ([]api.Recommendation, error) {
	request := rank.Request{
		User: q.User, Session: q.Session, N: q.N, Offset: q.Offset, Category: q.Category,
		ExcludeSeen: q.ExcludeSeen, Recipe: q.Recipe, Explain: q.Explain,
	}
	rank.Prefetch(s, request) // with the stream time
	list, err := r.ranker.Recommend(s, s.StreamTime(), request)
	if errors.Is(err, rank.ErrUnknownRecipe) {
		return nil, fmt.Errorf("%w: %w", api.ErrRecipe, err)
	}
	out := make([]api.Recommendation, len(list))
	for i, l := range list {
		l.Score = rounded(l.Score)
		for source, part := range l.Explain {
			l.Explain[source] = rounded(part)
		}
		out[i] = api.Recommendation(l)
	}
	return out, err
}

// rounded is a score as people want to read it, with six decimals.
func rounded(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// collected is where the lines of log files go.
func (n *node) collected() *collect.Local {
	return &collect.Local{Log: n.log, Appender: n.appender, Stored: n.engine.Position, Logger: n.logger}
}

// collect begins to collect log files, if there are any to be, and says how that
// goes in health and metrics.
func (n *node) collect(ctx context.Context, c collect.Config, o *serve.Options) (*collect.Background, error) {
	b, err := collect.Start(ctx, c, n.engine.Types(), n.collected())
	if err != nil || b == nil {
		return nil, err
	}
	o.Parts.Systems = append(o.Parts.Systems, api.System{Name: "collect", Err: b.Err})
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return b, o.Registry.Register(b)
}

// newCollect is the command millrace collect.
func newCollect() *cobra.Command {
	return collect.NewCommand(collect.Wiring{
		Logger: newLogger,
		Load: func(path string) (s collect.Settings, err error) {
			c, err := loadConfig(path)
			if err == nil {
				s.Collect = c.Collect
				s.Types, err = event.NewTypes(c.EventTypes)
			}
			return s, err
		},
		Open: func(ctx context.Context, path, data string, logger *slog.Logger) (*collect.Local, func() error, error) {
			c, err := loadConfig(path)
			if data != "" {
				c.Data = data
			}
			if err = errors.Join(err, checkData(c.Data)); err != nil {
				return nil, nil, err
			}
			n, err := openNode(ctx, c, logger)
			if errors.Is(err, eventlog.ErrInUse) {
				err = fmt.Errorf("%w; to collect into the running server use --to", err)
			}
			if err != nil {
				return nil, nil, err
			}
			return n.collected(), n.close, nil
		},
	})
}

// shutdownTimeout is how long requests that are under way may take when the
// server is stopped.
const shutdownTimeout = 10 * time.Second

// workerWiring is what jobs on Flink are made of.
func workerWiring() worker.Wiring {
	return worker.Wiring{Build: buildProgram, Settings: func(name string, file []byte, environment map[string]string) (worker.Settings, error) {
		c, err := readConfig(name, file, environment)
		if err != nil {
			return worker.Settings{}, err
		}
		record, err := programConfig(c)
		return worker.Settings{Kafka: c.Kafka, Publish: c.Publish, Catalog: c.Catalog, Redis: c.Redis, Record: record}, err
	}}
}

// openNamed opens the log of a data directory, which is given a name if it has none.
func openNamed(data string) (*eventlog.Log, error) {
	log, err := openStored(data) // which makes none
	if err != nil {
		return nil, err
	}
	if err := log.Close(); err != nil {
		return nil, err
	}
	return openLog(data, eventlog.Options{})
}

// exporting is what the command export is wired to.
func exporting() export.Wiring {
	return export.Wiring{Open: openStored, OpenNamed: openNamed, Logger: newLogger, Config: func(file string) (kafka.Config, string, error) {
		c, err := loadConfig(file)
		return c.Kafka, c.Data, err
	}}
}
