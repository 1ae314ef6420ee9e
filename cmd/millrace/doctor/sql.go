package doctor

import (
	"context"
	"errors"
	"math"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/opener"
)

// SQL checks the database of a section of the configuration. SQLite is a file
// in the data directory, which has a check of its own.
func SQL(section string, c database.Config) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: section}
		subject := c.Driver
		notes, err := opener.Diagnose(ctx, section, c)
		var diagnosis *database.Diagnosis
		switch {
		case errors.As(err, &diagnosis):
			s.say(Failed, subject, "%s", diagnosis.Words)
		case err != nil:
			s.say(Failed, subject, "%v", err)
		}
		for i, note := range notes {
			if i == 0 && err == nil { // the version
				s.say(OK, subject, "answers; %s", note)
			} else if i > 0 {
				s.say(Warning, subject, "%s", note)
			}
		}
		if err == nil {
			s.sqlClock(ctx, subject, c)
			s.schema(ctx, "tables of the catalogue", c, opener.ReadSchema)
		}
		return s.list
	}
}

// schema compares the version of tables with the one that this release makes.
func (s *scribe) schema(ctx context.Context, subject string, c database.Config, read func(context.Context, database.Config) (database.Schema, error)) {
	switch found, err := read(ctx, c); {
	case err != nil:
		s.say(Failed, subject, "their version can not be read: %v", opener.Explain(err, "catalog", c))
	case !found.Made:
		s.say(OK, subject, "are not there, and will be made")
	case found.Current > found.Latest:
		s.say(Failed, subject, "%s says version %d, and this release knows %d: a newer release has migrated them, use that one or another database",
			found.Table, found.Current, found.Latest)
	case found.Current < found.Latest:
		s.say(Warning, subject, "are version %d: the next start migrates them to %d, after which older releases can not use them", found.Current, found.Latest)
	default:
		s.say(OK, subject, "are version %d, which is the latest", found.Current)
	}
}

// sqlClock compares the server's clock.
func (s *scribe) sqlClock(ctx context.Context, subject string, c database.Config) {
	db, _, err := opener.Connect(c)
	if err != nil {
		return // said before
	}
	defer func() { _ = db.Close() }()
	question := "SELECT UNIX_TIMESTAMP(NOW(6))"
	if c.Driver == database.PostgreSQL {
		question = "SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8"
	}
	var seconds float64
	// The first question makes the connection, the second is answered at once.
	if err := db.PingContext(ctx); err != nil {
		return
	}
	before := time.Now()
	if err := db.QueryRowContext(ctx, question).Scan(&seconds); err != nil {
		s.say(Warning, subject, "its clock can not be read: %v", err)
		return
	}
	whole, part := math.Modf(seconds)
	s.clock(subject, time.Unix(int64(whole), int64(part*1e9)), before, time.Now())
}
