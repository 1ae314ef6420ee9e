package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// ErrNewerSchema says that tables were migrated by a newer release than this
// one, which must leave them alone.
var ErrNewerSchema = errors.New("the tables belong to a newer release")

// MigrateAlone is Migrate by one process at a time, which exclusive sees to; nil
// where a database is one process' own. Tables that need nothing are not waited
// for: a process that hangs, or has gone with its machine, may have the lock for
// as long as the server does not miss it.
func MigrateAlone(ctx context.Context, db *sql.DB, dialect goose.Dialect, table string, migrations fs.FS,
	exclusive func(ctx context.Context, db *sql.DB, do func() error) error) error {
	if exclusive == nil {
		return Migrate(ctx, db, dialect, table, migrations)
	}
	driver := MySQL
	if dialect == goose.DialectPostgres {
		driver = PostgreSQL
	}
	s, err := ReadSchema(ctx, db, driver, table, migrations)
	if err != nil || s.Made && s.Current == s.Latest {
		return err
	}
	return exclusive(ctx, db, func() error {
		if err := noteNone(ctx, db, dialect, table, s); err != nil {
			return err
		}
		return Migrate(ctx, db, dialect, table, migrations)
	})
}

// noteNone notes that no migration has run, where a process was killed between
// making the table and that. Elsewhere than in MySQL the two are one.
func noteNone(ctx context.Context, db *sql.DB, dialect goose.Dialect, table string, s Schema) error {
	if dialect != goose.DialectMySQL || !s.Made || s.Current != 0 {
		return nil
	}
	_, err := db.ExecContext(ctx, "INSERT INTO "+table+" (version_id, is_applied) SELECT 0, TRUE FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM "+table+")")
	return err
}

// Migrate brings tables to the schema of this release, by migrations that are
// files such as 00001_catalogue.sql; table is where it is noted which of them
// have run. The error wraps ErrNewerSchema where that is the cause. Nothing is
// printed.
func Migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, table string, migrations fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, migrations, goose.WithTableName(table),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	current, latest, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > latest {
		return fmt.Errorf("%w: their schema is version %d, the latest known is %d", ErrNewerSchema, current, latest)
	}
	_, err = provider.Up(ctx)
	return err
}

// Preparer prepares statements until the first error. They are closed with their
// databases.
type Preparer struct {
	ctx context.Context
	err error
}

// NewPreparer makes a Preparer.
func NewPreparer(ctx context.Context) *Preparer { return &Preparer{ctx: ctx} }

// Prepare prepares a statement; it is nil after an error.
func (p *Preparer) Prepare(db *sql.DB, text string) *sql.Stmt {
	if p.err != nil {
		return nil
	}
	stmt, err := db.PrepareContext(p.ctx, text)
	if err != nil {
		p.err = fmt.Errorf("preparing %.40q: %w", text, err)
	}
	return stmt
}

// Err is the first error.
func (p *Preparer) Err() error { return p.err }
