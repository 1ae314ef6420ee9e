// Package opener opens whichever database the settings name.
package opener

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"millrace/catalog/database"
	"millrace/catalog/mysql"
	"millrace/catalog/postgres"
	"millrace/catalog/sqlite"
	"millrace/catalog/sqlstore"
)

// Open opens the catalogue that the settings name; file is where it is with
// SQLite.
func Open(ctx context.Context, c database.Config, file string) (*sqlstore.Store, error) {
	switch c.Driver {
	case database.MySQL:
		return mysql.Open(ctx, c)
	case database.PostgreSQL:
		return postgres.Open(ctx, c)
	}
	return sqlite.Open(ctx, file)
}

// Connect makes a pool of connections, and what is special about the database.
// It is for MySQL and PostgreSQL only.
func Connect(c database.Config) (*sql.DB, sqlstore.Dialect, error) {
	switch c.Driver {
	case database.MySQL:
		db, err := mysql.Connect(c)
		return db, mysql.Dialect(c.Timeout), err
	case database.PostgreSQL:
		db, err := postgres.Connect(c)
		return db, postgres.Dialect(c.Timeout), err
	}
	return nil, sqlstore.Dialect{}, fmt.Errorf("%w: driver: want %s or %s, got %q", database.ErrConfig, database.MySQL, database.PostgreSQL, c.Driver)
}

// Explain puts words to an error of a database, where there are any; nil stays
// nil.
func Explain(err error, section string, c database.Config) error {
	if err == nil {
		return nil
	}
	switch c.Driver {
	case database.MySQL:
		return mysql.Explain(err, section, c)
	case database.PostgreSQL:
		return postgres.Explain(err, section, c)
	}
	return err
}

// Diagnose tries what a start needs, without changing anything, and says in
// words what is wrong; nil where nothing is, and always for SQLite. notes are
// what works but should be known.
func Diagnose(ctx context.Context, section string, c database.Config) (notes []string, err error) {
	switch c.Driver {
	case database.MySQL:
		return mysql.Diagnose(ctx, section, c)
	case database.PostgreSQL:
		return postgres.Diagnose(ctx, section, c)
	}
	return nil, nil
}

// ReadSchema reads how far the catalogue's tables are migrated, and changes
// nothing. It is for MySQL and PostgreSQL only, as Connect is.
func ReadSchema(ctx context.Context, c database.Config) (s database.Schema, err error) {
	db, _, err := Connect(c)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if c.Driver == database.PostgreSQL {
		return postgres.ReadSchema(ctx, db)
	}
	return mysql.ReadSchema(ctx, db)
}
