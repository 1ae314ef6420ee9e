package redis_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/view/redis"
	"millrace/view/redis/redistest"
)

// TestDiagnose: real servers with something wrong, and what is said of them.
func TestDiagnose(t *testing.T) {
	plain := redistest.Start(t)
	locked := redistest.Start(t, "--requirepass", "secret")
	full := redistest.Start(t, "--maxmemory", "500kb", "--maxmemory-policy", "noeviction")
	evicting := redistest.Start(t, "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")
	host, port, _ := net.SplitHostPort(plain.Address)
	replica := redistest.Start(t, "--replicaof", host, port)
	node := redistest.Start(t, "--cluster-enabled", "yes")
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	strange := redistest.Start(t)
	strange.Do("SET", "millrace:{millrace}:state", "mine")
	hanging := redistest.Start(t)
	hanging.Pause()
	defer hanging.Resume()
	for _, c := range []struct {
		about, address string
		set            func(*redis.Config)
		grave          bool
		want           string // a part of the finding, "" if there is none
	}{
		{"a good one", plain.Address, nil, false, ""},
		{"nobody there", "127.0.0.1:1", nil, true, "nobody listens on 127.0.0.1:1"},
		{"no such name", "no-such-host.invalid:6379", nil, true, "not known to DNS"},
		{"a password is wanted", locked.Address, nil, true, "wants a password"},
		{"another password", locked.Address, func(c *redis.Config) { c.Password = "x" }, true, "refuses the user or the password"},
		{"the password", locked.Address, func(c *redis.Config) { c.Password = "secret" }, false, ""},
		{"TLS to a plain port", plain.Address, func(c *redis.Config) { c.TLS.Enabled = true }, true, "TLS"},
		{"no Redis at all", strings.TrimPrefix(page.URL, "http://"), nil, true, "no Redis"},
		{"a replica", replica.Address, nil, true, "is a replica"},
		{"a node of a cluster", node.Address, nil, true, "redis.cluster is false"},
		{"no cluster", plain.Address, func(c *redis.Config) { c.Cluster = true }, true, "set redis.cluster to false"},
		{"full", full.Address, nil, true, "maxmemory"},
		{"evicting", evicting.Address, nil, false, "maxmemory-policy is allkeys-lru"},
		{"something else under the prefix", strange.Address, nil, true, "was not written by this release"},
		{"hanging", hanging.Address, nil, true, "does not answer in time"},
		{"settings that can not be", plain.Address, func(c *redis.Config) { c.Prefix = "{}" }, true, "redis.prefix"},
	} {
		config := redis.DefaultConfig()
		config.Addresses, config.Timeout, config.DialTimeout = []string{c.address}, 300*time.Millisecond, time.Second
		if c.set != nil {
			c.set(&config)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		list := redis.Diagnose(ctx, config)
		cancel()
		if c.want == "" {
			if len(list) > 0 {
				t.Errorf("%s: %+v, want nothing", c.about, list)
			}
			continue
		}
		found := false
		for _, f := range list {
			found = found || strings.Contains(f.Text, c.want) && f.Grave == c.grave
		}
		if !found {
			t.Errorf("%s: %+v, want %q", c.about, list, c.want)
		}
	}
}
