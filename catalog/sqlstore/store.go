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
	"sync"

	"github.com/pressly/goose/v3"

	"millrace/catalog"
	"millrace/event"
)

// ErrNewerSchema says that the database was migrated by a newer release than
// this one, which must leave it alone.
var ErrNewerSchema = errors.New("the catalogue's database belongs to a newer release")

// migrationsTable is where goose notes which migrations have run.
const migrationsTable = "catalog_migrations"

// Store is a catalog.Store in a SQL database.
type Store struct {
	writer, reader *sql.DB
	dialect        Dialect
	writing        sync.Mutex // held by whoever uses writer
	items          table[event.Item]
	users          table[event.User]
	applied        string    // selects the block
	readApplied    *sql.Stmt // on reader
	setApplied     *sql.Stmt // on writer
}

var _ catalog.Store = (*Store)(nil)

// Open migrates the database, prepares the statements and gives the Store,
// which owns both handles from then on; after an error they are still the
// caller's. writer is used by one call at a time, reader by many; they may be
// the same. The error wraps ErrNewerSchema where that is the cause. Nothing is
// printed.
func Open(ctx context.Context, writer, reader *sql.DB, d Dialect) (*Store, error) {
	if err := migrate(ctx, writer, &d); err != nil {
		return nil, fmt.Errorf("migrating the catalogue: %w", err)
	}
	s := &Store{
		writer: writer, reader: reader, dialect: d,
		items:   table[event.Item]{layout: itemLayout},
		users:   table[event.User]{layout: userLayout},
		applied: "SELECT block FROM applied",
	}
	p := preparer{ctx: ctx}
	s.readApplied = p.prepare(reader, s.applied)
	s.setApplied = p.prepare(writer, "UPDATE applied SET block = "+d.Placeholder(1))
	if p.err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", p.err)
	}
	if err := s.items.prepare(ctx, writer, reader, &d); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	if err := s.users.prepare(ctx, writer, reader, &d); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	return s, nil
}

func migrate(ctx context.Context, db *sql.DB, d *Dialect) error {
	provider, err := goose.NewProvider(d.Goose, db, d.Migrations, goose.WithTableName(migrationsTable),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	current, latest, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > latest {
		return fmt.Errorf("%w: its schema is version %d, the latest known is %d", ErrNewerSchema, current, latest)
	}
	_, err = provider.Up(ctx)
	return err
}

// Apply implements catalog.Store.
func (s *Store) Apply(ctx context.Context, block uint64, changes []event.Change) error {
	items, users, err := fold(changes)
	if err == nil {
		err = s.transact(ctx, func(tx *sql.Tx) error {
			applied, err := scanBlock(tx.QueryRowContext(ctx, s.applied))
			if err != nil || block <= applied {
				return err
			}
			if err := s.items.write(ctx, tx, items); err != nil {
				return err
			}
			if err := s.users.write(ctx, tx, users); err != nil {
				return err
			}
			return s.advance(ctx, tx, block)
		})
	}
	if err != nil {
		return fmt.Errorf("applying block %d to the catalogue: %w", block, err)
	}
	return nil
}

// Rebuild implements catalog.Store.
func (s *Store) Rebuild(ctx context.Context, block uint64, items iter.Seq[*event.Item], users iter.Seq[*event.User]) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		checkItem := func(item *event.Item) error {
			return catalog.Check(event.Change{Kind: event.PutItem, Item: item})
		}
		checkUser := func(user *event.User) error {
			return catalog.Check(event.Change{Kind: event.PutUser, User: user})
		}
		if err := s.items.refill(ctx, tx, items, checkItem); err != nil {
			return err
		}
		if err := s.users.refill(ctx, tx, users, checkUser); err != nil {
			return err
		}
		return s.advance(ctx, tx, block)
	})
	if err == nil {
		err = s.Sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("rebuilding the catalogue at block %d: %w", block, err)
	}
	return nil
}

// transact runs fn in a transaction of the writer: committed when fn gives
// nil, rolled back otherwise.
func (s *Store) transact(ctx context.Context, fn func(*sql.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	if err := fn(tx); err != nil {
		if done := ctx.Err(); done != nil && !errors.Is(err, done) {
			err = fmt.Errorf("%w: %w", done, err) // rather than only "transaction has been rolled back"
		}
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("rolling back: %w", undo))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// advance notes the last block that is in the rows. SQL's integers are
// signed; the bits are what counts.
func (s *Store) advance(ctx context.Context, tx *sql.Tx, block uint64) error {
	row := func(dst []any, _ int) []any { return append(dst, int64(block)) }
	if err := execute(ctx, tx, s.setApplied, 1, 0, 1, row); err != nil {
		return fmt.Errorf("noting the block: %w", err)
	}
	return nil
}

func scanBlock(row *sql.Row) (uint64, error) {
	var block int64
	if err := row.Scan(&block); err != nil {
		return 0, fmt.Errorf("reading the last block of the catalogue: %w", err)
	}
	return uint64(block), nil
}

// Applied implements catalog.Store.
func (s *Store) Applied(ctx context.Context) (uint64, error) {
	return scanBlock(s.readApplied.QueryRowContext(ctx))
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
