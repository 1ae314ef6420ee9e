package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/recommend"
	"millrace/recommend/rank"
	"millrace/serve/api"
	"millrace/view"
)

// The API names what it needs from the rest in its own words; here the rest
// meets them.

// apiParts are the parts that the API of a node is wired to.
func (n *node) apiParts(ranker *rank.Ranker) api.Parts {
	return api.Parts{
		Ingest: ingest{n.appender}, Engine: apiEngine{n.engine}, Views: n.views, Catalog: n.catalog, Index: n.engine.Index(),
		DeadLetters: deadLetters{n.log}, Redactor: n, Recommender: recommender{ranker},
		ViewNames: recommend.Topology(n.engine.Types(), recommend.Defaults()).Views(),
		Types:     n.engine.Types, Version: version(), Logger: n.logger,
	}
}

// unavailable marks an error as one that makes the service unavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

type ingest struct{ appender *eventlog.Appender }

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
		return nil, unavailable(err)
	}
	return ticket{t}, nil
}

type ticket struct{ *eventlog.Ticket }

// Err is why the batch is not durable, an api.ErrUnavailable.
func (t ticket) Err() error { return unavailable(t.Ticket.Err()) }

type apiEngine struct{ *embedded.Engine }

// Err is why the engine has stopped, an api.ErrUnavailable.
func (e apiEngine) Err() error { return unavailable(e.Engine.Err()) }

// Wait returns once a block is visible in the views.
func (e apiEngine) Wait(ctx context.Context, block uint64) error {
	return unavailable(e.Engine.Wait(ctx, block))
}

// WaitCatalog returns once a block's changes are in the SQL catalogue.
func (e apiEngine) WaitCatalog(ctx context.Context, block uint64) error {
	return unavailable(e.Engine.WaitCatalog(ctx, block))
}

// Stats are the engine's figures in the API's words.
func (e apiEngine) Stats() api.EngineStats {
	s := e.Engine.Stats()
	return api.EngineStats{
		Block: s.Block, Events: s.Events, StreamTime: s.StreamTime, Watermark: s.Watermark,
		Shards: s.Shards, Queued: s.Queued, Keys: s.Keys,
	}
}

// Checkpoints are the engine's latest ones in the API's words.
func (e apiEngine) Checkpoints() []api.Checkpoint {
	var list []api.Checkpoint
	for _, c := range e.Engine.Checkpoints() {
		list = append(list, api.Checkpoint{
			Block: c.Block, Started: c.Started, Duration: c.Duration, Stall: c.Stall, Bytes: c.Bytes, Keys: c.Keys,
		})
	}
	return list
}

type deadLetters struct{ log *eventlog.Log }

// Append stores refused inputs in the log.
func (d deadLetters) Append(list []api.DeadLetter) error {
	letters := make([]eventlog.DeadLetter, len(list))
	for i, l := range list {
		letters[i] = eventlog.DeadLetter{Time: l.Time, Raw: l.Raw, Error: l.Error}
	}
	return unavailable(d.log.AppendDeadLetters(letters))
}

// List pages through them; a cursor that was not given out is an
// api.ErrCursor.
func (d deadLetters) List(cursor string, n int) ([]api.DeadLetter, string, error) {
	list, next, err := d.log.DeadLetters(cursor, n)
	if errors.Is(err, eventlog.ErrInvalid) {
		return nil, "", fmt.Errorf("%w: %w", api.ErrCursor, err)
	}
	if err != nil {
		return nil, "", unavailable(err)
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
func (d deadLetters) Purge(user string) error { return unavailable(d.log.PurgeDeadLetters(user)) }

type recommender struct{ ranker *rank.Ranker }

// Recommend ranks as of the snapshot, and rounds what people will read.
func (r recommender) Recommend(s view.Snapshot, q api.Request) ([]api.Recommendation, error) {
	list, err := r.ranker.Recommend(s, s.StreamTime(), rank.Request{
		User: q.User, Session: q.Session, N: q.N, Offset: q.Offset, Category: q.Category,
		ExcludeSeen: q.ExcludeSeen, Recipe: q.Recipe, Explain: q.Explain,
	})
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

// shutdownTimeout is how long requests that are under way may take when the
// server is stopped.
const shutdownTimeout = 10 * time.Second
