package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/internal/services"
	"millrace/source/kafka"
	"millrace/view/redis/redistest"
)

// TestFrontsShareTheCatalogue: fronts without an engine write the catalogue
// themselves, and tell deletions to what computes through the topic of events.
// Here that is a server; jobs on Flink do the same with the same records.
func TestFrontsShareTheCatalogue(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"user-events": 3}})
	cfg := redisConfig(t, redistest.Start(t).Address)
	cfg.Kafka.Brokers, cfg.Kafka.Tombstones = []string{broker.Address}, kafka.TombstoneDelete
	engine := started(t, cfg)
	shared := cfg
	shared.Catalog = databasetest.Start(t, database.PostgreSQL).New(t)
	shared.Catalog.Shared = true
	fronts := []*testServer{startFront(t, shared, ""), startFront(t, shared, "")}
	one, other := fronts[0].url, fronts[1].url

	stock(t, one)
	mustExchange(t, http.MethodPut, one+"/v1/items/i1", `{"title":"First","categories":["c1"]}`)
	waitFor(t, "the other front's catalogue", func() bool {
		_, text, _, _ := exchange(http.MethodGet, other+"/v1/items/i1", "")
		return strings.Contains(text, `"First"`)
	})
	mustExchange(t, http.MethodPut, other+"/v1/items/i1", `{"title":"Second","categories":["c1"]}`)
	if text := mustExchange(t, http.MethodGet, other+"/v1/items/i1", ""); !strings.Contains(text, `"Second"`) {
		t.Errorf("who has put an item does not find it: %s", text)
	}
	for i := range 60 {
		mustExchange(t, http.MethodPost, fronts[i%2].url+"/v1/events",
			fmt.Sprintf(`{"event_id":"e%d","user_id":"u%d","item_id":"i%d","event_type":"like","timestamp":%d}`, i, i%3, i%4, 1_760_000_000_000+i*1000))
	}
	trending := func() (ids []string) {
		var list struct {
			Items []struct {
				ID string `json:"item_id"`
			}
		}
		if err := json.Unmarshal([]byte(mustExchange(t, http.MethodGet, one+"/v1/trending", "")), &list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			ids = append(ids, item.ID)
		}
		return ids
	}
	waitFor(t, "all four items to be trending", func() bool { return len(trending()) == 4 })

	text := mustExchange(t, http.MethodDelete, other+"/v1/users/u1", "")
	if !strings.Contains(text, `"log_redacted":false,"dead_letters_purged":false`) {
		t.Errorf("topics keep what they have: %s", text)
	}
	for _, url := range []string{one, other, engine.url} {
		waitFor(t, "the user to be gone", func() bool {
			status, _, _, _ := exchange(http.MethodGet, url+"/v1/users/u1/profile", "")
			return status == http.StatusNotFound
		})
	}
	mustExchange(t, http.MethodDelete, one+"/v1/items/i2", "")
	if status, text, _, _ := exchange(http.MethodGet, one+"/v1/items/i2", ""); status != http.StatusNotFound {
		t.Errorf("an item that was deleted: %d %s", status, text)
	}
	waitFor(t, "a deleted item to leave the list", func() bool { return !slices.Contains(trending(), "i2") })
	waitFor(t, "the stored events to be redacted", func() bool { return strings.Contains(engine.log.String(), "events were redacted") })
	engine.stop()
	requireNoEventsOf(t, filepath.Join(cfg.Data, "log"), "u1")
}

func requireNoEventsOf(t *testing.T, dir, user string) {
	t.Helper()
	log, err := eventlog.Open(dir, eventlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	events := 0
	if err := log.Scan(1, func(b *eventlog.Block) error {
		if b.Kind != eventlog.Events {
			return nil
		}
		r := wire.NewReader(b.Payload)
		for range b.Count {
			var e event.Event
			event.ReadEvent(r, &e, nil)
			events++
			if e.User == user {
				t.Errorf("block %d still has an event of %s", b.Number, user)
			}
		}
		return r.Err()
	}); err != nil || events != 60 {
		t.Errorf("%d events, %v", events, err)
	}
}

// A server with an engine does not write a catalogue that is everybody's, and
// nobody does whose deletions would not reach what computes.
func TestSharedCataloguesThatAreRefused(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Catalog.Driver, cfg.Catalog.DSN, cfg.Catalog.Shared = database.PostgreSQL, "postgres://u@127.0.0.1:1/x", true
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), "kafka.tombstones: delete") {
		t.Errorf("dead letters: %v", err)
	}
	cfg.Kafka.Tombstones = kafka.TombstoneDelete
	if err := cfg.validate(); err != nil {
		t.Error(err)
	}
	if _, err := openNode(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "catalog.shared: want false") {
		t.Errorf("an engine: %v", err)
	}
}
