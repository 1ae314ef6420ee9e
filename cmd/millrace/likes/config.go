// Package likes wires the likes service: its routes, the table of reactions, and
// the systems that these are taken to.
package likes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/catalog/database"
	"millrace/event"
	"millrace/internal/kafkaclient"
	"millrace/outbox"
	"millrace/outbox/counter"
	sinkkafka "millrace/sink/kafka"
)

// Config is the likes service. The table is in the database of the section
// catalog, or, with SQLite, in a file of its own in the data directory.
type Config struct {
	// Enabled answers POST /recommendation/likes and the like.
	Enabled bool `yaml:"enabled" env:"MILLRACE_LIKES_ENABLED"`
	// Redis is where contents are counted, redis://USER:PASSWORD@HOST:PORT/DB, or
	// rediss:// with TLS; empty counts nowhere. With RedisCluster it is a node of
	// a cluster, and &addr=HOST:PORT names more.
	Redis        database.Secret `yaml:"redis" env:"MILLRACE_LIKES_REDIS"`
	RedisCluster bool            `yaml:"redis_cluster" env:"MILLRACE_LIKES_REDIS_CLUSTER"`
	// KeyPrefix begins the key of a content's hash.
	KeyPrefix string `yaml:"key_prefix" env:"MILLRACE_LIKES_KEY_PREFIX"`
	// Topic gets a message for each reaction, if the section kafka names brokers;
	// empty sends none.
	Topic string `yaml:"topic" env:"MILLRACE_LIKES_TOPIC"`
	// EventsTo is where the recommender learns of reactions: log, that of an
	// engine in this process, or kafka, the topic EventsTopic.
	EventsTo    string `yaml:"events_to" env:"MILLRACE_LIKES_EVENTS_TO"`
	EventsTopic string `yaml:"events_topic" env:"MILLRACE_LIKES_EVENTS_TOPIC"`
	// Events are the types of the events that are made of reactions, by kind; one
	// that is not named, or "", makes none.
	Events map[string]string `yaml:"events"`
	// Name tells this service's progress in Kafka from others'.
	Name string `yaml:"name" env:"MILLRACE_LIKES_NAME"`
	// Interval is how often it is looked for what other processes have stored,
	// Lease after how long another process takes over from one that has gone.
	Interval time.Duration `yaml:"interval" env:"MILLRACE_LIKES_INTERVAL"`
	Lease    time.Duration `yaml:"lease" env:"MILLRACE_LIKES_LEASE"`
}

// Where events go.
const (
	ToLog   = "log"
	ToKafka = "kafka"
)

// Default is off; with Enabled and Redis set it is complete.
func Default() Config {
	return Config{
		KeyPrefix: counter.DefaultPrefix, Topic: "recommendation", EventsTo: ToLog, EventsTopic: "user-events", Name: "likes",
		Events:   map[string]string{"likes": "like", "reads": "view", "favorites": "like", "comments": "click"},
		Interval: outbox.DefaultInterval, Lease: outbox.DefaultLease,
	}
}

// Validate says what is wrong with the settings.
func (c *Config) Validate(types *event.Types, brokers *kafkaclient.Config) error {
	if !c.Enabled {
		return nil
	}
	bad := func(setting, want, got string) error {
		return fmt.Errorf("configuration: likes.%s: want %s, got %s", setting, want, got)
	}
	if _, err := c.redis(); err != nil && c.Redis != "" {
		return bad("redis", "redis://USER:PASSWORD@HOST:PORT/DB", "something else") // which may hold the password
	}
	for kind, name := range c.Events {
		if !slices.Contains(outbox.Kinds(), outbox.Kind(kind)) {
			return bad("events", fmt.Sprintf("names of %v", outbox.Kinds()), fmt.Sprintf("%q", kind))
		}
		if name != "" && !types.Has(name) {
			return bad("events."+kind, "one of "+strings.Join(types.Names(), ", "), fmt.Sprintf("%q", name))
		}
	}
	switch {
	case c.EventsTo != ToLog && c.EventsTo != ToKafka:
		return bad("events_to", ToLog+" or "+ToKafka, fmt.Sprintf("%q", c.EventsTo))
	case c.EventsTo == ToKafka && !brokers.Enabled():
		return bad("events_to", "log, as kafka.brokers names none", c.EventsTo)
	case c.EventsTo == ToKafka && c.EventsTopic == "":
		return bad("events_topic", "a topic", "nothing")
	case c.KeyPrefix == "":
		return bad("key_prefix", "a text such as "+counter.DefaultPrefix, "nothing")
	case c.Name == "" || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "":
		return bad("name", "letters, digits, dots, _ and -", fmt.Sprintf("%q", c.Name))
	case c.Interval < time.Millisecond || c.Interval > time.Minute:
		return bad("interval", "1ms to 1m", c.Interval.String())
	case c.Lease < time.Second || c.Lease > time.Hour:
		return bad("lease", "1s to 1h", c.Lease.String())
	}
	return nil
}

