package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/cmd/millrace/savepoint"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/internal/services"
	"millrace/operator/publish"
	"millrace/sink"
	"millrace/sink/kafka"
	"millrace/sink/sinktest"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// everything are the publications of a clean replay.
type everything struct{ records []publish.Record }

func (c *everything) Put(b sink.Block)                   { c.records = append(c.records, b.Records...) }
func (c *everything) Sync(context.Context, uint64) error { return nil }
func (c *everything) Err() error                         { return nil }
func (c *everything) End()                               {}

// cleanPublications is what a replay of a data directory's log publishes.
func cleanPublications(t *testing.T, data string, shards int) []publish.Record {
	t.Helper()
	log, err := eventlog.Open(filepath.Join(data, logFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	all := &everything{}
	_, err = embedded.Inspect(embedded.Options{
		Build: buildProgram, Shards: shards, Log: log, State: statememory.New(), Views: viewmemory.New(), Publications: all, Duplicates: duplicates(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.records
}

// committed is what a reader of committed records sees of all topics with the
// prefix.
func committed(t *testing.T, broker *services.KafkaServer, prefix string) []publish.Record {
	t.Helper()
	return publishedTo(t, broker, prefix, kgo.ReadCommitted())
}

// publishedTo is what a reader sees of all topics with the prefix.
func publishedTo(t *testing.T, broker *services.KafkaServer, prefix string, isolation kgo.IsolationLevel) []publish.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin := broker.Admin()
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(topics.Names(), func(n string) bool { return !strings.HasPrefix(n, prefix) })
	ends, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	client := broker.Client(kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(names...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	left := map[string]int64{} // the last offset that is to be read
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, "/", o.Partition)] = o.Offset - 1
		}
	})
	var list []publish.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			partition := fmt.Sprint(r.Topic, "/", r.Partition)
			if last, ok := left[partition]; ok && r.Offset >= last {
				delete(left, partition)
			}
			if !r.Attrs.IsControl() {
				list = append(list, publish.Record{Topic: strings.TrimPrefix(r.Topic, prefix), Key: string(r.Key), Value: r.Value})
			}
		})
	}
	return list
}

// publishTo are the settings of a server that publishes to a broker.
func publishTo(broker *services.KafkaServer) []string {
	return []string{
		"MILLRACE_KAFKA_BROKERS=" + broker.Address, "MILLRACE_PUBLISH_ENABLED=true", "MILLRACE_PUBLISH_INTERVAL=1s",
		"MILLRACE_PUBLISH_PARTITIONS=3", "MILLRACE_PUBLISH_COMMIT_INTERVAL=10ms",
	}
}

// describe has the catalogue know something of items and users, so that there are
// cohorts.
func (k *killing) describe() {
	var users, items bytes.Buffer
	for u := range killUsers {
		fmt.Fprintf(&users, `{"user_id":"u%d","age":%d,"gender":"%c"}`+"\n", u, 15+u*9, "fm"[u%2])
	}
	for i := range 101 {
		fmt.Fprintf(&items, `{"item_id":"i%d","categories":["c%d","d%d"]}`+"\n", i, i%5, i%3)
	}
	for path, body := range map[string]io.Reader{"/v1/users": &users, "/v1/items": &items} {
		r, err := http.Post(k.url+path, "application/jsonl", body)
		if err != nil {
			k.t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			k.t.Fatalf("%s: %s", path, r.Status)
		}
	}
}

// Server and broker are killed at random moments, also both, under load: readers
// of committed records see what a clean replay of the log publishes, each record
// once, in the order of its key. With at_least_once that holds for all readers,
// but for records that are there again.
func TestPublishingThroughKills(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	t.Run(kafka.ExactlyOnce, func(t *testing.T) {
		data := publishThroughKills(t, broker, 8, publishTo(broker))
		sinktest.Same(t, committed(t, broker, "millrace."), cleanPublications(t, data, 3))
	})
	t.Run(kafka.AtLeastOnce, func(t *testing.T) {
		data := publishThroughKills(t, broker, 4, append(publishTo(broker),
			"MILLRACE_PUBLISH_DELIVERY="+kafka.AtLeastOnce, "MILLRACE_PUBLISH_NAME=repeating", "MILLRACE_PUBLISH_PREFIX=repeated."))
		got := publishedTo(t, broker, "repeated.", kgo.ReadUncommitted())
		want := cleanPublications(t, data, 3)
		sinktest.Cover(t, got, want)
		t.Logf("%d of %d records are there again", len(got)-len(want), len(got))
	})
}

// publishThroughKills has a server publish, kills it and its broker, and returns
// the data directory.
func publishThroughKills(t *testing.T, broker *services.KafkaServer, rounds int, settings []string) string {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), data: t.TempDir(), binary: buildBinary(t), acked: map[int]bool{},
		environment: settings,
	}
	server := k.start()
	if !k.ready() {
		t.FailNow()
	}
	k.describe()
	_ = server.Process.Kill()
	_ = server.Wait()
	if os.Getenv("MILLRACE_SOAK") != "" {
		rounds *= 5
	}
	for round := range rounds {
		if round%4 != 3 {
			k.round(round)
			continue
		}
		var both sync.WaitGroup
		both.Go(func() { // the broker dies while the server works, or first, or after it
			time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond)
			broker.Kill()
			broker.Start()
		})
		k.round(round)
		both.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	k.settle()
	if n := len(cleanPublications(t, k.data, 1)); n < k.next {
		t.Errorf("%d records for %d events: too few to test anything", n, k.next)
	}
	return k.data
}

