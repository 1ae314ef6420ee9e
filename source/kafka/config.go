// Package kafka reads topics of Apache Kafka into the event log, each record
// exactly once: how far a partition was read is stored with the events
// themselves, in the same block of the log.
package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/event"
	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/source/format"
)

// Config is what is read, and how.
type Config struct {
	// Config is how the brokers are reached.
	kafkaclient.Config `yaml:",inline"`
	// Topics are what is read; not given, they are DefaultTopics, of which those
	// are read that exist. An empty list reads nothing.
	Topics []Topic `yaml:"topics"`
	// Group is the consumer group: its committed offsets show lag to the tools
	// that everybody has. They are never trusted over the positions in the log.
	Group string `yaml:"group" env:"MILLRACE_KAFKA_GROUP"`
	// InstanceID names this member of the group, so that it has its partitions
	// again at once after a restart; not given, it is made of the names of the
	// machine and the data directory. No two members may have the same.
	InstanceID string `yaml:"instance_id" env:"MILLRACE_KAFKA_INSTANCE_ID"`
	// SessionTimeout is how long the group waits for a member that is gone before
	// others have its partitions.
	SessionTimeout time.Duration `yaml:"session_timeout" env:"MILLRACE_KAFKA_SESSION_TIMEOUT"`
	// Assignment is group, where the group's members share the partitions, or
	// fixed, where this one reads the configured partitions or all.
	Assignment string `yaml:"assignment" env:"MILLRACE_KAFKA_ASSIGNMENT"`
	// Start is where a partition begins that the log has no position of:
	// earliest, latest, stored (the group's committed offset, else earliest) or a
	// time in RFC 3339.
	Start string `yaml:"start" env:"MILLRACE_KAFKA_START"`
	// WhenLost is what is done where the records at a position are gone, because
	// they were deleted unread or the topic was made anew: stop (with reading the
	// partition), earliest or latest of what is there.
	WhenLost string `yaml:"when_lost" env:"MILLRACE_KAFKA_WHEN_LOST"`
	// PartitionedByUser says that all records of a user are in one partition. A
	// record is then late by the event time of its own partition only.
	PartitionedByUser bool `yaml:"partitioned_by_user" env:"MILLRACE_KAFKA_PARTITIONED_BY_USER"`
	// IdleTimeout is how long a partition without records holds event time back;
	// 0 means for ever.
	IdleTimeout time.Duration `yaml:"idle_timeout" env:"MILLRACE_KAFKA_IDLE_TIMEOUT"`
	// DeadLetterTopic gets the records that are no events, besides the dead
	// letters of the log; empty means none.
	DeadLetterTopic string `yaml:"dead_letter_topic" env:"MILLRACE_KAFKA_DEAD_LETTER_TOPIC"`
	// Tombstones is what a record with a key and no value is: dead_letter, or
	// delete, of the user or item that the key names (event.ParseDeletion).
	Tombstones string `yaml:"tombstones" env:"MILLRACE_KAFKA_TOMBSTONES"`
	// CommitInterval is the least time between two commits of offsets.
	CommitInterval time.Duration `yaml:"commit_interval" env:"MILLRACE_KAFKA_COMMIT_INTERVAL"`
	Fetch          Fetch         `yaml:"fetch"`
	// SchemaRegistry is where the schemas of Avro and Protobuf values are; without
	// one, topics name files with theirs.
	SchemaRegistry schemaregistry.Config `yaml:"schema_registry"`
}

// Fetch bounds what is fetched ahead.
type Fetch struct {
	// MaxMiB is the most that one fetch from one broker holds, as it is sent.
	MaxMiB int `yaml:"max_mib" env:"MILLRACE_KAFKA_FETCH_MAX_MIB"`
	// MaxPartitionMiB is the most of one partition in it.
	MaxPartitionMiB int `yaml:"max_partition_mib" env:"MILLRACE_KAFKA_FETCH_MAX_PARTITION_MIB"`
	// MaxConcurrent is the number of fetches that are under way or wait to be
	// taken, over all brokers.
	MaxConcurrent int `yaml:"max_concurrent" env:"MILLRACE_KAFKA_FETCH_MAX_CONCURRENT"`
	// MaxWait is how long a broker waits for records where there are none.
	MaxWait time.Duration `yaml:"max_wait" env:"MILLRACE_KAFKA_FETCH_MAX_WAIT"`
}

