package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafkaclient"
	"millrace/internal/schemaregistry"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/sinktest"
)

// target is a cluster, with topics of its own.
type target struct {
	t       *testing.T
	brokers kafkaclient.Config
	config  Config

	registry *schemaregistry.Client // nil if there is none
}

func newTarget(t *testing.T, addresses []string) *target {
	g := &target{t: t, brokers: kafkaclient.Default(), config: Default()}
	g.brokers.Brokers = addresses
	g.config.Partitions, g.config.ReplicationFactor = 3, 1
	g.config.Prefix = "test" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")) + "."
	g.config.Prefix = publish.TopicPart(g.config.Prefix) + "."
	return g
}

func (g *target) New(name string) sink.Sink { return g.sink(name) }

func (g *target) sink(name string) *Sink {
	c := g.config
	c.Name = publish.TopicPart(g.t.Name()) + "-" + name
	s, err := New(c, g.brokers, g.registry, slog.New(slog.DiscardHandler))
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// Records reads all that is committed to the target's topics; of sinks that do
// without transactions that is all that is there, as any reader sees it.
func (g *target) Records() []publish.Record {
	isolation := kgo.ReadCommitted()
	if g.config.Delivery == AtLeastOnce {
		isolation = kgo.ReadUncommitted()
	}
	var list []publish.Record
	for _, r := range g.read(isolation) {
		list = append(list, publish.Record{Topic: strings.TrimPrefix(r.Topic, g.config.Prefix), Key: string(r.Key), Value: r.Value})
	}
	return list
}

func (g *target) read(isolation kgo.IsolationLevel) []*kgo.Record {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 60*time.Second)
	defer cancel()
	options, err := g.brokers.Options()
	if err != nil {
		g.t.Fatal(err)
	}
	admin, err := kadm.NewOptClient(options...)
	if err != nil {
		g.t.Fatal(err)
	}
	defer admin.Close()
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	names := slices.DeleteFunc(topics.Names(), func(n string) bool { return !strings.HasPrefix(n, g.config.Prefix) })
	if len(names) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(options, kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(names...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		g.t.Fatal(err)
	}
	defer client.Close()
	ends, err := admin.ListEndOffsets(ctx, names...) // what was committed just now has no markers yet
	if err != nil {
		g.t.Fatal(err)
	}
	left, done := 0, map[string]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
		}
	})
	var list []*kgo.Record
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			g.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			partition := fmt.Sprint(r.Topic, "/", r.Partition)
			if end, _ := ends.Lookup(r.Topic, r.Partition); r.Offset >= end.Offset-1 && end.Offset > 0 && !done[partition] {
				done[partition] = true
				left--
			}
			if !r.Attrs.IsControl() {
				list = append(list, r)
			}
		})
	}
	return list
}

func fake(t *testing.T) *target {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return newTarget(t, cluster.ListenAddrs())
}

func TestTransactionsOfAFakeCluster(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return fake(t) })
}

// atLeastOnce has a target's sinks do without transactions.
func atLeastOnce(g *target) *target {
	g.config.Delivery = AtLeastOnce
	return g
}

// Without transactions a reader of all records sees each at least once.
func TestAtLeastOnceOfAFakeCluster(t *testing.T) {
	sinktest.RunAtLeastOnce(t, func(t *testing.T) sinktest.Target { return atLeastOnce(fake(t)) })
}

type publishRecord = publish.Record

func record(topic, value string) publish.Record {
	return publish.Record{Topic: topic, Key: "k", Value: []byte(value)}
}
