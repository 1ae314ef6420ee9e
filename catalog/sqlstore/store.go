// Package sqlstore is the catalogue over database/sql: the SQL and the fold
// that all databases share. A database adds a Dialect and its migrations; see
// package sqlite. Nobody but those packages needs to import it.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/catalog/database"
	"millrace/event"
)

// MigrationsTable is where goose notes which migrations have run.
const MigrationsTable = "catalog_migrations"

// Store is a catalog.Store in a SQL database.
type Store struct {
	writer, reader *sql.DB
	dialect        Dialect
	writing        sync.Mutex // held by whoever uses writer
	items          table[event.Item]
	users          table[event.User]
	readProgress   *sql.Stmt // on reader
	lockProgress   *sql.Stmt // on writer, like the next ones
	setApplied     *sql.Stmt
	setPruned      *sql.Stmt
	setOwner       *sql.Stmt
	setEpoch       *sql.Stmt

	owner  string    // who may write, "" for anybody; guarded by writing
	pruned time.Time // when old graves were last removed; guarded by writing
}

var _ catalog.Store = (*Store)(nil)

// Open migrates the database, prepares the statements and gives the Store,
// which owns both handles from then on; after an error they are still the
// caller's. writer is used by one call at a time, reader by many; they may be
// the same. The error wraps database.ErrNewerSchema where that is the cause.
// Nothing is printed.
func Open(ctx context.Context, writer, reader *sql.DB, d Dialect) (*Store, error) {
	if err := database.MigrateAlone(ctx, writer, d.Goose, MigrationsTable, d.Migrations, d.Exclusive); err != nil {
		return nil, fmt.Errorf("migrating the catalogue: %w", err)
	}
	s := &Store{
		writer: writer, reader: reader, dialect: d,
		items: table[event.Item]{layout: itemLayout},
		users: table[event.User]{layout: userLayout},
	}
	p := database.NewPreparer(ctx)
	const selects, sets = "SELECT block, owner, epoch, pruned FROM applied", "UPDATE applied SET "
	s.readProgress = p.Prepare(reader, selects)
	s.lockProgress = p.Prepare(writer, strings.TrimSpace(selects+" "+d.Lock))
	s.setApplied = p.Prepare(writer, sets+"block = "+d.Placeholder(1))
	s.setPruned = p.Prepare(writer, sets+"pruned = "+d.Placeholder(1)+" WHERE pruned < "+d.Placeholder(2))
	s.setOwner = p.Prepare(writer, sets+"owner = "+d.Placeholder(1))
	s.setEpoch = p.Prepare(writer, sets+"epoch = epoch + 1, pruned = "+d.Placeholder(1))
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	if err := s.items.prepare(ctx, writer, reader, &d); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	if err := s.users.prepare(ctx, writer, reader, &d); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	return s, nil
}

// Apply implements catalog.Store.
func (s *Store) Apply(ctx context.Context, block uint64, changes []event.Change) error {
	items, users, err := fold(changes)
	if err == nil {
		err = s.transact(ctx, func(ctx context.Context, tx *transaction) error {
			at, err := s.lock(ctx, tx)
			if err != nil || block <= at.block {
				return err
			}
			return s.write(ctx, tx, items, users, block)
		})
	}
	if err != nil {
		return fmt.Errorf("applying block %d to the catalogue: %w", block, err)
	}
	return nil
}

// write writes the net changes of a block, and its number.
func (s *Store) write(ctx context.Context, tx *transaction, items *netting[event.Item], users *netting[event.User], block uint64) error {
	if err := s.items.write(ctx, tx, items, block); err != nil {
		return err
	}
	if err := s.users.write(ctx, tx, users, block); err != nil {
		return err
	}
	if err := s.prune(ctx, tx); err != nil {
		return err
	}
	return s.set(ctx, tx, s.setApplied, int64(block))
}

// Rebuild implements catalog.Store.
func (s *Store) Rebuild(ctx context.Context, block uint64, items iter.Seq[*event.Item], users iter.Seq[*event.User]) error {
	err := s.once(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := s.lock(ctx, tx); err != nil {
			return err
		}
		return s.refill(ctx, tx, block, items, users)
	})
	if err == nil {
		err = s.Sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("rebuilding the catalogue at block %d: %w", block, err)
	}
	return nil
}

// refill replaces everything; followers begin anew.
func (s *Store) refill(ctx context.Context, tx *transaction, block uint64, items iter.Seq[*event.Item], users iter.Seq[*event.User]) error {
	checkItem := func(item *event.Item) error {
		return catalog.Check(event.Change{Kind: event.PutItem, Item: item})
	}
	checkUser := func(user *event.User) error {
		return catalog.Check(event.Change{Kind: event.PutUser, User: user})
	}
	if err := s.items.refill(ctx, tx, items, checkItem, block); err != nil {
		return err
	}
	if err := s.users.refill(ctx, tx, users, checkUser, block); err != nil {
		return err
	}
	if err := s.set(ctx, tx, s.setEpoch, int64(block)); err != nil {
		return err
	}
	return s.set(ctx, tx, s.setApplied, int64(block))
}

// Applied implements catalog.Store.
func (s *Store) Applied(ctx context.Context) (uint64, error) {
	at, err := s.progress(ctx)
	return at.block, err
}

// Sync implements catalog.Store.
func (s *Store) Sync(ctx context.Context) error {
	if s.dialect.Sync == nil {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.dialect.Sync(ctx, s.writer); err != nil {
		return fmt.Errorf("syncing the catalogue: %w", err)
	}
	return nil
}

// Erase returns when nothing can be read any more, in the files of a database
// that is one of this process's, of what was deleted before.
func (s *Store) Erase(ctx context.Context) error {
	if s.dialect.Erase == nil {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.dialect.Erase(ctx, s.writer); err != nil {
		return fmt.Errorf("erasing what was deleted from the catalogue: %w", err)
	}
	return nil
}

// Item implements catalog.Store.
func (s *Store) Item(ctx context.Context, id string) (*event.Item, error) {
	return s.items.one(ctx, id)
}

// User implements catalog.Store.
func (s *Store) User(ctx context.Context, id string) (*event.User, error) {
	return s.users.one(ctx, id)
}

// Items implements catalog.Store.
func (s *Store) Items(ctx context.Context, after string, n int) ([]*event.Item, string, error) {
	return s.items.list(ctx, after, n)
}

// Users implements catalog.Store.
func (s *Store) Users(ctx context.Context, after string, n int) ([]*event.User, string, error) {
	return s.users.list(ctx, after, n)
}

// EachItem implements catalog.Store.
func (s *Store) EachItem(ctx context.Context, fn func(*event.Item) error) error {
	return s.items.each(ctx, fn)
}

// EachUser implements catalog.Store.
func (s *Store) EachUser(ctx context.Context, fn func(*event.User) error) error {
	return s.users.each(ctx, fn)
}

// Counts implements catalog.Store.
func (s *Store) Counts(ctx context.Context) (items, users int, err error) {
	if items, err = s.items.size(ctx); err != nil {
		return 0, 0, err
	}
	if users, err = s.users.size(ctx); err != nil {
		return 0, 0, err
	}
	return items, users, nil
}

// Close implements catalog.Store.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	if s.reader != s.writer {
		err = s.reader.Close()
	}
	if err = errors.Join(err, s.writer.Close()); err != nil {
		return fmt.Errorf("closing the catalogue: %w", err)
	}
	return nil
}
