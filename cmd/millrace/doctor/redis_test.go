package doctor

import (
	"testing"
	"time"

	"millrace/internal/services"
	"millrace/view/redis"
)

func redisConfig(address string) redis.Config {
	c := redis.DefaultConfig()
	c.Addresses = []string{address}
	c.DialTimeout, c.Timeout = time.Second, time.Second
	return c
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := services.Redis(t, "--requirepass", services.Password)
	well := redisConfig(s.Address)
	well.Password = services.Password
	find(t, run(t, Redis(well)), s.Address, OK, "takes writes")
	secure := redisConfig(s.TLSAddress)
	secure.Password = services.Password
	secure.TLS = redis.TLS{Enabled: true, CA: s.CAFile}
	find(t, run(t, Redis(secure)), s.TLSAddress, OK, "takes writes")
	for name, c := range map[string]struct {
		change func(*redis.Config)
		want   string
	}{
		"no password":    {func(c *redis.Config) { c.Password = "" }, "set redis.password"},
		"wrong password": {func(c *redis.Config) { c.Password = "wrong" }, "check redis.username"},
		"no cluster":     {func(c *redis.Config) { c.Cluster = true }, "redis.cluster"},
		"no TLS":         {func(c *redis.Config) { c.TLS.Enabled = true }, "TLS"},
		"TLS wanted":     {func(c *redis.Config) { c.Addresses[0] = s.TLSAddress }, "redis.tls.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			config := well
			config.Addresses = []string{s.Address}
			c.change(&config)
			find(t, run(t, Redis(config)), config.Addresses[0], Failed, c.want)
		})
	}
	s.Pause()
	find(t, run(t, Redis(well)), s.Address, Failed, "in time")
	s.Resume()
	full := services.Redis(t, "--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru")
	find(t, run(t, Redis(redisConfig(full.Address))), full.Address, Warning, "allkeys-lru")
}
