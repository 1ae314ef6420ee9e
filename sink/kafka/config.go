package kafka

import (
	"fmt"
	"regexp"
	"time"

	"millrace/internal/kafkaclient"
	"millrace/sink"
)

// Config is how results are published to Kafka. How the brokers are reached is
// the configuration's section kafka.
type Config struct {
	// Enabled publishes results.
	Enabled bool `yaml:"enabled" env:"MILLRACE_PUBLISH_ENABLED"`
	// Name tells this engine's progress from others' in the same cluster: it is
	// part of the transactional id and of the consumer group.
	Name string `yaml:"name" env:"MILLRACE_PUBLISH_NAME"`
	// Prefix comes before the names of all topics.
	Prefix string `yaml:"prefix" env:"MILLRACE_PUBLISH_PREFIX"`
	// Delivery is exactly_once, by transactions, or at_least_once, by an
	// idempotent producer: readers need no read_committed then.
	Delivery string `yaml:"delivery" env:"MILLRACE_PUBLISH_DELIVERY"`
	// CommitInterval is the least time between two transactions, unless a
	// checkpoint waits for one.
	CommitInterval time.Duration `yaml:"commit_interval" env:"MILLRACE_PUBLISH_COMMIT_INTERVAL"`
	// TransactionTimeout is after how long a broker gives up a transaction whose
	// engine has died. Readers of committed records wait for it that long, unless
	// the engine starts again before.
	TransactionTimeout time.Duration `yaml:"transaction_timeout" env:"MILLRACE_PUBLISH_TRANSACTION_TIMEOUT"`
	// CreateTopics makes topics that are not there, with Partitions partitions
	// and ReplicationFactor replicas; -1 is the broker's default.
	CreateTopics      bool `yaml:"create_topics" env:"MILLRACE_PUBLISH_CREATE_TOPICS"`
	Partitions        int  `yaml:"partitions" env:"MILLRACE_PUBLISH_PARTITIONS"`
	ReplicationFactor int  `yaml:"replication_factor" env:"MILLRACE_PUBLISH_REPLICATION_FACTOR"`
	// MaxWaitingRecords and MaxWaitingMiB bound what waits for the brokers;
	// beyond either the engine waits.
	MaxWaitingRecords int `yaml:"max_waiting_records" env:"MILLRACE_PUBLISH_MAX_WAITING_RECORDS"`
	MaxWaitingMiB     int `yaml:"max_waiting_mib" env:"MILLRACE_PUBLISH_MAX_WAITING_MIB"`
	// MaxRecordKiB bounds a record: a larger one, which the brokers would refuse,
	// is left out, counted and logged.
	MaxRecordKiB int `yaml:"max_record_kib" env:"MILLRACE_PUBLISH_MAX_RECORD_KIB"`
	// Formats are what values are written in, by topic; the first that fits
	// counts, and JSON for a topic without one.
	Formats []Format `yaml:"formats"`
}

// Group is the consumer group of the progress, and the transactional id.
func (c *Config) Group() string { return "millrace-sink-" + c.Name }

// The kinds of delivery.
const (
	ExactlyOnce = "exactly_once"
	AtLeastOnce = "at_least_once"
)

// Default is what is right unless somebody knows better. Nothing is published.
func Default() Config {
	return Config{
		Name: "millrace", Prefix: "millrace.", Delivery: ExactlyOnce,
		CommitInterval: sink.DefaultInterval, TransactionTimeout: 30 * time.Second,
		CreateTopics: true, Partitions: -1, ReplicationFactor: -1,
		MaxWaitingRecords: sink.DefaultMaxRecords, MaxWaitingMiB: sink.DefaultMaxBytes >> 20, MaxRecordKiB: 900,
	}
}

var (
	nameForm   = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)
	prefixForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,100}$`)
)

// leastTransaction is more than a Publisher gives a commit: what it gives up is
// then older than a transaction that a broker has not given up.
const leastTransaction = sink.DefaultTimeout + 5*time.Second

// Validate says what is wrong with the settings. It wraps kafkaclient.ErrConfig.
func (c *Config) Validate() error {
	bad := func(setting, want string, got any) error {
		return fmt.Errorf("%w: publish.%s: want %s, got %v", kafkaclient.ErrConfig, setting, want, got)
	}
	switch {
	case !nameForm.MatchString(c.Name):
		return bad("name", "1 to 100 letters, digits, dots, _ and -", fmt.Sprintf("%q", c.Name))
	case !prefixForm.MatchString(c.Prefix):
		return bad("prefix", "up to 100 letters, digits, dots, _ and -", fmt.Sprintf("%q", c.Prefix))
	case c.Delivery != ExactlyOnce && c.Delivery != AtLeastOnce:
		return bad("delivery", ExactlyOnce+" or "+AtLeastOnce, fmt.Sprintf("%q", c.Delivery))
	case c.CommitInterval < time.Millisecond || c.CommitInterval > time.Minute:
		return bad("commit_interval", "1ms to 1m", c.CommitInterval)
	case c.TransactionTimeout < leastTransaction || c.TransactionTimeout > 15*time.Minute:
		return bad("transaction_timeout", leastTransaction.String()+" to 15m", c.TransactionTimeout)
	case c.Partitions < -1 || c.Partitions == 0 || c.Partitions > 100_000:
		return bad("partitions", "1 to 100000, or -1 for the broker's default", c.Partitions)
	case c.ReplicationFactor < -1 || c.ReplicationFactor == 0 || c.ReplicationFactor > 100:
		return bad("replication_factor", "1 to 100, or -1 for the broker's default", c.ReplicationFactor)
	case c.MaxWaitingRecords < 1 || c.MaxWaitingRecords > 1<<30:
		return bad("max_waiting_records", "1 to 1073741824", c.MaxWaitingRecords)
	case c.MaxWaitingMiB < 1 || c.MaxWaitingMiB > 1<<20:
		return bad("max_waiting_mib", "1 to 1048576", c.MaxWaitingMiB)
	case c.MaxRecordKiB < 1 || c.MaxRecordKiB > 1<<20:
		return bad("max_record_kib", "1 to 1048576", c.MaxRecordKiB)
	}
	for i := range c.Formats {
		if err := c.Formats[i].check(); err != nil {
			return err
		}
	}
	return nil
}
