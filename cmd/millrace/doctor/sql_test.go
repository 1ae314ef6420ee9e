package doctor

import (
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/internal/services"
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
