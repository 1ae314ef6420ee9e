package doctor

import (
	"context"
	"errors"

	"millrace/catalog/database"
	"millrace/catalog/opener"
	"millrace/source/table"
)

// Tables checks a shop's own tables: their database, and that what is read from
// them are items and users.
func Tables(c table.Config) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "import"}
		db, dialect, err := opener.Connect(c.Config)
		if err != nil {
			s.say(Failed, c.Driver, "%v", err)
			return s.list
		}
		defer func() { _ = db.Close() }()
		for _, found := range table.Inspect(ctx, table.Options{Config: c, DB: db, Placeholder: dialect.Placeholder}) {
			err := opener.Explain(found.Err, "import", c.Config)
			var diagnosis *database.Diagnosis
			switch {
			case errors.As(err, &diagnosis):
				s.say(Failed, found.Table, "%s", diagnosis.Words)
			case found.Err != nil:
				s.say(Failed, found.Table, "the query of import.%s can not be read: %v", found.Table, err)
			case found.Bad != nil:
				s.say(Warning, found.Table, "there are rows that are dead letters: %v; the row is %.200s", found.Bad.Err, found.Bad.Raw)
			case found.Rows == 0:
				s.say(Warning, found.Table, "the query of import.%s has no rows with an id and a time of change", found.Table)
			default:
				s.say(OK, found.Table, "the oldest %d rows are as they should be", found.Rows)
			}
		}
		return s.list
	}
}
