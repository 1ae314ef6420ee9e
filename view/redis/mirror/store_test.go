package mirror_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/operator"
	"millrace/view"
	"millrace/view/redis"
	"millrace/view/redis/mirror"
	"millrace/view/redis/reader"
	"millrace/view/redis/redistest"
	"millrace/view/viewtest"
)

// patience is how long a test waits for something that takes milliseconds.
const patience = 20 * time.Second

// decoders are those of the views of viewtest.
func decoders() view.Decoders {
	d := view.Decoders{}
	for _, name := range append([]string{"gamma"}, viewtest.Views...) {
		d[name] = viewtest.Decode
	}
	return d
}

var prefixes atomic.Int64

// testConfig is that of a prefix which nobody else uses.
func testConfig(addresses ...string) redis.Config {
	c := redis.DefaultConfig()
	c.Addresses, c.Cluster = addresses, len(addresses) > 1
	c.Prefix = fmt.Sprint("test", prefixes.Add(1))
	c.Cache = 0
	return c
}

func newClient(t testing.TB, c redis.Config) *redis.Client {
	t.Helper()
	client, err := redis.NewClient(c, decoders())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func testLogger() *slog.Logger {
	if os.Getenv("MILLRACE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// pair is a mirror and a reader of what it writes: as one store, publishing to
// one and reading from the other.
type pair struct {
	*mirror.Mirror
	client *redis.Client
	reader *reader.Reader
	index  *catalog.Index
	t      testing.TB
}

func newPair(t testing.TB, c redis.Config, eager map[string]bool) *pair {
	t.Helper()
	client := newClient(t, c)
	p := &pair{client: client, index: catalog.NewIndex(), t: t}
	p.Mirror = mirror.New(mirror.Options{Client: client, Owner: redis.Owner{ID: t.Name(), Host: "test"}, Eager: eager, Logger: testLogger()})
	p.Start(p.index)
	p.reader = reader.New(reader.Options{Client: client, Eager: eager})
	t.Cleanup(p.reader.Close)
	p.settle(0)
	return p
}

// settle waits until readers see a block, in all views.
func (p *pair) settle(block uint64) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := p.reader.Wait(ctx, func(s redis.State) bool {
		return s.Phase == redis.Live && s.Block >= block && s.Shared >= block
	})
	if err != nil {
		p.t.Fatalf("block %d is not seen: %v; %+v; mirror: %+v", block, err, p.reader.State(), p.Status())
	}
}

// Publish returns when readers see the block.
func (p *pair) Publish(block uint64, streamTime event.Time, writes ...[]operator.ViewWrite) error {
	before, _, err := p.client.State(context.Background())
	if err != nil {
		return err
	}
	if err := p.Mirror.Publish(block, streamTime, writes...); err != nil {
		return err
	}
	if before.Block < block {
		p.settle(block)
		return nil
	}
	// The same block again: there is nothing but time to tell by.
	time.Sleep(5 * time.Millisecond)
	for s := p.Status(); s.Behind > 0; s = p.Status() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(5 * time.Millisecond)
	return nil
}

func (p *pair) Snapshot() view.Snapshot { return p.reader.Snapshot() }

func (p *pair) Each(name string, fn func(key string, v operator.Value) error) error {
	return p.client.Each(context.Background(), name, fn)
}

func (p *pair) Len(name string) int {
	n := 0
	if err := p.Each(name, func(string, operator.Value) error { n++; return nil }); err != nil {
		p.t.Error(err)
	}
	return n
}

var eager = map[string]bool{"alpha": true, "beta": true}

func TestMirrorInMemory(t *testing.T) {
	server := redistest.Start(t)
	viewtest.Run(t, func(t *testing.T) view.Store {
		c := testConfig(server.Address)
		c.MaxPending = 1000 // of what waits for Redis, memory may grow by so much
		m := mirror.New(mirror.Options{Client: newClient(t, c), Owner: redis.Owner{ID: "test"}, Eager: eager})
		m.Start(catalog.NewIndex())
		return m
	})
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	viewtest.RunKeyed(t, func(t *testing.T) view.Store { return newPair(t, testConfig(server.Address), eager) })
}

func TestCluster(t *testing.T) {
	var addresses []string
	for _, node := range redistest.Cluster(t) {
		addresses = append(addresses, node.Address)
	}
	viewtest.RunKeyed(t, func(t *testing.T) view.Store { return newPair(t, testConfig(addresses...), eager) })
}
