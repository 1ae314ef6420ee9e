package doctor

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/catalog/opener"
	"millrace/cmd/millrace/likes"
	"millrace/cmd/millrace/publishing"
	"millrace/internal/services"
	"millrace/outbox"
	"millrace/source/table"
)

func sqlConfig(driver, dsn string) database.Config {
	c := database.Default()
	c.Driver, c.DSN = driver, database.Secret(dsn)
	c.ConnectTimeout, c.Timeout = 2*time.Second, 2*time.Second
	return c
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	s := services.MariaDB(t, "--max-connections=10")
	checkSQL(t, s, database.MySQL, "max_connections", "USER:PASSWORD@tcp(ADDRESS)/DATABASE")
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
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

// TestLikes looks at what the likes service needs, before its first start, after
// it, and after one of a newer release.
func TestLikes(t *testing.T) {
	t.Parallel()
	cache := services.Redis(t, "--requirepass", services.Password)
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		of := s.New(t)
		c := likes.Default()
		c.Enabled, c.Redis = true, database.Secret("redis://:"+services.Password+"@"+cache.Address)
		look := func() []Finding { return append(run(t, Likes(c, of)), run(t, SQL("catalog", of))...) }
		list := look()
		find(t, list, "tables of likes", OK, "will be made")
		find(t, list, "tables of the catalogue", OK, "will be made")
		find(t, list, "redis", OK, "runs scripts")
		store, err := outbox.Open(t.Context(), of, "")
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		catalogue, err := opener.Open(t.Context(), of, "")
		if err != nil {
			t.Fatal(err)
		}
		defer catalogue.Close()
		list = look()
		find(t, list, "tables of likes", OK, "the latest")
		find(t, list, "tables of the catalogue", OK, "the latest")
		db := databasetest.Open(t, of)
		for _, table := range []string{"likes_migrations", "catalog_migrations"} {
			if _, err := db.ExecContext(t.Context(), "UPDATE "+table+" SET version_id = 99 WHERE version_id = 1"); err != nil {
				t.Fatal(err)
			}
		}
		list = look()
		find(t, list, "tables of likes", Failed, "newer release")
		find(t, list, "tables of the catalogue", Failed, "newer release")
		for _, table := range []string{"likes_migrations", "catalog_migrations"} {
			if _, err := db.ExecContext(t.Context(), "DELETE FROM "+table+" WHERE version_id > 0"); err != nil {
				t.Fatal(err)
			}
		}
		find(t, look(), "tables of likes", Warning, "migrates them")
		for address, want := range map[string]string{
			"redis://" + cache.Address: "wants a password", "redis://:wrong@" + cache.Address: "refuses the user",
			"redis://" + closedAddress(t): "refuses connections", "redis://nohost.invalid:1": "no host nohost.invalid",
		} {
			c.Redis = database.Secret(address)
			find(t, run(t, Likes(c, of)), "redis", Failed, want)
		}
	})
}

// TestEngine asks engines, and others, as a front would.
func TestEngine(t *testing.T) {
	for name, c := range map[string]struct {
		key, body string
		state     State
		want      string
	}{
		"well": {"right", `{"events":{"total":1}}`, OK, "answers"}, "key": {"wrong", "", Failed, "redis.engine_key"},
		"stranger": {"right", `{}`, Failed, "no Millrace server"}, "page": {"right", `<html>`, Failed, "no Millrace server"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/stats" || r.Header.Get("X-API-Key") != "right" {
					w.WriteHeader(http.StatusUnauthorized)
				}
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			find(t, run(t, Engine(s.URL, c.key)), s.URL, c.state, c.want)
		})
	}
	closed := "http://" + closedAddress(t)
	find(t, run(t, Engine(closed, "")), closed, Failed, "refuses connections")
}

// TestSettings has all systems that are configured looked at, and the topics of
// the likes.
func TestSettings(t *testing.T) {
	s := Settings{Likes: likes.Default(), Publish: publishing.Default()}
	s.Kafka.Brokers, s.Likes.Enabled, s.Publish.Enabled = []string{"127.0.0.1:1"}, true, true
	before := len(s.checks())
	s.Redis.Engine, s.Import.Items.Query = "http://127.0.0.1:1", "SELECT 1"
	if n := len(s.checks()); n != before+2 {
		t.Errorf("%d checks, expected %d", n, before+2)
	}
	use := s.kafka()
	if !use.Creates || use.CreatePrefix != "millrace." || !slices.Equal(use.TransactionalIDs, []string{"millrace-sink-millrace", "millrace-sink-likes"}) {
		t.Errorf("of Kafka it wants %+v", use)
	}
	if !slices.ContainsFunc(use.Topics, func(u TopicUse) bool { return u.Name == "recommendation" && u.Write && u.Created }) {
		t.Errorf("of topics it wants %+v", use.Topics)
	}
}

// TestTables looks at a shop's tables by a user who may only read one of them.
func TestTables(t *testing.T) {
	t.Parallel()
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
