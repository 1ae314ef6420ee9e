package services

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// User and Password are what all services that know users have. In databases
// the user may do everything.
const (
	User     = "millrace"
	Password = "millrace-test"
)

// SQLServer is a MariaDB or PostgreSQL. What it has acknowledged survives a kill.
type SQLServer struct {
	Instance
	Address string // HOST:PORT, with and without TLS
	Certificates

	driver string
	dsn    func(database string) string
}

// DSN returns the data source name of a database for the driver, without parameters.
func (s *SQLServer) DSN(database string) string { return s.dsn(database) }

// NewDatabase makes an empty database, which is dropped when the test ends,
// and returns its data source name.
func (s *SQLServer) NewDatabase(t testing.TB) (dsn string) {
	t.Helper()
	name := fmt.Sprintf("test_%x", rand.Uint64())
	s.exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if s.Running() {
			s.drop(name)
		}
	})
	return s.dsn(name)
}

// exec runs a statement in the server's first database.
func (s *SQLServer) exec(t testing.TB, statement string) {
	t.Helper()
	db, err := sql.Open(s.driver, s.dsn(User))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
}

// drop drops a database, if it can be: the whole server goes soon.
func (s *SQLServer) drop(name string) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second) // the test's has ended
	defer stop()
	db, err := sql.Open(s.driver, s.dsn(User))
	if err != nil {
		return
	}
	defer func() { _ = db.Close() }()
	_, _ = db.ExecContext(ctx, "DROP DATABASE "+name)
}

// ping succeeds if the user can log in to the first database.
func (s *SQLServer) ping(ctx context.Context) error {
	db, err := sql.Open(s.driver, s.dsn(User))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.PingContext(ctx)
}
