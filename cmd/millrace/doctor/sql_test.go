package doctor

import (
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/internal/services"
	"millrace/source/table"
)

func sqlConfig(driver, dsn string) database.Config {
	c := database.Default()
	c.Driver, c.DSN = driver, database.Secret(dsn)
	c.ConnectTimeout, c.Timeout = 2*time.Second, 2*time.Second
	return c
}

func TestMariaDB(t *testing.T) {
	s := services.MariaDB(t, "--max-connections=10")
	checkSQL(t, s, database.MySQL, "max_connections", "USER:PASSWORD@tcp(ADDRESS)/DATABASE")
}

func TestPostgreSQL(t *testing.T) {
	s := services.PostgreSQL(t, "-c", "max_connections=10")
	checkSQL(t, s, database.PostgreSQL, "max_connections", "postgres://USER:PASSWORD@ADDRESS/DATABASE")
}

func checkSQL(t *testing.T, s *services.SQLServer, driver, few, form string) {
	dsn := func(user, password, address, name string) string {
		return strings.NewReplacer("USER", user, "PASSWORD", password, "ADDRESS", address, "DATABASE", name).Replace(form)
	}
	right := dsn(services.User, services.Password, s.Address, services.User)
	list := run(t, SQL("catalog", sqlConfig(driver, right)))
	find(t, list, driver, OK, "version")
	find(t, list, driver, Warning, few)
	for _, f := range list {
		if strings.Contains(f.Text, "clock") {
			t.Errorf("a clock of this machine is off: %s", f.Text)
		}
	}
	for name, c := range map[string]struct{ dsn, want string }{
		"password": {dsn(services.User, "wrong", s.Address, services.User), "refuses user"},
		"database": {dsn(services.User, services.Password, s.Address, "nothing"), "there is no database nothing"},
		"port":     {dsn(services.User, services.Password, closedAddress(t), services.User), "refuses connections"},
		"host":     {dsn(services.User, services.Password, "nohost.invalid:1", services.User), "nohost.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			list := run(t, SQL("catalog", sqlConfig(driver, c.dsn)))
			find(t, list, driver, Failed, c.want)
			for _, f := range list {
				if strings.Contains(f.Text, services.Password) {
					t.Errorf("a password is told: %s", f.Text)
				}
			}
		})
	}
	s.Pause()
	find(t, run(t, SQL("catalog", sqlConfig(driver, right))), driver, Failed, "does not answer in time")
	s.Resume()
}

// TestTables looks at a shop's tables by a user who may only read one of them.
func TestTables(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := table.Default()
		c.Config = s.New(t)
		db := databasetest.Open(t, c.Config)
		execute := func(statements ...string) {
			for _, statement := range statements {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}
		execute("CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(20), updated_at TIMESTAMP)", "CREATE TABLE secret (id INT, updated_at TIMESTAMP)")
		c.Items.Query = "SELECT * FROM products"
		c.Items.Columns = map[string]string{"title": "name"}
		find(t, run(t, Tables(c)), "items", Warning, "no rows")
		execute("INSERT INTO products VALUES (1, 'One', CURRENT_TIMESTAMP)")
		find(t, run(t, Tables(c)), "items", OK, "oldest 1 rows")
		for name, test := range map[string]struct {
			change func(*table.Config)
			want   string
		}{
			"column":   {func(c *table.Config) { c.Items.Columns = map[string]string{"title": "headline"} }, "import.items.columns.title: want one of"},
			"metadata": {func(c *table.Config) { c.Items.Metadata = []string{"price"} }, "import.items.metadata"},
			"table":    {func(c *table.Config) { c.Items.Query = "SELECT * FROM nothing" }, "nothing"},
			"time":     {func(c *table.Config) { c.Items.Columns = map[string]string{"updated_at": "name"} }, "want a timestamp"},
			"address": {func(c *table.Config) {
				c.DSN = database.Secret(strings.ReplaceAll(string(c.DSN), s.Address, closedAddress(t)))
			}, "refuses connections"},
		} {
			bad := c
			test.change(&bad)
			t.Run(name, func(t *testing.T) { find(t, run(t, Tables(bad)), "items", Failed, test.want) })
		}
		execute("INSERT INTO products VALUES (2, '" + strings.Repeat("x", 20) + "', CURRENT_TIMESTAMP)")
		c.Items.Columns = map[string]string{"created": "name"}
		find(t, run(t, Tables(c)), "items", Warning, "dead letters")

		user := "CREATE USER reader IDENTIFIED BY 'reader'"
		if s.Driver == database.PostgreSQL {
			user = "CREATE ROLE reader LOGIN PASSWORD 'reader'"
		}
		execute(user, "GRANT SELECT ON products TO reader")
		c.Items.Columns = nil
		c.DSN = database.Secret(strings.Replace(string(c.DSN), services.User, "reader", 1))
		c.Password = "reader"
		find(t, run(t, Tables(c)), "items", OK, "oldest 2 rows")
		c.Items.Query = "SELECT * FROM secret"
		find(t, run(t, Tables(c)), "items", Failed, "GRANT SELECT")
	})
}