// Topic is a topic that is read.
type Topic struct {
	// Name of the topic.
	Name string `yaml:"topic"`
	// Config is what its values are written in, and Mapping makes events of them.
	format.Config  `yaml:",inline"`
	format.Mapping `yaml:",inline"`
	// OutOfOrderness is how late a record may be in event time before it counts
	// as late; not given, it is that of the whole configuration.
	OutOfOrderness *time.Duration `yaml:"out_of_orderness"`
	// Partitions are those that are read with the fixed assignment; none means
	// all, also those that are added.
	Partitions []int32 `yaml:"partitions"`

	optional bool // it need not exist
}

// The assignments.
const (
	AssignGroup = "group"
	AssignFixed = "fixed"
)

// Where partitions begin, and what is done when records are lost.
const (
	StartEarliest = "earliest"
	StartLatest   = "latest"
	StartStored   = "stored"
	LostStop      = "stop"
)

// What records without a value are.
const (
	TombstoneLetter = "dead_letter"
	TombstoneDelete = "delete"
)

// Default is the configuration in which nothing is set.
func Default() Config {
	return Config{
		Config: kafkaclient.Default(), Group: "millrace", SessionTimeout: 10 * time.Second, Assignment: AssignGroup, Start: StartEarliest, WhenLost: LostStop,
		PartitionedByUser: true, IdleTimeout: 30 * time.Second, Tombstones: TombstoneLetter, CommitInterval: time.Second,
		Fetch: Fetch{MaxMiB: 16, MaxPartitionMiB: 4, MaxConcurrent: 4, MaxWait: 500 * time.Millisecond},
	}
}

// DefaultTopics are the topics that are read where brokers are named and no
// topics are.
func DefaultTopics() []Topic {
	late := 10 * time.Second
	list := []Topic{
		{Name: "user-events", OutOfOrderness: &late},
		{Name: "user_browse_topic", Mapping: format.Mapping{EventType: event.TypeView}},
		{Name: "watched-movies", Mapping: format.Mapping{EventType: event.TypeView}},
		{Name: "rated-movies", Mapping: format.Mapping{EventType: event.TypeRating}},
		{Name: "favorite-movies", Mapping: format.Mapping{EventType: event.TypeLike}},
	}
	for i := range list {
		list[i].RecordTime, list[i].optional = true, true
	}
	return list
}

// Reads reports whether anything is read.
func (c *Config) Reads() bool { return c.Enabled() && len(c.topics()) > 0 }

// topics are those that are read.
func (c *Config) topics() []Topic {
	if c.Topics == nil {
		return DefaultTopics()
	}
	return c.Topics
}

// ErrConfig is the error of settings that cannot be used. Its text names the
// setting, what was wanted, and what was got.
var ErrConfig = kafkaclient.ErrConfig

func invalid(setting, want string, got any) error {
	return fmt.Errorf("%w: kafka.%s: want %s, got %q", ErrConfig, setting, want, fmt.Sprint(got))
}

// Validate says what is wrong with the settings, given the event types that are
// configured.
func (c *Config) Validate(types *event.Types) error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	if err := c.SchemaRegistry.Validate(); err != nil {
		return fmt.Errorf("%w: kafka.schema_registry: %w", ErrConfig, err)
	}
	_, isTime := c.startTime()
	switch {
	case c.Group == "":
		return invalid("group", "a name", "")
	case c.SessionTimeout < 6*time.Second || c.SessionTimeout > 30*time.Minute:
		return invalid("session_timeout", "6s to 30m, as brokers allow by default", c.SessionTimeout)
	case c.Assignment != AssignGroup && c.Assignment != AssignFixed:
		return invalid("assignment", "group or fixed", c.Assignment)
	case c.Start != StartEarliest && c.Start != StartLatest && c.Start != StartStored && !isTime:
		return invalid("start", "earliest, latest, stored or a time such as 2026-01-31T00:00:00Z", c.Start)
	case c.WhenLost != LostStop && c.WhenLost != StartEarliest && c.WhenLost != StartLatest:
		return invalid("when_lost", "stop, earliest or latest", c.WhenLost)
	case c.IdleTimeout < 0 || c.IdleTimeout > 24*time.Hour:
		return invalid("idle_timeout", "0s to 24h", c.IdleTimeout)
	case c.Tombstones != TombstoneLetter && c.Tombstones != TombstoneDelete:
		return invalid("tombstones", "dead_letter or delete", c.Tombstones)
	case c.CommitInterval < 10*time.Millisecond || c.CommitInterval > time.Hour:
		return invalid("commit_interval", "10ms to 1h", c.CommitInterval)
	}
	return errors.Join(c.Fetch.validate(), c.validateTopics(types))
}

