package schemaregistry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// Config says where a schema registry is and how to speak to it. Without URLs
// there is none.
type Config struct {
	// URLs are those of the registry's servers, tried in their order.
	URLs []string `yaml:"urls" env:"MILLRACE_SCHEMA_REGISTRY_URLS"`
	// User and Password are those of HTTP basic authentication.
	User     string `yaml:"user" env:"MILLRACE_SCHEMA_REGISTRY_USER"`
	Password string `yaml:"password" env:"MILLRACE_SCHEMA_REGISTRY_PASSWORD"`
	// Token is a bearer token, in place of user and password.
	Token string `yaml:"token" env:"MILLRACE_SCHEMA_REGISTRY_TOKEN"`
	// CAFile has the certificates that sign those of the servers, in PEM; empty
	// for those of the system.
	CAFile string `yaml:"ca_file" env:"MILLRACE_SCHEMA_REGISTRY_CA_FILE"`
	// CertFile and KeyFile are the client's certificate and its key, in PEM.
	CertFile string `yaml:"cert_file" env:"MILLRACE_SCHEMA_REGISTRY_CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"MILLRACE_SCHEMA_REGISTRY_KEY_FILE"`
	// Timeout bounds one request.
	Timeout time.Duration `yaml:"timeout" env:"MILLRACE_SCHEMA_REGISTRY_TIMEOUT"`
}

// DefaultTimeout is the Timeout of a registry that was not configured
// otherwise.
const DefaultTimeout = 5 * time.Second

// Enabled says whether a registry is configured.
func (c *Config) Enabled() bool { return len(c.URLs) > 0 }

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

// Validate says which setting is wrong, what was wanted and what was got.
func (c *Config) Validate() error {
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("urls: want addresses such as http://127.0.0.1:8081, got %q", text)
		}
		if u.User != nil {
			return fmt.Errorf("urls: want no password in an address; user and password are settings of their own, got one in that of %s", u.Host)
		}
	}
	switch {
	case !c.Enabled() && (c.User != "" || c.Token != "" || c.CAFile != "" || c.CertFile != ""):
		return errors.New("urls: want the addresses of the registry, as other settings of it are given, got none")
	case c.Token != "" && (c.User != "" || c.Password != ""):
		return errors.New("token: want a token or a user and password, got both")
	case c.Password != "" && c.User == "":
		return errors.New("user: want one with the password, got none")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("cert_file, key_file: want both or neither, got one")
	case c.Timeout < 0 || c.Timeout > 5*time.Minute:
		return fmt.Errorf("timeout: want 0s to 5m, got %v", c.Timeout)
	}
	_, err := c.tls()
	return err
}

// tls makes what the files say; nil for the system's.
func (c *Config) tls() (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: want certificates in PEM, got none in %s", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
