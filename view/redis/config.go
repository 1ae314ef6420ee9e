package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config says which Redis views are kept in, and how. Redis is used where
// Addresses has something in it.
type Config struct {
	// Addresses are HOST:PORT: one, or some nodes of a cluster.
	Addresses []string `yaml:"addresses" env:"MILLRACE_REDIS_ADDRESSES"`
	// Cluster says that they are nodes of a Redis Cluster.
	Cluster bool `yaml:"cluster" env:"MILLRACE_REDIS_CLUSTER"`
	// Username and Password are those of an ACL user; a password without a name
	// is that of requirepass.
	Username string `yaml:"username" env:"MILLRACE_REDIS_USERNAME"`
	Password string `yaml:"password" env:"MILLRACE_REDIS_PASSWORD"`
	// DB is the number of the database; a cluster has only 0.
	DB  int `yaml:"db" env:"MILLRACE_REDIS_DB"`
	TLS TLS `yaml:"tls"`
	// Prefix begins all keys. Engines that share a Redis have different ones.
	Prefix string `yaml:"prefix" env:"MILLRACE_REDIS_PREFIX"`
	// TTL is how long Redis keeps what no engine refreshes, 0 for ever; ViewTTL
	// has others for single views. What lives is refreshed in time.
	TTL     time.Duration            `yaml:"ttl" env:"MILLRACE_REDIS_TTL"`
	ViewTTL map[string]time.Duration `yaml:"view_ttl"`
	// PoolSize bounds the connections to each node.
	PoolSize int `yaml:"pool_size" env:"MILLRACE_REDIS_POOL_SIZE"`
	// DialTimeout bounds a connection's beginning, Timeout the answer to one
	// request.
	DialTimeout time.Duration `yaml:"dial_timeout" env:"MILLRACE_REDIS_DIAL_TIMEOUT"`
	Timeout     time.Duration `yaml:"timeout" env:"MILLRACE_REDIS_TIMEOUT"`
	// Cache is how long a front may answer from what it has read of views that
	// all users share; 0 reads them for every request. What is known of a user
	// is always read.
	Cache time.Duration `yaml:"cache" env:"MILLRACE_REDIS_CACHE"`
	// CacheEntries bounds what is kept for that.
	CacheEntries int `yaml:"cache_entries" env:"MILLRACE_REDIS_CACHE_ENTRIES"`
	// RewriteRate is how many keys a second are written again after Redis has
	// lost some.
	RewriteRate int `yaml:"rewrite_rate" env:"MILLRACE_REDIS_REWRITE_RATE"`
	// MaxPending bounds the writes that wait for Redis. Beyond it they are
	// dropped, and everything is written again once Redis keeps up.
	MaxPending int `yaml:"max_pending" env:"MILLRACE_REDIS_MAX_PENDING"`
	// Engine is where fronts send what is not for them, http://HOST:PORT, and
	// EngineKey the API key that they send with it.
	Engine    string `yaml:"engine" env:"MILLRACE_REDIS_ENGINE"`
	EngineKey string `yaml:"engine_key" env:"MILLRACE_REDIS_ENGINE_KEY"`
	// EventsTopic is the topic to which fronts send events where brokers of Kafka
	// are configured: one that the engine reads as user-events.
	EventsTopic string `yaml:"events_topic" env:"MILLRACE_REDIS_EVENTS_TOPIC"`
}

// TLS says how connections are encrypted.
type TLS struct {
	Enabled bool `yaml:"enabled" env:"MILLRACE_REDIS_TLS"`
	// CA is a file of certificates that are trusted; empty for the system's.
	CA string `yaml:"ca" env:"MILLRACE_REDIS_TLS_CA"`
	// Cert and Key are files of a client's certificate.
	Cert string `yaml:"cert" env:"MILLRACE_REDIS_TLS_CERT"`
	Key  string `yaml:"key" env:"MILLRACE_REDIS_TLS_KEY"`
	// ServerName is the name in the server's certificate, if it is not the host
	// of the address.
	ServerName string `yaml:"server_name" env:"MILLRACE_REDIS_TLS_SERVER_NAME"`
}

// DefaultConfig uses no Redis; with Addresses set it is complete.
func DefaultConfig() Config {
	return Config{
		Prefix: "millrace", TTL: 7 * 24 * time.Hour, PoolSize: 32, DialTimeout: 2 * time.Second, Timeout: 500 * time.Millisecond,
		Cache: 200 * time.Millisecond, CacheEntries: 20_000, RewriteRate: 50_000, MaxPending: 500_000, EventsTopic: "user-events",
	}
}

// Enabled reports whether Redis is used.
func (c *Config) Enabled() bool { return len(c.Addresses) > 0 }

