package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "github.com/go-sql-driver/mysql"

	"millrace/catalog/database"
)

// Explain puts words to an error of a connection made with the settings of a
// section, where there are any: then it is a database.Diagnosis.
func Explain(err error, section string, c database.Config) error {
	addr, user, name := "the server", "", ""
	if config, parsed := parse(c); parsed == nil {
		addr, user, name = config.Addr, config.User, config.DBName
	}
	words := answered(err, section, user, name)
	if words == "" {
		words = database.Words(err, section, addr)
	}
	if words == "" && errors.Is(err, driver.ErrInvalidConn) {
		words = fmt.Sprintf("the connection to %s broke, or nothing came: the server does not answer in time, or ends, "+
			"or what is there is no MySQL or MariaDB server: check the port in %s.dsn", addr, section)
	}
	var known *database.Diagnosis
	if words == "" || errors.As(err, &known) {
		return err
	}
	return &database.Diagnosis{Words: words, Cause: err}
}

// answered are the words of what the server or the driver refuses.
func answered(err error, section, user, name string) string {
	switch {
	case errors.Is(err, driver.ErrNoTLS):
		return fmt.Sprintf("the server does not offer TLS: set %s.tls.enabled to false, or have TLS enabled there", section)
	case errors.Is(err, driver.ErrMalformPkt) || errors.Is(err, driver.ErrPktSync) || errors.Is(err, driver.ErrOldProtocol):
		return fmt.Sprintf("what answers there is no MySQL or MariaDB server: check the port in %s.dsn", section)
	case errors.Is(err, driver.ErrUnknownPlugin) || errors.Is(err, driver.ErrCleartextPassword):
		return fmt.Sprintf("user %s logs in by a method that is not supported here: give it one with a password", user)
	}
	var answer *driver.MySQLError
	if !errors.As(err, &answer) {
		return ""
	}
	switch answer.Number {
	case 1045, 1698: // ER_ACCESS_DENIED_ERROR
		return fmt.Sprintf("the server refuses user %s: the password is wrong (see %s.dsn and %s.password), or the user may not log in from this machine, "+
			"or only with TLS: set %s.tls.enabled", user, section, section, section)
	case 1049: // ER_BAD_DB_ERROR
		return fmt.Sprintf("there is no database %s: CREATE DATABASE %s CHARACTER SET utf8mb4, or correct %s.dsn", name, name, section)
	case 1044, 1142, 1143, 1227, 1370: // denied for a database, table, column, ...
		return fmt.Sprintf("user %s lacks a right: GRANT %s ON %s.* TO %s (%s)", user, database.Rights(section), name, user, answer.Message)
	case 1040, 1203, 1226: // too many connections
		return fmt.Sprintf("the server has too many connections: lower %s.max_open_connections, or raise its max_connections", section)
	case 1129, 1130: // host blocked, host not allowed
		return "the server refuses this machine: " + answer.Message
	case 3159: // ER_SECURE_TRANSPORT_REQUIRED
		return fmt.Sprintf("the server wants TLS: set %s.tls.enabled", section)
	case 1290, 1792, 1836: // read-only
		return fmt.Sprintf("the server is read-only: name the primary in %s.dsn", section)
	case 1021, 1114: // ER_DISK_FULL, ER_RECORD_FILE_FULL
		return "the server's disk is full"
	case 1153: // ER_NET_PACKET_TOO_LARGE
		return "the server's max_allowed_packet is too small: set it to 16M or more"
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
	var version string
	var connections, flush, packet, readOnly int
	row := db.QueryRowContext(ctx, "SELECT VERSION(), @@max_connections, @@innodb_flush_log_at_trx_commit, @@max_allowed_packet, @@read_only")
	if err := row.Scan(&version, &connections, &flush, &packet, &readOnly); err != nil {
		return nil, err
	}
	notes = append(notes, "version "+version)
	if readOnly != 0 {
		return notes, &database.Diagnosis{Words: fmt.Sprintf("the server is read-only: name the primary in %s.dsn", section)}
	}
	if flush != 1 {
		notes = append(notes, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d: a power cut of the server can lose its last second, set it to 1", flush))
	}
	if connections < 2*c.MaxOpenConnections {
		notes = append(notes, fmt.Sprintf("max_connections of the server is %d and %s.max_open_connections %d: several processes do not fit", connections, section, c.MaxOpenConnections))
	}
	if packet < 16<<20 {
		notes = append(notes, fmt.Sprintf("max_allowed_packet is %d bytes: large items need 16 MiB", packet))
	}
	return notes, nil
}
