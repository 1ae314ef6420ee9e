package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"millrace/catalog/database"
)

// Explain puts words to an error of a connection made with the settings of a
// section, where there are any: then it is a database.Diagnosis.
func Explain(err error, section string, c database.Config) error {
	addr, user, name := "the server", "", ""
	if config, parsed := parse(c); parsed == nil {
		addr, user, name = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.User, config.Database
	}
	words := answered(err, section, user, name)
	if words == "" {
		words = database.Words(err, section, addr)
	}
	if words == "" && unfamiliar(err) {
		words = fmt.Sprintf("what answers at %s is no PostgreSQL server, or it is stopping: check the port in %s.dsn", addr, section)
	}
	if words == "" && strings.Contains(err.Error(), "server refused TLS connection") {
		words = fmt.Sprintf("the server does not offer TLS: set %s.tls.enabled to false, or have TLS enabled there", section)
	}
	var known *database.Diagnosis
	if words == "" || errors.As(err, &known) {
		return err
	}
	return &database.Diagnosis{Words: words, Cause: err}
}

// unfamiliar says whether connecting failed because of what came, or did not.
func unfamiliar(err error) bool {
	var failed *pgconn.ConnectError
	return errors.As(err, &failed) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "unknown message type") || strings.Contains(err.Error(), "unexpected message"))
}

// answered are the words of what the server or the driver refuses.
func answered(err error, section, user, name string) string {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return ""
	}
	switch answer.Code {
	case "28P01":
		return fmt.Sprintf("the server refuses user %s: the password is wrong; see %s.dsn and %s.password", user, section, section)
	case "28000":
		if strings.Contains(answer.Message, "no encryption") {
			return fmt.Sprintf("the server wants TLS, or its pg_hba.conf does not let user %s in from this machine: set %s.tls.enabled", user, section)
		}
		return fmt.Sprintf("the server refuses user %s: %s", user, answer.Message)
	case "3D000":
		return fmt.Sprintf("there is no database %s: CREATE DATABASE %s, or correct %s.dsn", name, name, section)
	case "42501":
		if database.Rights(section) == "SELECT" {
			return fmt.Sprintf("user %s lacks a right: GRANT SELECT ON ALL TABLES IN SCHEMA public TO %s, and USAGE of a schema of another name (%s)", user, user, answer.Message)
		}
		return fmt.Sprintf("user %s lacks a right: GRANT ALL ON DATABASE %s TO %s, and on its schema (%s)", user, name, user, answer.Message)
	case "3F000":
		return "there is no schema to create tables in: " + answer.Message
	case "53300":
		return fmt.Sprintf("the server has too many connections: lower %s.max_open_connections, or raise its max_connections", section)
	case "53100":
		return "the server's disk is full"
	case "57P03", "57P01", "57P02":
		return "the server starts or stops: " + answer.Message
	case "25006":
		return fmt.Sprintf("the server is read-only: name the primary in %s.dsn", section)
	}
	return ""
}

// Diagnose tries what a start needs, without changing anything, and says in
// words what is wrong; nil where nothing is. notes are what works but should
// be known.
func Diagnose(ctx context.Context, section string, c database.Config) (notes []string, err error) {
	db, err := Connect(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout+c.Timeout)
	defer cancel()
	if notes, err = inspect(ctx, db, section, c); err != nil {
		return notes, Explain(err, section, c)
	}
	return notes, nil
}

func inspect(ctx context.Context, db *sql.DB, section string, c database.Config) (notes []string, err error) {
	var version, encoding, synchronous string
	var connections int
	var standby, create bool
	row := db.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('server_encoding'),
		current_setting('synchronous_commit'), current_setting('max_connections')::int, pg_is_in_recovery(),
		COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`)
	if err := row.Scan(&version, &encoding, &synchronous, &connections, &standby, &create); err != nil {
		return nil, err
	}
	notes = append(notes, "version "+version)
	switch {
	case encoding != "UTF8":
		return notes, &database.Diagnosis{Words: fmt.Sprintf("the database's encoding is %s: create one with ENCODING 'UTF8'", encoding)}
	case standby:
		return notes, &database.Diagnosis{Words: fmt.Sprintf("the server is a standby, which is read-only: name the primary in %s.dsn", section)}
	case !create:
		return notes, &database.Diagnosis{Words: "the user may not create tables: GRANT CREATE ON SCHEMA public TO it, or make it the database's owner"}
	}
	if synchronous == "off" {
		notes = append(notes, "synchronous_commit is off: a power cut of the server can lose its last second, set it to on")
	}
	if connections < 2*c.MaxOpenConnections {
		notes = append(notes, fmt.Sprintf("max_connections of the server is %d and %s.max_open_connections %d: several processes do not fit", connections, section, c.MaxOpenConnections))
	}
	return notes, nil
}