// ErrConfig is the error of settings that can not be. It names the setting,
// what was wanted and what was found.
var ErrConfig = errors.New("redis")

func wrong(setting, want string, got any) error {
	return fmt.Errorf("%w.%s: want %s, got %v", ErrConfig, setting, want, got)
}

// prefixes are what keys can begin with: no braces, which say what is hashed,
// and nothing that is special in a pattern of SCAN.
var prefixes = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// Validate returns an ErrConfig if the settings can not be.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	for _, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return wrong("addresses", "HOST:PORT", fmt.Sprintf("%q", a))
		}
	}
	switch {
	case !c.Cluster && len(c.Addresses) > 1:
		return wrong("addresses", "one address, or cluster: true", fmt.Sprint(len(c.Addresses), " addresses"))
	case c.DB < 0 || c.DB > 0 && c.Cluster:
		return wrong("db", "0 or more, and 0 in a cluster", c.DB)
	case c.Username != "" && c.Password == "":
		return wrong("password", "one, as there is a username", "none")
	case !prefixes.MatchString(c.Prefix):
		return wrong("prefix", "1 to 64 of A-Z, a-z, 0-9 and . _ : -", fmt.Sprintf("%q", c.Prefix))
	case c.PoolSize < 1 || c.PoolSize > 10_000:
		return wrong("pool_size", "1 to 10000", c.PoolSize)
	case c.DialTimeout < 10*time.Millisecond || c.DialTimeout > time.Minute:
		return wrong("dial_timeout", "10ms to 1m", c.DialTimeout)
	case c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute:
		return wrong("timeout", "10ms to 1m", c.Timeout)
	case c.Cache < 0 || c.Cache > time.Minute:
		return wrong("cache", "0s to 1m", c.Cache)
	case c.CacheEntries < 1 || c.CacheEntries > 10_000_000:
		return wrong("cache_entries", "1 to 10000000", c.CacheEntries)
	case c.RewriteRate < 100 || c.RewriteRate > 10_000_000:
		return wrong("rewrite_rate", "100 to 10000000", c.RewriteRate)
	case c.EventsTopic == "":
		return wrong("events_topic", "the name of a topic", "none")
	case c.MaxPending < 1000 || c.MaxPending > 1<<28:
		return wrong("max_pending", "1000 to 268435456", c.MaxPending)
	}
	return errors.Join(c.validateTTL(), c.validateEngine(), c.TLS.validate())
}

// leastTTL leaves time to refresh what lives.
const leastTTL = time.Minute

func (c *Config) validateTTL() error {
	if c.TTL != 0 && c.TTL < leastTTL {
		return wrong("ttl", "at least 1m, or 0s for ever", c.TTL)
	}
	for name, ttl := range c.ViewTTL {
		if ttl != 0 && ttl < leastTTL {
			return wrong("view_ttl."+name, "at least 1m, or 0s for ever", ttl)
		}
	}
	return nil
}

func (c *Config) validateEngine() error {
	if c.Engine == "" {
		return nil
	}
	if u, err := url.Parse(c.Engine); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return wrong("engine", "http://HOST:PORT", fmt.Sprintf("%q", c.Engine))
	}
	return nil
}

func (t *TLS) validate() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return wrong("tls.cert", "cert and key together, or neither", fmt.Sprintf("cert %q, key %q", t.Cert, t.Key))
	case !t.Enabled && (t.CA != "" || t.Cert != "" || t.ServerName != ""):
		return wrong("tls.enabled", "true, as there are settings of TLS", false)
	}
	return nil
}

// load makes what connections are encrypted with, nil for nothing.
func (t *TLS) load() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("%w.tls.ca: %w", ErrConfig, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrong("tls.ca", "a file with a certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("%w.tls.cert: %w", ErrConfig, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// ttl is how long an answer of a view is kept, in milliseconds, 0 for ever.
func (c *Config) ttl(name string) int64 {
	if ttl, ok := c.ViewTTL[name]; ok {
		return ttl.Milliseconds()
	}
	return c.TTL.Milliseconds()
}

// LeastTTL is the shortest time for which something is kept, 0 if all is kept
// for ever.
func (c *Config) LeastTTL() time.Duration {
	least := c.TTL
	for _, ttl := range c.ViewTTL {
		if ttl != 0 && (least == 0 || ttl < least) {
			least = ttl
		}
	}
	return least
}

// longestTTL is the longest one, 0 for ever.
func (c *Config) longestTTL() time.Duration {
	longest := c.TTL
	for _, ttl := range c.ViewTTL {
		if ttl == 0 || longest == 0 {
			return 0
		}
		longest = max(longest, ttl)
	}
	return longest
}
