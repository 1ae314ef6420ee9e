package sqlstore

import (
	"context"
	"database/sql"
	"io/fs"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// Dialect is all in which one database differs from another; the rest of this
// package is the SQL that they share. A new database is a Dialect, its
// migrations, and a function that opens connections.
//
// The migrations must make the tables items, users and applied with the
// columns of rows.go, ids that compare by their bytes, and one row in applied
// with block 0; and what the followers of follow.go read: the column changed
// of items and users, with an index on it and the id, and the tables
// deleted_items and deleted_users.
type Dialect struct {
	// Goose is the migration library's name for the database.
	Goose goose.Dialect
	// Exclusive does what one process at a time may do: several that start
	// together on an empty database must not migrate it side by side. nil where a
	// database is one process' own.
	Exclusive func(ctx context.Context, db *sql.DB, do func() error) error
	// Migrations holds the .sql files in its root.
	Migrations fs.FS
	// Placeholder writes the n-th parameter of a statement, counted from 1:
	// "?" or "$n".
	Placeholder func(n int) string
	// OnConflictIgnore ends an INSERT that leaves rows alone whose id is
	// there already.
	OnConflictIgnore string
	// OnConflictUpdate ends an INSERT that overwrites rows whose id is there
	// already; assignments follow it.
	OnConflictUpdate string
	// Proposed writes the value that such an INSERT had for the column.
	Proposed func(column string) string
	// BatchRows is how many rows one statement writes where there are many.
	BatchRows int
	// Lock ends the SELECT with which a transaction that writes begins, so that
	// of two programs that write the second waits for the first and sees what it
	// has written; "" where a transaction locks by itself.
	Lock string
	// Retry says whether an error means that the database has undone the whole
	// transaction, as it does with one of two that wait for each other, so that
	// it can be run again at once; nil where there is no such error.
	Retry func(error) bool
	// Explain puts words to an error of the connection; nil leaves all as they
	// are.
	Explain func(error) error
	// Timeout bounds each statement and each commit: after it the connection is
	// given up, as its server may be gone without a word. 0 is for ever.
	Timeout time.Duration
	// Sync makes what the writer has committed durable against a power cut;
	// nil where a commit always is.
	Sync func(ctx context.Context, writer *sql.DB) error
	// Erase takes what was deleted out of the database's files; nil where
	// that is not for a client to do.
	Erase func(ctx context.Context, writer *sql.DB) error
}

// insert writes INSERT INTO table (columns) VALUES and as many rows of
// parameters.
func (d *Dialect) insert(table string, columns []string, rows int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES ")
	for row := range rows {
		if row > 0 {
			b.WriteString(", ")
		}
		b.WriteString(d.parameters(row*len(columns), len(columns)))
	}
	return b.String()
}

// update writes the assignments of an upsert: every column but the id gets
// its proposed value, except that the column keep stays where that is 0.
func (d *Dialect) update(table string, columns []string, keep string) string {
	assignments := make([]string, 0, len(columns))
	for _, column := range columns[1:] {
		value := d.Proposed(column)
		if column == keep {
			value = "CASE WHEN " + value + " = 0 THEN " + table + "." + column + " ELSE " + value + " END"
		}
		assignments = append(assignments, column+" = "+value)
	}
	return strings.Join(assignments, ", ")
}

// parameters writes a parenthesised list of n parameters, the first of which
// comes after as many as before.
func (d *Dialect) parameters(before, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = d.Placeholder(before + i + 1)
	}
	return "(" + strings.Join(list, ", ") + ")"
}
