// Package databasetest has tests run with real MariaDB and PostgreSQL servers,
// by the settings that programs reach them with.
package databasetest

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/opener"
	"millrace/internal/services"
)

// Server is a private database server, see package services.
type Server struct {
	*services.SQLServer
	Driver string
}

// Each runs a test with a server of its own of each kind, one beside the other.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	for _, driver := range []string{database.MySQL, database.PostgreSQL} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, driver))
		})
	}
}

// Start starts a server of a driver, which ends with the test. It offers TLS.
func Start(t *testing.T, driver string) *Server {
	t.Helper()
	if driver == database.PostgreSQL {
		return &Server{services.PostgreSQL(t, "-c", "deadlock_timeout=50ms"), driver}
	}
	return &Server{services.MariaDB(t, "--character-set-server=latin1"), driver}
}

// StartPlain is Start of a server that does not know TLS.
func StartPlain(t *testing.T, driver string) *Server {
	t.Helper()
	if driver == database.PostgreSQL {
		return &Server{services.PostgreSQL(t, "-c", "ssl=off"), driver}
	}
	return &Server{services.MariaDB(t, "--skip-ssl"), driver}
}

// New makes an empty database and gives the settings of connections to it.
func (s *Server) New(t testing.TB) database.Config {
	t.Helper()
	c := database.Default()
	c.Driver, c.DSN = s.Driver, database.Secret(s.NewDatabase(t))
	return c
}

// OnlyTLS makes a user who has to come with TLS.
func (s *Server) OnlyTLS(t testing.TB, user, password string) {
	t.Helper()
	c := s.New(t)
	db := Open(t, c)
	statement := "CREATE USER '" + user + "'@'127.0.0.1' IDENTIFIED BY '" + password + "' REQUIRE SSL"
	if s.Driver == database.PostgreSQL {
		statement = "CREATE ROLE " + user + " LOGIN SUPERUSER PASSWORD '" + password + "'"
		path := filepath.Join(s.Dir, "data", "pg_hba.conf")
		rules, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rules = append([]byte("hostssl all "+user+" all scram-sha-256\nhost all "+user+" all reject\n"), rules...)
		if err := os.WriteFile(path, rules, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "SELECT pg_reload_conf()"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // until it is read
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// Open connects to a database of New, for what a test looks at by itself.
func Open(t testing.TB, c database.Config) *sql.DB {
	t.Helper()
	db, _, err := opener.Connect(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // its connections may be dead with a server that was killed
	return db
}
