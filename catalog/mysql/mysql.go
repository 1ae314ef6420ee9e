// Package mysql is the catalogue in MySQL or MariaDB.
package mysql

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
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
		return nil, fmt.Errorf("opening the catalogue in MySQL: %w", Explain(err, "catalog", c))
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
	return database.ReadSchema(ctx, db, database.MySQL, sqlstore.MigrationsTable, migrations)
}

// Dialect is MySQL's, without migrations.
func Dialect(timeout time.Duration) sqlstore.Dialect {
	return sqlstore.Dialect{
		Goose:            goose.DialectMySQL,
		Exclusive:        exclusive,
		Placeholder:      func(int) string { return "?" },
		OnConflictIgnore: "ON DUPLICATE KEY UPDATE id = id", // INSERT IGNORE would pass over other errors too
		OnConflictUpdate: "ON DUPLICATE KEY UPDATE",
		Proposed:         func(column string) string { return "VALUES(" + column + ")" }, // MariaDB has no other way
		BatchRows:        64,
		Lock:             "FOR UPDATE",
		Retry:            Undone,
		Timeout:          timeout,
	}
}

// exclusive takes a lock of the session: locks of tables do not outlast a
// statement that makes one. Names of locks are the server's and at most 64
// characters long, so the database's is hashed.
func exclusive(ctx context.Context, db *sql.DB, do func() error) error {
	const name = "CONCAT('millrace ', SHA1(DATABASE()))"
	return database.Exclusive(ctx, db, "SELECT GET_LOCK("+name+", 0)", "DO RELEASE_LOCK("+name+")", do)
}

// Errors of the server, by their numbers.
const (
	errDeadlock        = 1213
	errLockWaitTimeout = 1205
)

// Undone says whether an error means that the server has undone the whole
// transaction, which may be run again: it was in a deadlock with another, or
// did not come by a lock. (After a lock wait timeout only the statement is
// undone; who ran it rolls the rest back.)
func Undone(err error) bool {
	var answer *driver.MySQLError
	return errors.As(err, &answer) && (answer.Number == errDeadlock || answer.Number == errLockWaitTimeout || string(answer.SQLState[:]) == "40001")
}

// Connect makes a pool of connections as the settings say. None is opened yet.
// Times are in UTC on both sides, and statements that would cut off what is
// written fail.
func Connect(c database.Config) (*sql.DB, error) {
	config, err := parse(c)
	if err != nil {
		return nil, err
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("%w: dsn: %w", database.ErrConfig, err)
	}
	db := sql.OpenDB(&greeted{connector, c.ConnectTimeout})
	c.Limit(db)
	return db, nil
}

// greeted bounds the making of a connection up to the end of its handshake. The
// driver's own bound ends with TCP's, and then one that listens without a word,
// such as a PostgreSQL, has as long as a statement.
type greeted struct {
	sqldriver.Connector
	within time.Duration
}

// Connect implements driver.Connector.
func (g *greeted) Connect(ctx context.Context) (sqldriver.Conn, error) {
	bounded, stop := context.WithTimeout(ctx, g.within)
	defer stop()
	connection, err := g.Connector.Connect(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w within %s", driver.ErrInvalidConn, g.within)
	}
	return connection, err
}

// scheme begins a DSN that is written as a URL.
const scheme = "mysql://"

// parse makes the driver's configuration.
func parse(c database.Config) (*driver.Config, error) {
	text, err := own(string(c.DSN))
	if err != nil {
		return nil, err
	}
	config, err := driver.ParseDSN(text)
	if err != nil || config.DBName == "" {
		// What is there is not told: it may hold the password.
		return nil, fmt.Errorf("%w: dsn: want mysql://USER:PASSWORD@HOST:PORT/DATABASE, got something else", database.ErrConfig)
	}
	if c.Password != "" {
		config.Passwd = string(c.Password)
	}
	if c.TLS.Enabled {
		host, _, err := net.SplitHostPort(config.Addr)
		if err != nil {
			host = config.Addr
		}
		if config.TLS, err = c.TLSConfig(host); err != nil {
			return nil, err
		}
	}
	config.Timeout, config.ReadTimeout, config.WriteTimeout = c.ConnectTimeout, c.Timeout, c.Timeout
	config.ParseTime, config.Loc, config.Logger = true, time.UTC, &driver.NopLogger{}
	config.RejectReadOnly = true // a former primary: the next connection finds the new one
	config.Collation = "utf8mb4_bin"
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	config.Params["time_zone"] = "'+00:00'"
	config.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION'"
	return config, nil
}

// own turns a URL into the driver's own form, and leaves that as it is.
func own(dsn string) (string, error) {
	if !strings.HasPrefix(dsn, scheme) {
		return dsn, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("%w: dsn: not a URL", database.ErrConfig) // whose error would tell the password
	}
	config := driver.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = u.User.Username(), "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	config.Passwd, _ = u.User.Password()
	text := config.FormatDSN()
	if u.RawQuery != "" {
		separator := "?"
		if strings.Contains(text, "?") {
			separator = "&"
		}
		text += separator + u.RawQuery
	}
	return text, nil
}
