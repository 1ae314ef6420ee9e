// Package kafkaclient is the connection to Apache Kafka that everything which
// speaks to it shares: its settings, the options of a client made of them, and
// words for what goes wrong.
package kafkaclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config is how brokers are reached.
type Config struct {
	// Brokers are HOST:PORT of some brokers of the cluster; the others are
	// learnt from them. None means that there is no Kafka.
	Brokers []string `yaml:"brokers" env:"MILLRACE_KAFKA_BROKERS"`
	// ClientID names this client in the brokers' logs, metrics and quotas.
	ClientID string `yaml:"client_id" env:"MILLRACE_KAFKA_CLIENT_ID"`
	TLS      TLS    `yaml:"tls"`
	SASL     SASL   `yaml:"sasl"`
	// DialTimeout is how long connecting to a broker may take.
	DialTimeout time.Duration `yaml:"dial_timeout" env:"MILLRACE_KAFKA_DIAL_TIMEOUT"`
	// RequestTimeout is how long a broker may take to answer, beyond the time
	// that the request itself allows it.
	RequestTimeout time.Duration `yaml:"request_timeout" env:"MILLRACE_KAFKA_REQUEST_TIMEOUT"`
}

// TLS encrypts the connection.
type TLS struct {
	// Enabled speaks TLS to the brokers.
	Enabled bool `yaml:"enabled" env:"MILLRACE_KAFKA_TLS_ENABLED"`
	// CAFile holds the certificates, in PEM, that the brokers' are signed with;
	// empty means the system's.
	CAFile string `yaml:"ca_file" env:"MILLRACE_KAFKA_TLS_CA_FILE"`
	// CertFile and KeyFile are the client's own certificate and key, in PEM,
	// for brokers that ask for one.
	CertFile string `yaml:"cert_file" env:"MILLRACE_KAFKA_TLS_CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"MILLRACE_KAFKA_TLS_KEY_FILE"`
	// ServerName is the name that the brokers' certificates must have; empty
	// means that of the address.
	ServerName string `yaml:"server_name" env:"MILLRACE_KAFKA_TLS_SERVER_NAME"`
}

// The mechanisms of SASL.
const (
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
)

// SASL is how the client says who it is.
type SASL struct {
	// Mechanism is one of the constants; empty means none.
	Mechanism string `yaml:"mechanism" env:"MILLRACE_KAFKA_SASL_MECHANISM"`
	Username  string `yaml:"username" env:"MILLRACE_KAFKA_SASL_USERNAME"`
	// Password is never logged.
	Password Secret `yaml:"password" env:"MILLRACE_KAFKA_SASL_PASSWORD"`
}

// Secret is a text that is not printed.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
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

// Default is how brokers are reached where nothing else is said.
func Default() Config {
	return Config{ClientID: "millrace", DialTimeout: 10 * time.Second, RequestTimeout: 10 * time.Second}
}

// Enabled reports whether there is a Kafka to be reached.
func (c *Config) Enabled() bool { return len(c.Brokers) > 0 }

// ErrConfig is the error of settings that cannot be used. Its text names the
// setting, what was wanted, and what was got.
var ErrConfig = errors.New("configuration")

func invalid(setting, want, got string) error {
	return fmt.Errorf("%w: kafka.%s: want %s, got %q", ErrConfig, setting, want, got)
}

// Validate says what is wrong with the settings; it opens no file.
func (c *Config) Validate() error {
	for _, b := range c.Brokers {
		host, port, err := net.SplitHostPort(b)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return invalid("brokers", "HOST:PORT", b)
		}
	}
	switch {
	case c.DialTimeout < time.Millisecond || c.DialTimeout > time.Hour:
		return invalid("dial_timeout", "1ms to 1h", c.DialTimeout.String())
	case c.RequestTimeout < 100*time.Millisecond || c.RequestTimeout > 15*time.Minute:
		return invalid("request_timeout", "100ms to 15m", c.RequestTimeout.String())
	case !c.TLS.Enabled && c.TLS != (TLS{}):
		return invalid("tls.enabled", "true, as there are other settings of tls", "false")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return invalid("tls.cert_file", "a file together with tls.key_file, or neither", c.TLS.CertFile)
	case c.SASL.Mechanism == "" && c.SASL != (SASL{}):
		return invalid("sasl.mechanism", "one, as there is a username or a password", "")
	case c.SASL.Mechanism != "" && !slices.Contains([]string{SASLPlain, SASLScramSHA256, SASLScramSHA512}, c.SASL.Mechanism):
		return invalid("sasl.mechanism", SASLPlain+", "+SASLScramSHA256+" or "+SASLScramSHA512, c.SASL.Mechanism)
	case c.SASL.Mechanism != "" && c.SASL.Username == "":
		return invalid("sasl.username", "a name", "")
	case c.SASL.Mechanism != "" && c.SASL.Password == "":
		return invalid("sasl.password", "a password", "")
	}
	return nil
}

// Options are those of a client that reaches the brokers; whoever makes one
// adds what it consumes or produces. It reads the files of TLS.
func (c *Config) Options() ([]kgo.Opt, error) {
	dial := &net.Dialer{Timeout: c.DialTimeout, KeepAlive: 30 * time.Second}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.SoftwareNameAndVersion("millrace", "1"),
		kgo.RequestTimeoutOverhead(c.RequestTimeout),
		kgo.DisableClientMetrics(),
		kgo.Dialer(dial.DialContext),
	}
	if c.TLS.Enabled {
		settings, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		dialer := &tls.Dialer{NetDialer: dial, Config: settings}
		options = append(options, kgo.Dialer(dialer.DialContext))
	}
	if m := c.SASL.mechanism(); m != nil {
		options = append(options, kgo.SASL(m))
	}
	return options, nil
}

// config reads the certificates.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: kafka.tls.ca_file: %w", ErrConfig, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("tls.ca_file", "certificates in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: kafka.tls.cert_file, kafka.tls.key_file: %w", ErrConfig, err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

func (s *SASL) mechanism() sasl.Mechanism {
	password := string(s.Password)
	switch s.Mechanism {
	case SASLPlain:
		return plain.Auth{User: s.Username, Pass: password}.AsMechanism()
	case SASLScramSHA256:
		return scram.Auth{User: s.Username, Pass: password}.AsSha256Mechanism()
	case SASLScramSHA512:
		return scram.Auth{User: s.Username, Pass: password}.AsSha512Mechanism()
	}
	return nil
}
