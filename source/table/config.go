// Package table reads a shop's own tables into the catalogue: what is new in
// them by the time of a row's last change, and from time to time all of them.
package table

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"millrace/catalog/database"
)

// Config is which tables are read, and how. Nothing is read where no query is
// given.
type Config struct {
	database.Config `yaml:",inline"`
	// Interval is how often it is looked for what is new.
	Interval time.Duration `yaml:"interval" env:"INTERVAL"`
	// Overlap is how far before the newest row it is looked again: for rows whose
	// transactions commit that much later than their time says.
	Overlap time.Duration `yaml:"overlap" env:"OVERLAP"`
	// ReconcileInterval is how often all ids are read, to delete what is gone
	// from the table without a mark; 0 means never.
	ReconcileInterval time.Duration `yaml:"reconcile_interval" env:"RECONCILE_INTERVAL"`
	// MaxDeleted is the largest share of what is known that one reconciliation
	// deletes: more is taken for a mistake.
	MaxDeleted float64 `yaml:"max_deleted" env:"MAX_DELETED"`
	// PageRows is how many rows are read at a time.
	PageRows int   `yaml:"page_rows" env:"PAGE_ROWS"`
	Items    Query `yaml:"items"`
	Users    Query `yaml:"users"`
}

// Query is where the items, or the users, are.
type Query struct {
	// Query is a SELECT; its columns are told by their names.
	Query string `yaml:"query"`
	// Columns names columns that are called otherwise than their fields: id,
	// title, categories, tags, hidden, created, age, gender, labels, updated_at,
	// deleted.
	Columns map[string]string `yaml:"columns"`
	// Metadata are the columns that become an item's metadata.
	Metadata []string `yaml:"metadata"`
	// Separator parts a list that is no JSON array.
	Separator string `yaml:"separator"`
}

// The fields.
const (
	fieldID         = "id"
	fieldTitle      = "title"
	fieldCategories = "categories"
	fieldTags       = "tags"
	fieldHidden     = "hidden"
	fieldCreated    = "created"
	fieldAge        = "age"
	fieldGender     = "gender"
	fieldLabels     = "labels"
	fieldUpdated    = "updated_at"
	fieldDeleted    = "deleted"
)

var fields = map[string][]string{
	"items": {fieldID, fieldTitle, fieldCategories, fieldTags, fieldHidden, fieldCreated, fieldUpdated, fieldDeleted},
	"users": {fieldID, fieldAge, fieldGender, fieldLabels, fieldUpdated, fieldDeleted},
}

// column is the name of the column of a field.
func (q *Query) column(field string) string {
	if name, ok := q.Columns[field]; ok {
		return name
	}
	return field
}

// Default reads nothing; with a driver, a DSN and a query it is complete.
func Default() Config {
	c := Config{
		Config: database.Default(), Interval: 5 * time.Second, Overlap: 30 * time.Second, MaxDeleted: 0.2, PageRows: 1000,
		Items: Query{Separator: ","}, Users: Query{Separator: ","},
	}
	c.MaxOpenConnections, c.MaxIdleConnections = 2, 1
	return c
}

// Enabled reports whether a table is read.
func (c *Config) Enabled() bool { return c.Items.Query != "" || c.Users.Query != "" }

var columnForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Validate says what is wrong with the settings.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	bad := func(setting, want, got string) error {
		return fmt.Errorf("%w: import.%s: want %s, got %s", database.ErrConfig, setting, want, got)
	}
	switch {
	case c.Driver == database.SQLite:
		return bad("driver", database.MySQL+" or "+database.PostgreSQL, c.Driver)
	case c.TakeOver:
		return bad("take_over", "false, as nothing is written there", "true")
	case c.Interval < 10*time.Millisecond || c.Interval > 24*time.Hour:
		return bad("interval", "10ms to 24h", c.Interval.String())
	case c.Overlap < 0 || c.Overlap > 24*time.Hour:
		return bad("overlap", "0s to 24h", c.Overlap.String())
	case c.ReconcileInterval < 0 || c.ReconcileInterval > 0 && c.ReconcileInterval < c.Interval:
		return bad("reconcile_interval", "0s, or at least interval", c.ReconcileInterval.String())
	case !(c.MaxDeleted > 0 && c.MaxDeleted <= 1):
		return bad("max_deleted", "more than 0, at most 1", fmt.Sprint(c.MaxDeleted))
	case c.PageRows < 2 || c.PageRows > 100_000:
		return bad("page_rows", "2 to 100000", fmt.Sprint(c.PageRows))
	}
	for name, q := range map[string]*Query{"items": &c.Items, "users": &c.Users} {
		for field, column := range q.Columns {
			switch {
			case !slices.Contains(fields[name], field):
				return bad(name+".columns", fmt.Sprintf("names of %v", fields[name]), field)
			case column != "" && !columnForm.MatchString(column):
				return bad(name+".columns."+field, "the name of a column: letters, digits and _", fmt.Sprintf("%q", column))
			}
		}
		if q.Query != "" && q.column(fieldID) == "" {
			return bad(name+".columns.id", "the name of a column", "nothing")
		}
	}
	return c.Config.Validate("import")
}
