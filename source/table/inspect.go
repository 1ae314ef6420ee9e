package table

import (
	"context"
	"fmt"

	"millrace/source"
)

// Inspection is what a look at a table has found.
type Inspection struct {
	Table string // items or users
	// Rows are those of the page that was read.
	Rows int
	// Bad is a row of them that is no record, nil if there is none.
	Bad *source.Bad
	// Err says why the table can not be imported.
	Err error
}

// Inspect reads the oldest page of each table that is configured, as an Importer
// begins, and changes nothing. Of the options it needs Config, DB and
// Placeholder.
func Inspect(ctx context.Context, o Options) []Inspection {
	var list []Inspection
	for _, t := range tables(&o) {
		found := Inspection{Table: t.name}
		rows, err := t.first(ctx)
		found.Rows, found.Err = len(rows), err
		for n := range rows {
			if rows[n].truth(t.query, fieldDeleted) {
				continue
			}
			var bad *source.Bad
			if t.name == "items" {
				_, bad = rows[n].item(t.query)
			} else {
				_, bad = rows[n].user(t.query)
			}
			if bad != nil {
				found.Bad = bad
				break
			}
		}
		list = append(list, found)
	}
	return list
}

// first is the first page.
func (t *table) first(ctx context.Context) ([]row, error) {
	if t.query.column(fieldUpdated) == "" {
		return t.all(ctx, nil)
	}
	rows, err := t.changed(ctx, place{})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if _, err := mark(rows[0].updated); err != nil {
		return nil, fmt.Errorf("import.%s: %w", t.name, err)
	}
	return rows, nil
}
