// Package postgres is the catalogue in PostgreSQL.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"millrace/catalog/database"
	"millrace/catalog/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

// Open opens the catalogue in the database that the settings name, and
// migrates it to the schema of this release. The error is a
// database.Diagnosis where it is known what to do, and wraps
// database.ErrNewerSchema where a newer release has been at it.
func Open(ctx context.Context, c database.Config) (*sqlstore.Store, error) {
	store, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue in PostgreSQL: %w", Explain(err, "catalog", c))
	}
	return store, nil
}

func open(ctx context.Context, c database.Config) (*sqlstore.Store, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := Connect(c)
	if err != nil {
		return nil, err
	}
	d := Dialect(c.Timeout)
	d.Migrations = migrations
	d.Explain = func(err error) error { return Explain(err, "catalog", c) }
	store, err := sqlstore.Open(ctx, db, db, d)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return store, nil
}

// ReadSchema reads how far the catalogue's tables are migrated.
func ReadSchema(ctx context.Context, db *sql.DB) (database.Schema, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return database.Schema{}, err
	}
	return database.ReadSchema(ctx, db, database.PostgreSQL, sqlstore.MigrationsTable, migrations)
}

// Dialect is PostgreSQL's, without migrations.
func Dialect(timeout time.Duration) sqlstore.Dialect {
	return sqlstore.Dialect{
		Goose:            goose.DialectPostgres,
		Exclusive:        exclusive,
		Placeholder:      func(n int) string { return "$" + strconv.Itoa(n) },
		OnConflictIgnore: "ON CONFLICT (id) DO NOTHING",
		OnConflictUpdate: "ON CONFLICT (id) DO UPDATE SET",
		Proposed:         func(column string) string { return "excluded." + column },
		BatchRows:        64,
		Lock:             "FOR UPDATE",
		Retry:            Undone,
		Timeout:          timeout,
	}
}

// exclusive takes an advisory lock, which is the database's own and ends with
// the transaction. Its number is any that nobody else is likely to have.
func exclusive(ctx context.Context, db *sql.DB, do func() error) error {
	return database.Exclusive(ctx, db, "SELECT pg_try_advisory_xact_lock(5425830172645441)", "", do)
}

// Undone says whether an error means that the server has undone the whole
// transaction, which may be run again: it was in a deadlock with another, or
// could not be put in an order with others.
func Undone(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "40001" || answer.Code == "40P01" || answer.Code == "55P03")
}

// Connect makes a pool of connections as the settings say. None is opened yet.
func Connect(c database.Config) (*sql.DB, error) {
	config, err := parse(c)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*config)
	c.Limit(db)
	return db, nil
}

// parse makes the driver's configuration.
func parse(c database.Config) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(string(c.DSN))
	if err != nil || config.Database == "" {
		// What is there is not told: it may hold the password.
		return nil, fmt.Errorf("%w: dsn: want postgres://USER:PASSWORD@HOST:PORT/DATABASE, got something else", database.ErrConfig)
	}
	if c.Password != "" {
		config.Password = string(c.Password)
	}
	if c.TLS.Enabled {
		if config.TLSConfig, err = c.TLSConfig(config.Host); err != nil {
			return nil, err
		}
		config.Fallbacks = nil // among which may be one without TLS
	}
	config.ConnectTimeout = c.ConnectTimeout
	params := map[string]string{
		"timezone": "UTC", "client_encoding": "UTF8",
		// What a client gives up the server gives up too.
		"statement_timeout": strconv.FormatInt(c.Timeout.Milliseconds(), 10),
		"lock_timeout":      strconv.FormatInt(c.Timeout.Milliseconds(), 10),
	}
	if config.RuntimeParams == nil {
		config.RuntimeParams = map[string]string{}
	}
	for name, value := range params {
		config.RuntimeParams[name] = value
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "millrace"
	}
	return config, nil
}
