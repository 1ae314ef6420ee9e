package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"millrace/catalog"
	"millrace/catalog/database"
)

// pageRows is how many rows each reads at a time.
const pageRows = 256

// table is one table's prepared statements.
type table[R any] struct {
	layout[R]
	timeout                           time.Duration
	put, ensure, insert, remove, bury batch
	get, page, count                  *sql.Stmt
	changed, buried                   *sql.Stmt // after a place in the order of changes
	oldest, unbury                    *sql.Stmt // of what was deleted before a time
}

// The columns that followers go by: the block that a row was last written in,
// and when, by the clock, a row was deleted.
const (
	changedColumn   = "changed"
	deletedAtColumn = "deleted_at"
)

// graves is the table that says which rows of another were deleted.
func graves(table string) string { return "deleted_" + table }

// prepare makes the statements. They are closed with their databases.
func (t *table[R]) prepare(ctx context.Context, writer, reader *sql.DB, d *Dialect) error {
	p := database.NewPreparer(ctx)
	batches := func(text func(rows int) string) batch {
		return batch{many: p.Prepare(writer, text(d.BatchRows)), one: p.Prepare(writer, text(1)), rows: d.BatchRows}
	}
	t.timeout = d.Timeout
	id, from := t.columns[0], " FROM "+t.table
	rows := "SELECT " + strings.Join(t.columns, ", ") + from + " WHERE " + id
	columns := append(slices.Clone(t.columns), changedColumn)
	update := " " + d.OnConflictUpdate + " " + d.update(t.table, columns, t.keep)
	t.put = batches(func(n int) string { return d.insert(t.table, columns, n) + update })
	t.ensure = batches(func(n int) string { return d.insert(t.table, columns, n) + " " + d.OnConflictIgnore })
	t.insert = batches(func(n int) string { return d.insert(t.table, columns, n) })
	grave := []string{id, changedColumn, deletedAtColumn}
	t.bury = batches(func(n int) string {
		return d.insert(graves(t.table), grave, n) + " " + d.OnConflictUpdate + " " + d.update(graves(t.table), grave, "")
	})
	t.remove = batches(func(n int) string { return "DELETE" + from + " WHERE " + id + " IN " + d.parameters(0, n) })
	t.get = p.Prepare(reader, rows+" = "+d.Placeholder(1))
	t.page = p.Prepare(reader, rows+" > "+d.Placeholder(1)+" ORDER BY "+id+" LIMIT "+d.Placeholder(2))
	t.count = p.Prepare(reader, "SELECT COUNT(*)"+from)
	t.changed = p.Prepare(reader, d.after(t.table, append(slices.Clone(t.columns), changedColumn)))
	t.buried = p.Prepare(reader, d.after(graves(t.table), []string{id, changedColumn}))
	before := " FROM " + graves(t.table) + " WHERE " + deletedAtColumn + " < " + d.Placeholder(1)
	t.oldest = p.Prepare(writer, "SELECT COALESCE(MAX("+changedColumn+"), 0)"+before)
	t.unbury = p.Prepare(writer, "DELETE"+before)
	return p.Err()
}

// after selects rows in the order of their changes, from a place on. The
// changes of ensured users are 0 and in no index where a database can leave
// them out, which it does only if the statement says so.
func (d *Dialect) after(table string, columns []string) string {
	p := d.Placeholder
	return "SELECT " + strings.Join(columns, ", ") + " FROM " + table + " WHERE changed > 0 AND changed >= " + p(1) +
		" AND (changed > " + p(2) + " OR id > " + p(3) + ") ORDER BY changed, id LIMIT " + p(4)
}

// batch is one statement in two sizes: thousands of rows cost few calls, and
// one row costs no more than it must.
type batch struct {
	many, one *sql.Stmt
	rows      int // of many
}

// execute runs the statement over n rows whose values come from row.
func (b *batch) execute(ctx context.Context, tx *transaction, n int, row func(dst []any, i int) []any) error {
	full := n - n%b.rows
	if err := execute(ctx, tx, b.many, b.rows, 0, full, row); err != nil {
		return err
	}
	return execute(ctx, tx, b.one, 1, full, n, row)
}

