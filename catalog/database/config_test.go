package database_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/opener"
)

// TestValidate names the setting that is wrong, and no secret.
func TestValidate(t *testing.T) {
	const secret = "hunter2-hunter2"
	good := database.Default()
	if err := good.Validate("catalog"); err != nil {
		t.Fatal(err)
	}
	good.Driver, good.DSN, good.Password = database.MySQL, "mysql://shop:"+secret+"@db/shop", secret
	if err := good.Validate("catalog"); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*database.Config){
		"catalog.driver: want sqlite, mysql or postgres, got \"oracle\"":                  func(c *database.Config) { c.Driver = "oracle" },
		"catalog.dsn: want nothing, as driver is sqlite":                                  func(c *database.Config) { c.Driver = database.SQLite },
		"catalog.dsn: want postgres://USER:PASSWORD@HOST:PORT/DATABASE, got nothing":      func(c *database.Config) { c.Driver, c.DSN = database.PostgreSQL, "" },
		"catalog.max_open_connections: want 2 to 10000, got 1":                            func(c *database.Config) { c.MaxOpenConnections = 1 },
		"catalog.max_idle_connections: want 0 to max_open_connections, which is 8, got 9": func(c *database.Config) { c.MaxIdleConnections = 9 },
		"catalog.tls.enabled: want true":                                                  func(c *database.Config) { c.TLS.CAFile = "x" },
		"catalog.tls.cert_file: want a file together":                                     func(c *database.Config) { c.TLS.Enabled, c.TLS.KeyFile = true, "x" },
		"catalog.timeout: want 10ms to 24h0m0s, got 0s":                                   func(c *database.Config) { c.Timeout = 0 },
		"catalog.connection_max_lifetime: want 0s to 24h0m0s, got -1s":                    func(c *database.Config) { c.ConnectionMaxLifetime = -time.Second },
	}
	for want, change := range tests {
		c := good
		change(&c)
		err := c.Validate("catalog")
		want = strings.ReplaceAll(want, "24h,", "24h0m0s,")
		if !errors.Is(err, database.ErrConfig) || !strings.Contains(strings.ReplaceAll(err.Error(), "24h,", "24h0m0s,"), want) {
			t.Errorf("it says %v\nexpected %q", err, want)
		}
		if text := fmt.Sprintf("%v %+v %#v", err, c, c); strings.Contains(text, secret) {
			t.Errorf("the secret is told: %s", text)
		}
	}
}

// TestUnreadableDSN gives what is no DSN, which may hold a password all the
// same.
func TestUnreadableDSN(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, driver := range []string{database.MySQL, database.PostgreSQL} {
		for _, dsn := range []string{
			"mysql://shop:" + secret + "@host:notaport/x", "mysql://shop:" + secret + "%zz@host/x", "shop:" + secret + "@tcp(host", secret,
			"postgres://shop:" + secret + "@host:notaport/x", "mysql://shop:" + secret + "@host/",
		} {
			c := database.Default()
			c.Driver, c.DSN = driver, database.Secret(dsn)
			_, err := opener.Diagnose(t.Context(), "catalog", c)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s, %s: the secret is told: %v", driver, dsn, err)
			}
		}
	}
}