func (f *Fetch) validate() error {
	switch {
	case f.MaxMiB < 1 || f.MaxMiB > 1024:
		return invalid("fetch.max_mib", "1 to 1024", f.MaxMiB)
	case f.MaxPartitionMiB < 1 || f.MaxPartitionMiB > f.MaxMiB:
		return invalid("fetch.max_partition_mib", "1 to fetch.max_mib", f.MaxPartitionMiB)
	case f.MaxConcurrent < 1 || f.MaxConcurrent > 1000:
		return invalid("fetch.max_concurrent", "1 to 1000", f.MaxConcurrent)
	case f.MaxWait < time.Millisecond || f.MaxWait > time.Minute:
		return invalid("fetch.max_wait", "1ms to 1m", f.MaxWait)
	}
	return nil
}

func (c *Config) validateTopics(types *event.Types) error {
	seen := map[string]bool{}
	for i, t := range c.Topics {
		at := "topics[" + strconv.Itoa(i) + "]"
		switch {
		case t.Name == "" || len(t.Name) > 249 || strings.ContainsAny(t.Name, "/ \t"):
			return invalid(at+".topic", "the name of a topic", t.Name)
		case seen[t.Name]:
			return invalid(at+".topic", "each topic once", t.Name)
		case t.Name == c.DeadLetterTopic:
			return invalid(at+".topic", "another topic than dead_letter_topic", t.Name)
		case t.OutOfOrderness != nil && (*t.OutOfOrderness < 0 || *t.OutOfOrderness > 24*time.Hour):
			return invalid(at+".out_of_orderness", "0s to 24h", *t.OutOfOrderness)
		case len(t.Partitions) > 0 && c.Assignment != AssignFixed:
			return invalid(at+".partitions", "none, or assignment fixed", t.Partitions)
		case slices.ContainsFunc(t.Partitions, func(p int32) bool { return p < 0 }):
			return invalid(at+".partitions", "numbers from 0", t.Partitions)
		}
		if err := errors.Join(t.Config.Validate(c.SchemaRegistry.Enabled()), t.Mapping.Validate(types)); err != nil {
			return fmt.Errorf("%w: kafka.%s: %w", ErrConfig, at, err)
		}
		seen[t.Name] = true
	}
	return nil
}

// startTime is the time that Start is, if it is one.
func (c *Config) startTime() (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, c.Start)
	return t, err == nil
}

// Deletion is what a record without a value deletes; ok is false if it is a record
// like any other.
func (c *Config) Deletion(key, value []byte) (change event.Change, ok bool) {
	if c.Tombstones != TombstoneDelete || value != nil || len(key) == 0 {
		return event.Change{}, false
	}
	change, bad := event.ParseDeletion(key)
	return change, bad == nil
}

// OutOfOrderness are the bounds of topics that have one of their own, by the
// name of the topic.
func (c *Config) OutOfOrderness() map[string]event.Duration {
	bounds := map[string]event.Duration{}
	for _, t := range c.topics() {
		if t.OutOfOrderness != nil {
			bounds[t.Name] = event.Duration(t.OutOfOrderness.Milliseconds())
		}
	}
	return bounds
}

const sourcePrefix = "kafka:"

// Source is the name of a partition in positions and in the runs of blocks.
func Source(topic string, partition int32) string {
	return sourcePrefix + topic + "/" + strconv.Itoa(int(partition))
}

// TopicOf is the topic of a partition's name; false for other sources.
func TopicOf(source string) (string, bool) {
	rest, ok := strings.CutPrefix(source, sourcePrefix)
	topic, _, parted := strings.Cut(rest, "/")
	return topic, ok && parted
}

// identity is the name under which it is kept which topic the positions are of.
// No partition has it: it ends with no number.
func identity(topic string) string { return sourcePrefix + topic + "/id" }
