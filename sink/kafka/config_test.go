package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/internal/kafkaclient"
)

func TestValidate(t *testing.T) {
	good := Default()
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, change := range map[string]func(*Config){
		`publish.name: want 1 to 100 letters, digits, dots, _ and -, got ""`:   func(c *Config) { c.Name = "" },
		`publish.prefix: want up to 100 letters`:                               func(c *Config) { c.Prefix = "a b" },
		`publish.delivery: want exactly_once or at_least_once, got "twice"`:    func(c *Config) { c.Delivery = "twice" },
		`publish.commit_interval: want 1ms to 1m, got 0s`:                      func(c *Config) { c.CommitInterval = 0 },
		`publish.transaction_timeout: want 25s to 15m, got 1s`:                 func(c *Config) { c.TransactionTimeout = time.Second },
		`publish.partitions: want 1 to 100000, or -1 for the broker's default`: func(c *Config) { c.Partitions = 0 },
		`publish.replication_factor: want 1 to 100, or -1 for the broker's`:    func(c *Config) { c.ReplicationFactor = 0 },
		`publish.max_waiting_records: want 1 to 1073741824, got 0`:             func(c *Config) { c.MaxWaitingRecords = 0 },
		`publish.max_waiting_mib: want 1 to 1048576, got -1`:                   func(c *Config) { c.MaxWaitingMiB = -1 },
		`publish.max_record_kib: want 1 to 1048576, got 0`:                     func(c *Config) { c.MaxRecordKiB = 0 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); !errors.Is(err, kafkaclient.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