// execute runs a statement over the rows from one to before another, so many
// at a time.
func execute(ctx context.Context, tx *transaction, stmt *sql.Stmt, rows, from, to int, row func(dst []any, i int) []any) (err error) {
	if from == to {
		return nil
	}
	stmt = tx.StmtContext(ctx, stmt)
	defer func() { err = errors.Join(err, stmt.Close()) }()
	var values []any
	for ; from < to; from += rows {
		values = values[:0]
		for i := range rows {
			values = row(values, from+i)
		}
		tx.begins()
		if _, err := stmt.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return nil
}

// write applies the net changes of a block.
func (t *table[R]) write(ctx context.Context, tx *transaction, changes *netting[R], block uint64) error {
	removes, ensures, puts := changes.take()
	err := t.remove.execute(ctx, tx, len(removes), func(dst []any, i int) []any { return append(dst, removes[i]) })
	if err == nil {
		now := time.Now().UnixMilli()
		err = t.bury.execute(ctx, tx, len(removes), func(dst []any, i int) []any {
			return append(dst, grave(removes[i]), int64(block), now)
		})
	}
	if err == nil {
		of := block
		if t.quiet {
			of = 0
		}
		err = t.writeRows(ctx, tx, &t.ensure, ensures, of)
	}
	if err == nil {
		err = t.writeRows(ctx, tx, &t.put, puts, block)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", t.table, err)
	}
	return nil
}

// writeRows writes rows as they have become with a block.
func (t *table[R]) writeRows(ctx context.Context, tx *transaction, b *batch, rows []*R, block uint64) error {
	return b.execute(ctx, tx, len(rows), func(dst []any, i int) []any {
		return append(t.values(dst, rows[i]), int64(block))
	})
}

// one reads the row of an id; the error wraps catalog.ErrNotFound where there
// is none.
func (t *table[R]) one(ctx context.Context, id string) (*R, error) {
	ctx, cancel := bounded(ctx, t.timeout)
	defer cancel()
	row, err := t.scan(t.get.QueryRowContext(ctx, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = catalog.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q of %s: %w", id, t.table, err)
	}
	return row, nil
}

// list is a page of n rows after an id, and what to give as after next.
func (t *table[R]) list(ctx context.Context, after string, n int) (list []*R, next string, err error) {
	if n < 1 {
		return nil, "", fmt.Errorf("listing %s: %w: %d at a time, expected 1 or more", t.table, catalog.ErrInvalid, n)
	}
	list, err = t.query(ctx, after, n)
	if err != nil {
		return nil, "", fmt.Errorf("listing %s after %q: %w", t.table, after, err)
	}
	if len(list) > n {
		list = list[:n]
		next = t.id(list[n-1])
	}
	return list, next, nil
}

// query reads up to n+1 rows after an id: one more than the page, which says
// whether it is the last.
func (t *table[R]) query(ctx context.Context, after string, n int) (list []*R, err error) {
	ctx, cancel := bounded(ctx, t.timeout)
	defer cancel()
	rows, err := t.page.QueryContext(ctx, after, int64(n)+1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := t.scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

// each calls fn with every row in order of id.
func (t *table[R]) each(ctx context.Context, fn func(*R) error) error {
	for after := ""; ; {
		list, next, err := t.list(ctx, after, pageRows)
		if err != nil {
			return err
		}
		for _, row := range list {
			if err := fn(row); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// size is how many rows there are.
func (t *table[R]) size(ctx context.Context) (n int, err error) {
	if err := t.count.QueryRowContext(ctx).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting %s: %w", t.table, err)
	}
	return n, nil
}

// refill replaces all rows with the given ones.
func (t *table[R]) refill(ctx context.Context, tx *transaction, rows iter.Seq[*R], check func(*R) error, block uint64) error {
	for _, name := range []string{t.table, graves(t.table)} {
		tx.begins()
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+name); err != nil {
			return fmt.Errorf("emptying %s: %w", name, err)
		}
	}
	pending := make([]*R, 0, t.insert.rows)
	flush := func() error {
		err := t.writeRows(ctx, tx, &t.insert, pending, block)
		pending = pending[:0]
		if err != nil {
			return fmt.Errorf("filling %s: %w", t.table, err)
		}
		return nil
	}
	for row := range rows {
		if err := check(row); err != nil {
			return err
		}
		if pending = append(pending, row); len(pending) == cap(pending) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
