package outbox

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"millrace/catalog/database"
	"millrace/catalog/opener"
)

//go:embed migrations
var files embed.FS

// migrationsTable is where goose notes which migrations have run.
const migrationsTable = "likes_migrations"

// dialect is in what one database differs from another here.
type dialect struct {
	goose goose.Dialect
	// exclusive does what one process at a time may do with the database; nil for
	// a file.
	exclusive   func(ctx context.Context, db *sql.DB, do func() error) error
	folder      string
	placeholder func(int) string
	ignore      string // ends an INSERT that leaves a row alone that is there
	lock        string // ends a SELECT whose row nobody else may change
	clock       string // milliseconds by the database's clock
	undone      func(error) bool
	explain     func(error) error
	timeout     time.Duration
}

// Open opens the tables in the database that the settings name, and migrates
// them; with SQLite they are in a file of their own.
func Open(ctx context.Context, c database.Config, file string) (*Store, error) {
	db, d, err := connect(c, file)
	if err != nil {
		return nil, fmt.Errorf("opening the likes' tables: %w", err)
	}
	s, err := newStore(ctx, db, d)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the likes' tables: %w", d.explain(err)), db.Close())
	}
	return s, nil
}

func connect(c database.Config, file string) (*sql.DB, dialect, error) {
	d := dialect{
		goose: goose.DialectSQLite3, folder: "sqlite", placeholder: func(int) string { return "?" }, ignore: "ON CONFLICT DO NOTHING",
		clock:  "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
		undone: func(error) bool { return false }, explain: func(err error) error { return err }, timeout: c.Timeout,
	}
	if c.Driver == database.SQLite {
		db, err := openFile(file)
		return db, d, err
	}
	db, shared, err := opener.Connect(c)
	if err != nil {
		return nil, d, err
	}
	d.exclusive = shared.Exclusive
	d.goose, d.placeholder, d.lock, d.undone = shared.Goose, shared.Placeholder, " "+shared.Lock, shared.Retry
	d.explain = func(err error) error { return opener.Explain(err, "catalog", c) }
	d.folder, d.clock = "mysql", "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
	d.ignore = "ON DUPLICATE KEY UPDATE seq = seq"
	if c.Driver == database.PostgreSQL {
		d.folder, d.clock = "postgres", "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
		d.ignore = "ON CONFLICT DO NOTHING"
	}
	return db, d, nil
}

// openFile opens a SQLite file. A commit is synced: the file is the only place
// where a like is.
func openFile(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	settings := url.Values{
		"_busy_timeout": {"5000"}, "_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_txlock": {"immediate"},
		"_pragma": {"secure_delete(ON)"},
	}
	location := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", location.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return db, nil
}

// migrations are those of the database, in the root.
func (d *dialect) migrations() (fs.FS, error) { return fs.Sub(files, "migrations/"+d.folder) }

// ReadSchema reads how far the tables in MySQL or PostgreSQL are migrated, and
// changes nothing.
func ReadSchema(ctx context.Context, c database.Config) (s database.Schema, err error) {
	db, d, err := connect(c, "")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	migrations, err := d.migrations()
	if err != nil {
		return s, err
	}
	return database.ReadSchema(ctx, db, c.Driver, migrationsTable, migrations)
}
