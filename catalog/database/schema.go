package database

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Schema is how far tables are migrated.
type Schema struct {
	// Table is where migrations are noted; Made is false where there is none yet.
	Table string
	Made  bool
	// Current is the tables' version, and Latest the one that this release knows.
	Current, Latest int64
}

// ReadSchema reads how far tables are migrated whose migrations are files such as
// 00001_catalogue.sql, and changes nothing.
func ReadSchema(ctx context.Context, db *sql.DB, driver, table string, migrations fs.FS) (Schema, error) {
	s := Schema{Table: table}
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return s, err
	}
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return s, fmt.Errorf("migration %s: %w", name, err)
		}
		s.Latest = max(s.Latest, version)
	}
	here := "DATABASE()"
	if driver == PostgreSQL {
		here = "CURRENT_SCHEMA()"
	}
	var tables int
	question := "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = '" + table + "' AND table_schema = " + here
	if err := db.QueryRowContext(ctx, question).Scan(&tables); err != nil || tables == 0 {
		return s, err
	}
	s.Made = true
	return s, db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+table).Scan(&s.Current)
}
