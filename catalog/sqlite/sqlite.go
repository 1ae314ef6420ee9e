// Package sqlite is the catalogue in one file: SQLite in pure Go.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"millrace/catalog/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

// readers is how many reads run at once; more wait. A read takes microseconds
// of CPU and each connection has a page cache of its own, so few are enough.
const readers = 4

// Settings of every connection. busy_timeout, in milliseconds, is for other
// programs that have the file open.
var shared = url.Values{"_busy_timeout": {"5000"}}

// Settings of the connection that writes.
//
//   - A write-ahead log, so that readers and the writer never wait for one
//     another.
//   - synchronous=NORMAL: a commit is not synced. A killed process loses
//     nothing by that, a power cut the last transactions, each whole; syncLog
//     is how the caller draws the line. README.md of package catalog says why
//     this is enough.
//   - Deleted rows are overwritten with zeroes, because a deleted user must be
//     gone from the file as well.
//   - A write transaction locks when it begins, not when it first writes,
//     where it would fail instead of waiting.
//   - 16 MiB of page cache, a checkpoint of the write-ahead log every 16 MiB,
//     and no more than 64 MiB of it kept on disk after a large transaction.
var writing = url.Values{
	"_journal_mode": {"WAL"},
	"_synchronous":  {"NORMAL"},
	"_txlock":       {"immediate"},
	"_pragma": {
		"secure_delete(ON)", "cache_size(-16384)", "wal_autocheckpoint(4096)", "journal_size_limit(67108864)",
	},
}

// Settings of the connections that read.
var reading = url.Values{"_query_only": {"1"}}

// Open opens the catalogue in the file of that path, which is made if it is
// not there, and migrates it to the schema of this release. The error wraps
// database.ErrNewerSchema where a newer release has been at it. The Store
// keeps two more files beside it, named path-wal and path-shm.
func Open(ctx context.Context, path string) (*sqlstore.Store, error) {
	store, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite catalogue %s: %w", path, err)
	}
	return store, nil
}

func open(ctx context.Context, path string) (*sqlstore.Store, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	writer, err := connect(path, 1, writing)
	if err != nil {
		return nil, err
	}
	reader, err := connect(path, readers, reading)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	store, err := sqlstore.Open(ctx, writer, reader, sqlstore.Dialect{
		Goose:            goose.DialectSQLite3,
		Migrations:       migrations,
		Placeholder:      func(int) string { return "?" },
		OnConflictIgnore: "ON CONFLICT (id) DO NOTHING",
		OnConflictUpdate: "ON CONFLICT (id) DO UPDATE SET",
		Proposed:         func(column string) string { return "excluded." + column },
		BatchRows:        64,
		Sync:             syncLog,
		Erase:            eraseLog,
	})
	if err != nil {
		return nil, errors.Join(err, reader.Close(), writer.Close())
	}
	return store, nil
}

// eraseLog moves everything from the write-ahead log into the database, where
// secure_delete has overwritten what was deleted, and empties the log. Readers
// that are still at an older state hold that up; it is tried again while they
// are short.
func eraseLog(ctx context.Context, writer *sql.DB) error {
	const tries = 50
	for try := 1; ; try++ {
		var busy, frames, moved int
		if err := writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
			return err
		}
		if busy == 0 {
			return nil
		}
		if try == tries {
			return errors.New("the write-ahead log is in use")
		}
	}
}

// connect makes a pool of at most n connections that stay open. None is
// opened yet.
func connect(path string, n int, settings url.Values) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/...
		path = "/" + path
	}
	location := url.URL{Scheme: "file", Path: path, RawQuery: shared.Encode() + "&" + settings.Encode()}
	db, err := sql.Open("sqlite", location.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// syncLog makes all that is committed durable. A commit with synchronous=FULL
// syncs the whole write-ahead log, which is what the commits before it left
// undone, and what a checkpoint has moved out of it was synced then.
func syncLog(ctx context.Context, writer *sql.DB) (err error) {
	conn, err := writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return err
	}
	defer func() {
		// Also when ctx is done: the connection goes back to the others.
		_, reset := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous = NORMAL")
		err = errors.Join(err, reset)
	}()
	_, err = conn.ExecContext(ctx, "UPDATE syncs SET count = count + 1")
	return err
}
