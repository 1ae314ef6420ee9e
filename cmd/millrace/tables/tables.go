// Package tables wires the import of a shop's own tables to a node.
package tables

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/catalog/opener"
	"millrace/catalog/sqlstore"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
	"millrace/source/table"
)

// Node is what tables are imported into.
type Node struct {
	Log      *eventlog.Log
	Appender *eventlog.Appender
	Engine   *embedded.Engine
	Catalog  *sqlstore.Store
	// Redact removes a deleted user from what is stored.
	Redact func(ctx context.Context, user string, block uint64) error
	Logger *slog.Logger
}

// Import is one that runs.
type Import struct {
	importer *table.Importer
	cancel   context.CancelFunc
	running  sync.WaitGroup
	close    func() error
	explain  func(error) error
}

// Start begins to import the tables of a configuration; nil if there are none.
func Start(c table.Config, n Node) (*Import, error) {
	if !c.Enabled() {
		return nil, nil
	}
	db, dialect, err := opener.Connect(c.Config)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	i := &Import{close: db.Close, explain: func(err error) error { return opener.Explain(err, "import", c.Config) }}
	i.importer = table.New(table.Options{
		Config: c, DB: db, Placeholder: dialect.Placeholder, Log: &nodeLog{n}, Catalogue: known{n.Engine.Index(), n.Catalog}, Logger: n.Logger,
		Explain: i.explain,
	})
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	i.running.Go(func() { i.importer.Run(ctx) })
	return i, nil
}

// errImport is what clients are told: the database's words name its address.
var errImport = errors.New("the tables of section import can not be imported at present; the server's log says why")

// Err is nil while tables are imported.
func (i *Import) Err() error {
	if i.importer.Err() != nil {
		return errImport
	}
	return nil
}

// Close ends the import. What it has not read is read at the next start.
func (i *Import) Close() error {
	if i == nil {
		return nil
	}
	i.cancel()
	i.running.Wait()
	return i.close()
}

// nodeLog is a node's log as an importer knows it.
type nodeLog struct{ Node }

// blockBytes is about how large a block of changes becomes: a page of the
// largest items would be larger than a block may be.
const blockBytes = 1 << 20

// Append implements table.Log. How far the source has got is noted with the
// last of the changes.
func (l *nodeLog) Append(ctx context.Context, changes []event.Change, name string, next uint64) error {
	var batch eventlog.Batch
	var deleted []string
	for i := range changes {
		if err := catalog.Check(changes[i]); err != nil {
			return err
		}
		batch.Kind, batch.Count = eventlog.Catalogue, batch.Count+1
		batch.Payload = event.AppendChange(batch.Payload, &changes[i])
		if changes[i].Kind == event.DeleteUser {
			deleted = append(deleted, changes[i].User.ID)
		}
		if len(batch.Payload) < blockBytes || i == len(changes)-1 {
			continue
		}
		if err := l.submit(ctx, batch, deleted); err != nil {
			return err
		}
		batch, deleted = eventlog.Batch{}, nil
	}
	if batch.Count == 0 {
		batch.Kind = eventlog.Tick
	}
	batch.Positions = []eventlog.Position{{Source: name, Next: next}}
	return l.submit(ctx, batch, deleted)
}

// submit returns once a batch is applied, and the users that it deletes are
// redacted.
func (l *nodeLog) submit(ctx context.Context, batch eventlog.Batch, deleted []string) error {
	ticket, err := eventlog.SubmitWhenRoom(ctx, l.Appender, batch)
	if err != nil {
		return err
	}
	if err := ticket.Wait(ctx); err != nil {
		return err
	}
	if err := l.Engine.Wait(ctx, ticket.Block()); err != nil {
		return err
	}
	for _, user := range deleted {
		if err := l.Redact(ctx, user, ticket.Block()); err != nil { // a restart does it
			l.Logger.Error("a user who was deleted from a table is not redacted from the stored events yet", "block", ticket.Block(), "error", err)
		}
	}
	return nil
}

// Position implements table.Log.
func (l *nodeLog) Position(name string) (uint64, bool) { return l.Engine.Position(name) }

// Reject implements table.Log.
func (l *nodeLog) Reject(_ context.Context, bad *source.Bad) error {
	return l.Log.AppendDeadLetters([]eventlog.DeadLetter{{Time: event.FromGo(time.Now()), Raw: bad.Raw, Error: bad.Err.Error()}})
}

// known is the catalogue in memory and, for users of whom nothing is known but
// that they exist, in SQL.
type known struct {
	index *catalog.Index
	store *sqlstore.Store
}

// Item implements table.Catalogue, as do the methods below.
func (k known) Item(id string) *event.Item { return k.index.Item(id) }

// User is a user that something is known of.
func (k known) User(id string) *event.User { return k.index.User(id) }

// Items are all items.
func (k known) Items() iter.Seq[*event.Item] { return k.index.Items() }

// Users are those that something is known of.
func (k known) Users() iter.Seq[*event.User] { return k.index.Users() }

// Exists asks SQL.
func (k known) Exists(ctx context.Context, id string) (bool, error) {
	_, err := k.store.User(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