// Topics are those that are written to, if there are brokers.
func (c *Config) Topics() (list []string) {
	if c.Topic != "" {
		list = append(list, c.Topic)
	}
	if c.EventsTo == ToKafka {
		list = append(list, c.EventsTopic)
	}
	return list
}

// Sink are the settings of what writes to the topics.
func (c *Config) Sink() sinkkafka.Config {
	of := sinkkafka.Default()
	of.Enabled, of.Name, of.Prefix = true, c.Name, ""
	return of
}

// types are the event types of reactions.
func (c *Config) types() map[outbox.Kind]string {
	types := map[outbox.Kind]string{}
	for kind, name := range c.Events {
		types[outbox.Kind(kind)] = name
	}
	return types
}

// redis makes a client; nothing is connected yet. Its timeouts end what hangs.
func (c *Config) redis() (redis.UniversalClient, error) {
	if c.Redis == "" {
		return nil, errors.New("likes.redis is not set")
	}
	if c.RedisCluster {
		o, err := redis.ParseClusterURL(string(c.Redis))
		if err != nil {
			return nil, errors.New("likes.redis is not a URL of Redis") // whose error would tell the password
		}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(string(c.Redis))
	if err != nil {
		return nil, errors.New("likes.redis is not a URL of Redis")
	}
	return redis.NewClient(o), nil
}

// DiagnoseRedis tries what counting needs, without changing anything, and says
// in words what is wrong; nil where nothing is.
func (c *Config) DiagnoseRedis(ctx context.Context) error {
	client, err := c.redis()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	err = client.Ping(ctx).Err()
	if err == nil {
		script := "return redis.call('HEXISTS', KEYS[1], ARGV[1])"
		err = client.Eval(ctx, script, []string{c.KeyPrefix + "doctor"}, "likes").Err()
	}
	if err == nil {
		return nil
	}
	var name *net.DNSError
	var slow net.Error
	switch text := err.Error(); {
	case errors.As(err, &name):
		return fmt.Errorf("there is no host %s: correct likes.redis", name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refuses connections: start Redis, or correct the address in likes.redis")
	case strings.Contains(text, "WRONGPASS"):
		return errors.New("it refuses the user or the password in likes.redis")
	case strings.Contains(text, "NOAUTH"):
		return errors.New("it wants a password: redis://:PASSWORD@HOST:PORT in likes.redis")
	case strings.Contains(text, "NOPERM"):
		return fmt.Errorf("the user lacks a right (%s): it needs EVAL, HGET, HINCRBY and HSET on %s*, and GET and SET on millrace:likes:*", text, c.KeyPrefix)
	case strings.Contains(text, "WRONGTYPE"):
		return nil // of one key, which is another's
	case strings.Contains(text, "MOVED") || strings.Contains(text, "cluster support disabled"):
		return fmt.Errorf("it is a node of a cluster, or is not: correct likes.redis_cluster (%s)", text)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout():
		return errors.New("it does not answer in time: a firewall, a server that hangs, or a wrong address in likes.redis")
	}
	return fmt.Errorf("it can not be used: %w: check likes.redis", err)
}
