package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/cmd/millrace/export"
	"millrace/internal/services"
	"millrace/source/kafka"
)

// exported runs the command.
func exported(t *testing.T, data string, args ...string) (out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := newCommand()
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	c.SetArgs(append([]string{"export", "--data", data}, args...))
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return stdout.String()
}

// TestExportToKafka: a server whose events came over HTTP moves to Kafka. One that
// reads the topic answers the same, whoever deleted what on the way, and no event
// goes twice however often the export is run.
func TestExportToKafka(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{})
	cfg := testConfig(t.TempDir())
	cfg.OutOfOrderness = 0
	first := started(t, cfg)
	stock(t, first.url)
	random := rand.New(rand.NewPCG(7, 7))
	mustExchange(t, http.MethodPost, first.url+"/v1/events?wait=applied", someEvents(random, 400, 0))
	mustExchange(t, http.MethodDelete, first.url+"/v1/items/i5", "")
	first.stop()

	file := filepath.Join(t.TempDir(), "millrace.yaml")
	text := fmt.Sprintf("kafka:\n  brokers: [%q]\n  tombstones: delete\n", broker.Address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	toTopic := func() (r export.Result) {
		t.Helper()
		if err := json.Unmarshal([]byte(exported(t, cfg.Data, "--config", file, "--topic", "user-events", "--partitions", "1", "--json")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := toTopic(); r.Events != 400 || r.Deletions != 1 || r.Before != 0 {
		t.Errorf("%+v", r)
	}
	if r := toTopic(); r.Events != 0 || r.Before != r.Block && r.Block != 0 {
		t.Errorf("again: %+v", r)
	}
	first = started(t, cfg)
	mustExchange(t, http.MethodPost, first.url+"/v1/events?wait=applied", someEvents(random, 300, 400))
	first.stop()
	if r := toTopic(); r.Events != 300 || r.Before == 0 {
		t.Errorf("what came since: %+v", r)
	}

	other := testConfig(t.TempDir())
	other.OutOfOrderness = 0
	second := started(t, other)
	stock(t, second.url)
	second.stop()
	other.Kafka.Brokers, other.Kafka.Tombstones = []string{broker.Address}, kafka.TombstoneDelete
	second = started(t, other)
	waitFor(t, "the topic to be read", func() bool {
		return strings.Contains(mustExchange(t, http.MethodGet, second.url+"/v1/stats", ""), `"total":700,"duplicates":0,`)
	})
	first = started(t, cfg)
	compareAnswers(t, first.url, second.url)
}

// Without a topic events are written as lines, which replay reads. Those of a
// deleted user are nobody's.
func TestExportLines(t *testing.T) {
	cfg := testConfig(t.TempDir())
	server := started(t, cfg)
	mustExchange(t, http.MethodPost, server.url+"/v1/events?wait=applied", someEvents(rand.New(rand.NewPCG(1, 1)), 200, 0))
	server.stop()
	lines := exported(t, cfg.Data)
	if n := strings.Count(lines, "\n"); n != 200 || !strings.Contains(lines, `"user_id":"u3"`) {
		t.Fatalf("%d lines", n)
	}
	again := testConfig(t.TempDir())
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCommand()
	c.SetOut(&bytes.Buffer{})
	c.SetErr(&bytes.Buffer{})
	c.SetArgs([]string{"replay", file, "--data", again.Data})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exported(t, again.Data) != lines {
		t.Error("what was replayed is not what was exported")
	}
	server = started(t, cfg)
	mustExchange(t, http.MethodDelete, server.url+"/v1/users/u3", "")
	server.stop()
	if left := exported(t, cfg.Data); strings.Contains(left, `"u3"`) || strings.Contains(left, "deleted") || left == "" {
		t.Error("events of a deleted user are exported")
	}
}
