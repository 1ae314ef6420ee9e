package redis

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		about string
		set   func(*Config)
		want  string // of the error, "" for none
	}{
		{"the defaults", func(*Config) {}, ""},
		{"a cluster", func(c *Config) { c.Cluster, c.Addresses = true, []string{"a:1", "b:2"} }, ""},
		{"for ever", func(c *Config) { c.TTL = 0 }, ""},
		{"no port", func(c *Config) { c.Addresses = []string{"localhost"} }, `redis.addresses: want HOST:PORT, got "localhost"`},
		{"two nodes", func(c *Config) { c.Addresses = []string{"a:1", "b:2"} }, "redis.addresses: want one address, or cluster: true, got 2 addresses"},
		{"a database of a cluster", func(c *Config) { c.Cluster, c.DB = true, 1 }, "redis.db: want 0 or more, and 0 in a cluster, got 1"},
		{"braces", func(c *Config) { c.Prefix = "{x}" }, `redis.prefix: want 1 to 64 of A-Z, a-z, 0-9 and . _ : -, got "{x}"`},
		{"a name alone", func(c *Config) { c.Username = "me" }, "redis.password: want one, as there is a username, got none"},
		{"short", func(c *Config) { c.TTL = time.Second }, "redis.ttl: want at least 1m, or 0s for ever, got 1s"},
		{"short of a view", func(c *Config) { c.ViewTTL = map[string]time.Duration{"heat": time.Second} }, "redis.view_ttl.heat: want at least 1m, or 0s for ever, got 1s"},
		{"no address of an engine", func(c *Config) { c.Engine = "localhost:8080" }, `redis.engine: want http://HOST:PORT, got "localhost:8080"`},
		{"half a certificate", func(c *Config) { c.TLS = TLS{Enabled: true, Cert: "x"} }, `redis.tls.cert: want cert and key together, or neither, got cert "x", key ""`},
		{"TLS that is off", func(c *Config) { c.TLS.CA = "x" }, "redis.tls.enabled: want true, as there are settings of TLS, got false"},
		{"pending", func(c *Config) { c.MaxPending = 1 }, "redis.max_pending: want 1000 to 268435456, got 1"},
		{"nothing at all", func(c *Config) { *c = Config{} }, ""},
	} {
		config := DefaultConfig()
		config.Addresses = []string{"127.0.0.1:6379"}
		c.set(&config)
		err := config.Validate()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.about, err, c.want)
		}
	}
}

func TestTTL(t *testing.T) {
	c := DefaultConfig()
	c.TTL, c.ViewTTL = time.Hour, map[string]time.Duration{"heat": time.Minute, "trending": 2 * time.Hour}
	if c.ttl("heat") != 60_000 || c.ttl("activity") != 3_600_000 || c.LeastTTL() != time.Minute || c.longestTTL() != 2*time.Hour {
		t.Errorf("%d, %d, %v, %v", c.ttl("heat"), c.ttl("activity"), c.LeastTTL(), c.longestTTL())
	}
	c.ViewTTL["profile"] = 0
	if c.LeastTTL() != time.Minute || c.longestTTL() != 0 {
		t.Errorf("with a view for ever: %v, %v", c.LeastTTL(), c.longestTTL())
	}
}
