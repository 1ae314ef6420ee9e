package table

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// table is a query that is read page by page.
type table struct {
	name        string // items or users
	query       *Query
	db          *sql.DB
	placeholder func(int) string
	timeout     time.Duration
	pageRows    int
}

// place is where a scan stands: the values of the last row as the driver gave
// them, nil before the first.
type place struct{ updated, id any }

// changed is a page of rows from a place on, in the order of their change. Rows
// without an id or a time are none.
func (t *table) changed(ctx context.Context, at place) ([]row, error) {
	updated, id := t.query.column(fieldUpdated), t.query.column(fieldID)
	p := t.placeholder
	text := t.from() + " WHERE " + updated + " IS NOT NULL AND " + id + " IS NOT NULL"
	var args []any
	switch {
	case at.updated != nil && at.id != nil:
		text += " AND " + updated + " >= " + p(1) + " AND (" + updated + " > " + p(2) + " OR " + id + " > " + p(3) + ")"
		args = []any{at.updated, at.updated, at.id}
	case at.updated != nil:
		text += " AND " + updated + " >= " + p(1)
		args = []any{at.updated}
	}
	return t.page(ctx, text+" ORDER BY "+updated+", "+id, args)
}

// all is a page of all rows after an id.
func (t *table) all(ctx context.Context, after any) ([]row, error) {
	id := t.query.column(fieldID)
	text, args := t.from()+" WHERE "+id+" IS NOT NULL", []any(nil)
	if after != nil {
		text, args = text+" AND "+id+" > "+t.placeholder(1), []any{after}
	}
	return t.page(ctx, text+" ORDER BY "+id, args)
}

func (t *table) from() string {
	return "SELECT * FROM (" + strings.TrimRight(t.query.Query, "; \n\t") + ") millrace_rows"
}

func (t *table) page(ctx context.Context, text string, args []any) (list []row, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	rows, err := t.db.QueryContext(ctx, fmt.Sprintf("%s LIMIT %d", text, t.pageRows), args...)
	if err != nil {
		return nil, t.refused(ctx, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.name, err)
	}
	columns := make([]string, len(types))
	for i, column := range types {
		columns[i] = column.Name()
	}
	if err := t.complete(columns); err != nil {
		return nil, err
	}
	for rows.Next() {
		r := row{columns: columns, values: make([]any, len(types))}
		to := make([]any, len(types))
		for i := range to {
			to[i] = &r.values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.name, err)
		}
		for i, column := range types {
			r.values[i] = typed(r.values[i], column.DatabaseTypeName())
		}
		r.updated, _ = r.value(t.query, fieldUpdated)
		list = append(list, r)
	}
	return list, rows.Err()
}

// refused says why the rows could not be asked for. Where the query itself
// works it is a column that its places are made of, and the setting that names
// it is told instead of the database's words for the statement around it.
func (t *table) refused(ctx context.Context, cause error) error {
	cause = fmt.Errorf("reading %s: %w", t.name, cause)
	columns, err := t.columns(ctx)
	if err != nil {
		return cause
	}
	if err := t.complete(columns); err != nil {
		return err
	}
	for _, need := range []struct{ field, hint string }{
		{fieldID, "name the one that is with columns: {id: NAME}"},
		{fieldUpdated, "name the one that says when a row was changed with columns: {updated_at: NAME}, " +
			`or have all rows read each time with columns: {updated_at: ""}`},
	} {
		if missing(columns, t.query.column(need.field)) {
			return fmt.Errorf("%w: import.%s.query: want a column %s among %v: %s", ErrColumn, t.name, need.field, columns, need.hint)
		}
	}
	return cause
}

// columns are the names of the query's columns.
func (t *table) columns(ctx context.Context) (names []string, err error) {
	rows, err := t.db.QueryContext(ctx, t.from()+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if names, err = rows.Columns(); err != nil {
		return nil, err
	}
	return names, rows.Err()
}

// missing reports whether a column has a name that none of the query's has.
func missing(columns []string, column string) bool {
	return column != "" && !slices.ContainsFunc(columns, func(name string) bool { return strings.EqualFold(name, column) })
}

// complete says which column is missing that the settings name.
func (t *table) complete(columns []string) error {
	for _, field := range slices.Sorted(maps.Keys(t.query.Columns)) {
		if column := t.query.Columns[field]; missing(columns, column) {
			return fmt.Errorf("%w: import.%s.columns.%s: want one of the query's columns %v, got %q", ErrColumn, t.name, field, columns, column)
		}
	}
	for _, column := range t.query.Metadata {
		if missing(columns, column) {
			return fmt.Errorf("%w: import.%s.metadata: want the query's columns %v, got %q", ErrColumn, t.name, columns, column)
		}
	}
	return nil
}

// mark is the number that a row's change is remembered by: microseconds of a
// time, or a number as it is.
func mark(updated any) (uint64, error) {
	switch v := updated.(type) {
	case time.Time:
		return uint64(max(v.UnixMicro(), 0)), nil
	case int64:
		return uint64(max(v, 0)), nil
	case uint64:
		return v, nil
	}
	return 0, fmt.Errorf("%w: column updated_at: want a timestamp or a whole number, got %T", ErrColumn, updated)
}

// before is the place from which it is read again after a mark, which is that of
// a value like the given one.
func before(like any, at uint64, overlap time.Duration) place {
	if _, ok := like.(time.Time); ok {
		return place{updated: time.UnixMicro(int64(at)).UTC().Add(-overlap)}
	}
	return place{updated: int64(at)} // a version: what is committed later has a greater one
}