// health is the state of the server's component publishing.
func (k *killing) health() (status, reason string) {
	var body struct {
		Components struct {
			Systems map[string]struct{ Status, Reason string }
		}
	}
	r, err := http.Get(k.url + "/v1/health")
	if err != nil {
		return "", err.Error()
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return "", err.Error()
	}
	p := body.Components.Systems["publishing"]
	return p.Status, p.Reason
}

// eventually waits for something.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// While the broker is away the server starts, answers, and says what is wrong;
// when there is no more room it takes no events; it goes on by itself.
func TestPublishingWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	k := &killing{t: t, random: rand.New(rand.NewPCG(1, 1)), data: t.TempDir(), binary: buildBinary(t), acked: map[int]bool{}}
	k.environment = append(publishTo(broker), "MILLRACE_PUBLISH_MAX_WAITING_RECORDS=500", "MILLRACE_MAX_QUEUED_EVENTS=1000")
	broker.Stop()
	server := k.start()
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	eventually(t, "the server answers, and health says what is wrong", func() bool {
		status, reason := k.health()
		return status == "unavailable" && strings.Contains(reason, "refuses connections")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	refused := false
	for !refused && ctx.Err() == nil {
		patience, done := context.WithTimeout(ctx, 200*time.Millisecond) // what is taken is not visible
		_, _, err := k.send(patience, k.next, 100)
		done()
		k.next += 100
		refused = err != nil && strings.Contains(err.Error(), "429")
	}
	if _, reason := k.health(); !refused || !strings.Contains(reason, "the engine waits for room") {
		t.Errorf("refused %v, health says %q, want that the engine waits", refused, reason)
	}
	if k.next > 20_000 {
		t.Errorf("%d events were taken although 500 results may wait", k.next)
	}
	broker.Start()
	eventually(t, "publishing works", func() bool { status, _ := k.health(); return status == "ok" })
	eventually(t, "events are taken", func() bool { _, _, err := k.send(ctx, k.next, 100); return err == nil })
	k.next += 100
	_ = server.Process.Signal(os.Interrupt)
	if err := server.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
	sinktest.Same(t, committed(t, broker, "millrace."), cleanPublications(t, k.data, 1))
}

// A second server of the same name takes over, and the first stops and says why.
func TestPublishingOfTwoServersUnderOneName(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	binary := buildBinary(t)
	one := &killing{t: t, data: t.TempDir(), binary: binary, environment: publishTo(broker)}
	other := &killing{t: t, data: t.TempDir(), binary: binary, environment: publishTo(broker)}
	first := one.start()
	defer func() { _ = first.Process.Kill() }()
	if !one.ready() {
		return
	}
	eventually(t, "the first publishes", func() bool { status, _ := one.health(); return status == "ok" && len(committedSafely(broker)) > 0 })
	if _, _, err := one.send(t.Context(), 0, 10); err != nil {
		t.Fatal(err)
	}
	second := other.start()
	defer func() { _ = second.Process.Kill(); _ = second.Wait() }()
	if !other.ready() {
		return
	}
	eventually(t, "the second publishes", func() bool {
		_, _, err := other.send(t.Context(), 1000, 10)
		status, _ := other.health()
		return err == nil && status == "ok"
	})
	_, _, _ = one.send(t.Context(), 10, 10) // what it publishes is refused
	stopped := make(chan error, 1)
	go func() { stopped <- first.Wait() }()
	select {
	case err := <-stopped:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("the first server ended with %v, want exit code 1", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the first server goes on")
	}
	if status, reason := other.health(); status != "ok" {
		t.Errorf("the second: %s, %s", status, reason)
	}
}

// committedSafely are the groups of the broker.
func committedSafely(broker *services.KafkaServer) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := broker.Admin().ListGroups(ctx)
	if err != nil {
		return nil
	}
	return groups.Groups()
}

// Offline, state is not brought beyond what was published: it would be missing.
func TestSavepointOfADirectoryWithUnpublishedResults(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data = t.TempDir()
	cfg.Kafka.Brokers, cfg.Publish.Enabled = []string{"127.0.0.1:1"}, true // nobody listens there
	n, err := openNode(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{User: "u", Item: "i", Type: event.TypeView, Time: 1_700_000_000_000}
	ticket, err := n.appender.Submit(eventlog.Batch{Kind: eventlog.Events, Payload: event.AppendEvent(nil, &e), Count: 1})
	if err != nil || ticket.Err() != nil {
		t.Fatal(err, ticket.Err())
	}
	if err := n.close(); err == nil || !strings.Contains(err.Error(), "publish results") {
		t.Errorf("close: %v, want that results are not published", err)
	}
	command := newCommand()
	command.SetArgs([]string{"savepoint", "create", "--data", cfg.Data})
	command.SetOut(io.Discard)
	if err := command.ExecuteContext(t.Context()); !errors.Is(err, savepoint.ErrUnpublished) {
		t.Errorf("savepoint: %v, want ErrUnpublished", err)
	}
}
