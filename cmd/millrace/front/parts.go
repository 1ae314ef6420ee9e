package front

import (
	"context"
	"fmt"

	"millrace/event"
	"millrace/serve/api"
)

// parts are what the API of a front is wired to. What it has no part for is
// passed on before it is asked.
func (f *front) parts() api.Parts {
	p := api.Parts{
		Ingest: noIngest{}, Engine: elsewhere{f}, Views: f.reader, Catalog: users{f}, Index: f.catalogue,
		DeadLetters: noLetters{}, Redactor: noRedactor{}, Recommender: f.options.Recommender(f.catalogue),
		Savepoints: noSavepoints{}, ViewNames: f.options.Views, Types: func() *event.Types { return f.options.Types }, Version: f.options.Version, Logger: f.options.Logger,
	}
	if f.topic != nil {
		p.Ingest, p.DeadLetters, p.RepeatsUnknown = f.topic, f.letters, true
		p.Systems = append(p.Systems, api.System{Name: "kafka", Err: f.kafkaErr})
	}
	if f.shared != nil {
		p.Ingest, p.Redactor = sharedIngest{f.topic, f.shared}, sharedRedactor{f}
	}
	if f.likes != nil {
		p.Systems = append(p.Systems, api.System{Name: "likes", Err: f.likes.Err})
	}
	p.Systems = append(p.Systems, api.System{Name: "redis", Err: f.reader.Err})
	p.Systems = append(p.Systems, api.System{Name: "engine", Err: f.engineErr})
	return p
}

// kafkaErr is what is wrong with the topics that are written to.
func (f *front) kafkaErr() error {
	if err := f.topic.topic.Err(); err != nil || f.letters.topic == nil {
		return err
	}
	return f.letters.topic.Err()
}

// engineErr is what is wrong with the engine, as far as can be seen from here.
func (f *front) engineErr() error {
	if f.engine != nil {
		if err := f.engine.Err(); err != nil {
			return err
		}
	}
	if why := f.reader.Stale(); why != "" {
		return fmt.Errorf("answers may be old: %s", why)
	}
	return nil
}

// elsewhere is the engine on the other side of Redis.
type elsewhere struct{ front *front }

// errElsewhere is the error of what only an engine can do.
var errElsewhere = fmt.Errorf("%w: this server has no engine of its own", api.ErrUnavailable)

// Wait returns once a batch that was sent to Kafka is in the views.
func (e elsewhere) Wait(ctx context.Context, number uint64) error {
	if e.front.topic == nil {
		return errElsewhere
	}
	return e.front.wait(ctx, number)
}

// WaitCatalog is for fronts that write the catalogue.
func (e elsewhere) WaitCatalog(ctx context.Context, block uint64) error {
	if e.front.shared == nil {
		return errElsewhere
	}
	return e.front.shared.waitBlock(ctx, block)
}

// Duplicates are not known here.
func (e elsewhere) Duplicates(uint64, int, int) int { return 0 }

// Position is not known here: the engine is asked.
func (e elsewhere) Position(string) (uint64, bool) { return 0, false }

// Stats are what the engine has told.
func (e elsewhere) Stats() api.EngineStats {
	r := e.front.reader
	s := r.State()
	return api.EngineStats{
		Block: s.Block, StreamTime: s.StreamTime, Watermark: s.Watermark, Keys: map[string]int{},
		Events: r.Figure(figureEvents), Duplicates: r.Figure(figureDuplicates), Late: r.Figure(figureLate),
	}
}

// Checkpoints are the engine's: it is asked.
func (e elsewhere) Checkpoints() api.Checkpoints { return api.Checkpoints{} }

// Err is nil: health names the engine among the systems.
func (e elsewhere) Err() error { return nil }

// CheckpointErr is nil: see Err.
func (e elsewhere) CheckpointErr() error { return nil }

// CatalogErr is why the catalogue is not kept up to date here.
func (e elsewhere) CatalogErr() error {
	if err := e.front.catalogue.Err(); err != nil {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return nil
}

// users are the users of whom perhaps nothing is known but that there are.
type users struct{ front *front }

// User is a user that something is known of.
func (u users) User(ctx context.Context, id string) (*event.User, error) {
	return u.front.catalogue.Known(ctx, id)
}

// noIngest stands where events are passed on.
type noIngest struct{}

// Submit is not for fronts.
func (noIngest) Submit(api.Batch) (api.Ticket, error) { return nil, errElsewhere }

// Err is nil: health names the engine among the systems.
func (noIngest) Err() error { return nil }

// noLetters stands where dead letters are the engine's.
type noLetters struct{}

// Append is not for fronts.
func (noLetters) Append([]api.DeadLetter) error { return errElsewhere }

// List is not for fronts.
func (noLetters) List(string, int) ([]api.DeadLetter, string, error) { return nil, "", errElsewhere }

// Count is none.
func (noLetters) Count() int { return 0 }

// Purge is not for fronts.
func (noLetters) Purge(string) error { return errElsewhere }

// noRedactor stands where redaction is the engine's.
type noRedactor struct{}

// Redact is not for fronts.
func (noRedactor) Redact(context.Context, string, uint64) error { return errElsewhere }

// noSavepoints stands where savepoints are the engine's.
type noSavepoints struct{}

// Create is not for fronts, as all of these.
func (noSavepoints) Create(context.Context, string) (api.Savepoint, error) {
	return api.Savepoint{}, errElsewhere
}

// List is not for fronts.
func (noSavepoints) List(context.Context) ([]api.Savepoint, error) { return nil, errElsewhere }

// Get is not for fronts.
func (noSavepoints) Get(context.Context, string) (api.Savepoint, error) {
	return api.Savepoint{}, errElsewhere
}

// Dispose is not for fronts.
func (noSavepoints) Dispose(context.Context, string) error { return errElsewhere }

// Restore is not for fronts.
func (noSavepoints) Restore(context.Context, string, bool) (api.Restore, error) {
	return api.Restore{}, errElsewhere
}

// Restores are none.
func (noSavepoints) Restores() []api.Restore { return nil }

// GetRestore is not for fronts.
func (noSavepoints) GetRestore(string) (api.Restore, error) { return api.Restore{}, errElsewhere }
