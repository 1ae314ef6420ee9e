// Package database is how a SQL database beside the process is reached: the
// settings that MySQL, MariaDB and PostgreSQL share, and words for what goes
// wrong with a connection. Packages mysql and postgres make connections of it.
package database

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"
)

// The drivers.
const (
	SQLite     = "sqlite" // a file in the data directory
	MySQL      = "mysql"  // and MariaDB
	PostgreSQL = "postgres"
)

// Config is which database is used and how it is reached. Where it is a field
// of another struct that gives the names of its settings their prefix.
type Config struct {
	// Driver is one of the constants.
	Driver string `yaml:"driver" env:"DRIVER"`
	// DSN says where the database is and who asks:
	// mysql://USER:PASSWORD@HOST:PORT/DATABASE, the MySQL driver's own
	// USER:PASSWORD@tcp(HOST:PORT)/DATABASE, or
	// postgres://USER:PASSWORD@HOST:PORT/DATABASE. It is never logged.
	DSN Secret `yaml:"dsn" env:"DSN"`
	// Password replaces the one of DSN, to have the two in different places.
	Password Secret `yaml:"password" env:"PASSWORD"`
	TLS      TLS    `yaml:"tls" envPrefix:"TLS_"`
	// MaxOpenConnections is how many connections there are at most; what needs
	// another waits. MaxIdleConnections of them stay open.
	MaxOpenConnections int `yaml:"max_open_connections" env:"MAX_OPEN_CONNECTIONS"`
	MaxIdleConnections int `yaml:"max_idle_connections" env:"MAX_IDLE_CONNECTIONS"`
	// ConnectionMaxLifetime is after how long a connection is replaced, so that
	// load finds servers that are new behind a name; ConnectionMaxIdleTime
	// closes those that nobody uses. 0 means never.
	ConnectionMaxLifetime time.Duration `yaml:"connection_max_lifetime" env:"CONNECTION_MAX_LIFETIME"`
	ConnectionMaxIdleTime time.Duration `yaml:"connection_max_idle_time" env:"CONNECTION_MAX_IDLE_TIME"`
	// ConnectTimeout is how long connecting may take, Timeout a statement.
	ConnectTimeout time.Duration `yaml:"connect_timeout" env:"CONNECT_TIMEOUT"`
	Timeout        time.Duration `yaml:"timeout" env:"TIMEOUT"`
	// TakeOver lets the catalogue of another data directory that is in the
	// database be replaced by this one's.
	TakeOver bool `yaml:"take_over" env:"TAKE_OVER"`
	// Shared says that the database is no copy of a log: the servers that answer
	// from it write it themselves.
	Shared bool `yaml:"shared" env:"SHARED"`
}

// TLS encrypts the connection. Where it is not enabled, the DSN says.
type TLS struct {
	// Enabled demands TLS and a certificate that is trusted.
	Enabled bool `yaml:"enabled" env:"ENABLED"`
	// CAFile holds the certificates, in PEM, that the server's is signed with;
	// empty means the system's.
	CAFile string `yaml:"ca_file" env:"CA_FILE"`
	// CertFile and KeyFile are the client's own certificate and key, in PEM, for
	// servers that ask for one.
	CertFile string `yaml:"cert_file" env:"CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"KEY_FILE"`
	// ServerName is the name that the server's certificate must have; empty
	// means that of the address.
	ServerName string `yaml:"server_name" env:"SERVER_NAME"`
}

// Secret is a text that is not printed.
type Secret string

const hidden = "***"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// Default is the file in the data directory, and the bounds that another
// database gets if it is named.
func Default() Config {
	return Config{
		Driver: SQLite, MaxOpenConnections: 8, MaxIdleConnections: 8,
		ConnectionMaxLifetime: 30 * time.Minute, ConnectionMaxIdleTime: 5 * time.Minute,
		ConnectTimeout: 5 * time.Second, Timeout: 30 * time.Second,
	}
}

// ErrConfig is the error of settings that can not be used. Its text names the
// setting, what was wanted, and what was got, but no secret.
var ErrConfig = errors.New("configuration")

// Validate says what is wrong with the settings of a section; it opens no file
// and no connection.
func (c *Config) Validate(section string) error {
	bad := func(setting, want, got string) error {
		return fmt.Errorf("%w: %s.%s: want %s, got %s", ErrConfig, section, setting, want, got)
	}
	switch {
	case c.Driver != SQLite && c.Driver != MySQL && c.Driver != PostgreSQL:
		return bad("driver", SQLite+", "+MySQL+" or "+PostgreSQL, fmt.Sprintf("%q", c.Driver))
	case c.Driver == SQLite && (c.DSN != "" || c.Password != ""):
		return bad("dsn", "nothing, as driver is sqlite: a file in the data directory; or driver mysql or postgres", "one")
	case c.Driver == SQLite && c.TLS != (TLS{}):
		return bad("tls", "nothing, as driver is sqlite", "settings")
	case c.Driver == SQLite && c.Shared:
		return bad("shared", "false, as driver is sqlite", "true")
	case c.Shared && c.TakeOver:
		return bad("take_over", "false, as shared is true: what is in the database stays", "true")
	case c.Driver != SQLite && c.DSN == "":
		return bad("dsn", c.Driver+"://USER:PASSWORD@HOST:PORT/DATABASE", "nothing")
	case c.MaxOpenConnections < 2 || c.MaxOpenConnections > 10_000:
		return bad("max_open_connections", "2 to 10000", fmt.Sprint(c.MaxOpenConnections))
	case c.MaxIdleConnections < 0 || c.MaxIdleConnections > c.MaxOpenConnections:
		return bad("max_idle_connections", fmt.Sprintf("0 to max_open_connections, which is %d", c.MaxOpenConnections), fmt.Sprint(c.MaxIdleConnections))
	case !c.TLS.Enabled && c.TLS != (TLS{}):
		return bad("tls.enabled", "true, as there are other settings of tls", "false")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return bad("tls.cert_file", "a file together with tls.key_file, or neither", fmt.Sprintf("%q", c.TLS.CertFile))
	}
	for _, d := range []struct {
		setting     string
		value, from time.Duration
	}{
		{"connection_max_lifetime", c.ConnectionMaxLifetime, 0}, {"connection_max_idle_time", c.ConnectionMaxIdleTime, 0},
		{"connect_timeout", c.ConnectTimeout, 10 * time.Millisecond}, {"timeout", c.Timeout, 10 * time.Millisecond},
	} {
		if d.value < d.from || d.value > 24*time.Hour {
			return bad(d.setting, fmt.Sprintf("%v to 24h", d.from), d.value.String())
		}
	}
	return nil
}

// Limit bounds the connections of a pool.
func (c *Config) Limit(db *sql.DB) {
	db.SetMaxOpenConns(c.MaxOpenConnections)
	db.SetMaxIdleConns(c.MaxIdleConnections)
	db.SetConnMaxLifetime(c.ConnectionMaxLifetime)
	db.SetConnMaxIdleTime(c.ConnectionMaxIdleTime)
}

// TLSConfig is what TLS says, for a server of that host; nil where it is not
// enabled. It reads the files.
func (c *Config) TLSConfig(host string) (*tls.Config, error) {
	if !c.TLS.Enabled {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.TLS.ServerName != "" {
		t.ServerName = c.TLS.ServerName
	}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: tls.ca_file: %w", ErrConfig, err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: tls.ca_file: want certificates in PEM, got %s without any", ErrConfig, c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: tls.cert_file: %w", ErrConfig, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
