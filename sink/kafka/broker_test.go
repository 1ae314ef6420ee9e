package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace/internal/services"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/sinktest"
)

// A real broker, with the transactions of 4.0 and with those of before.
func TestTransactionsOfABroker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		features map[string]int
	}{{"of the release", nil}, {"of brokers before 4.0", map[string]int{"transaction.version": 0}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := services.Kafka(t, services.KafkaOptions{Features: c.features})
			sinktest.Run(t, func(t *testing.T) sinktest.Target { return newTarget(t, []string{broker.Address}) })
		})
	}
}

// A real broker has no transaction of a sink that does without.
func TestAtLeastOnceOfABroker(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	sinktest.RunAtLeastOnce(t, func(t *testing.T) sinktest.Target { return atLeastOnce(newTarget(t, []string{broker.Address})) })
	transactions, err := broker.Admin().ListTransactions(t.Context(), nil, nil)
	if err != nil || len(transactions) > 0 {
		t.Errorf("%v, %v: want no transactions", transactions.TransactionalIDs(), err)
	}
}

// The broker is killed and stopped at any moment while records are published:
// each is there once, or at least once, in order, and the publisher goes on by
// itself.
func TestABrokerThatIsKilled(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	t.Run(ExactlyOnce, func(t *testing.T) { killBroker(t, broker, newTarget(t, []string{broker.Address}), sinktest.Same) })
	t.Run(AtLeastOnce, func(t *testing.T) {
		killBroker(t, broker, atLeastOnce(newTarget(t, []string{broker.Address})), sinktest.Cover)
	})
}

func killBroker(t *testing.T, broker *services.KafkaServer, g *target, agree func(t *testing.T, got, want []publish.Record)) {
	s := g.sink("killed")
	p := sink.NewPublisher(sink.Options{Sink: s, Log: "LOG", Words: s.Words, MaxRecords: 20_000})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()

	const blocks, each = 2500, 20
	var want []publish.Record
	put := make(chan struct{})
	go func() {
		defer close(put)
		for n := range uint64(blocks) {
			b := sink.Block{Number: n + 1, Time: 1_700_000_000_000}
			for i := range each {
				b.Records = append(b.Records, publish.Record{Topic: fmt.Sprint("t", i%2), Key: fmt.Sprint("k", i%7), Value: fmt.Appendf(nil, "%d.%d", n, i)})
			}
			want = append(want, b.Records...)
			p.Put(b)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for _, down := range []func(){broker.Kill, broker.Stop} {
		time.Sleep(1500 * time.Millisecond)
		down()
		waitFor(t, "words for health", func() bool { return p.Status().Words != "" })
		t.Logf("while it is down: %s", p.Status().Words)
		broker.Start()
		waitFor(t, "it goes on", func() bool { return p.Status().Words == "" })
	}
	<-put
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for p.Sync(ctx, blocks) != nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	status := p.Status()
	p.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("%+v", status)
	agree(t, g.Records(), want)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
