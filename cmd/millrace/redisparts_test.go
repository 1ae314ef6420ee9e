package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/internal/services"
	"millrace/view/redis/redistest"
)

// TestFrontWithSQL: the catalogue is in a database, and the front reads it
// there.
func TestFrontWithSQL(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	cfg.Catalog = databasetest.Start(t, database.PostgreSQL).New(t)
	engine := started(t, cfg)
	side := startFront(t, cfg, engine.url)
	stock(t, side.url)
	random := rand.New(rand.NewPCG(1, 2))
	mustExchange(t, http.MethodPost, side.url+"/v1/events?wait=applied", someEvents(random, 500, 0))
	mustExchange(t, http.MethodPut, side.url+"/v1/items/i7", `{"title":"Another title","categories":["c1"]}`)
	if text := mustExchange(t, http.MethodGet, side.url+"/v1/items/i7", ""); !strings.Contains(text, "Another title") {
		t.Errorf("an item that was put: %s", text)
	}
	mustExchange(t, http.MethodDelete, side.url+"/v1/items/i9", "")
	if status, text, _, _ := exchange(http.MethodGet, side.url+"/v1/items/i9", ""); status != http.StatusNotFound {
		t.Errorf("an item that was deleted: %d %s", status, text)
	}
	settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
}

// lookedAt is what a profile says of what a user has looked at, the latest first.
type lookedAt struct {
	Browsed int `json:"browse_count"`
	Recent  []struct {
		ID string `json:"item_id"`
	} `json:"recent_items"`
}

func profileAt(t *testing.T, url, user string) (p lookedAt) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustExchange(t, http.MethodGet, url+"/v1/users/"+user+"/profile", "")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// postThroughAKill posts 60 events of u1, one after the other, while the broker is
// killed and started again, and counts those that were acknowledged. Others were
// refused in words, and are sent again.
func postThroughAKill(t *testing.T, url string, broker *services.KafkaServer) (acknowledged int) {
	t.Helper()
	var back sync.WaitGroup
	defer back.Wait()
	for i := range 60 {
		if i == 20 {
			broker.Kill()
			back.Go(func() {
				time.Sleep(3 * time.Second)
				broker.Start()
			})
		}
		one := fmt.Sprintf(`{"event_id":"b%d","user_id":"u1","item_id":"i%d","event_type":"view","timestamp":%d}`, i, i, 1_760_000_050_000+i*1000)
		status, text, _, err := exchange(http.MethodPost, url+"/v1/events", one)
		switch {
		case err != nil:
			t.Fatal(err)
		case status == http.StatusOK:
			acknowledged++
		case status != http.StatusServiceUnavailable || !strings.Contains(text, "kafka has not acknowledged it"):
			t.Fatalf("event %d: %d %s", i, status, text)
		default: // whether it is there or not is not known: sent again it counts once
			for range 300 {
				time.Sleep(50 * time.Millisecond)
				if status, _, _, _ = exchange(http.MethodPost, url+"/v1/events", one); status == http.StatusOK {
					acknowledged++
					break
				}
			}
		}
	}
	return acknowledged
}

// TestFrontSendsEventsToKafka: events that a front takes go to a topic, which
// the engine reads. Who waits finds them in the views; a broker that is killed
// loses none that was acknowledged.
func TestFrontSendsEventsToKafka(t *testing.T) {
	t.Parallel()
	broker := services.Kafka(t, services.KafkaOptions{Topics: map[string]int32{"user-events": 3}})
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	cfg.Kafka.Brokers = []string{broker.Address}
	cfg.OutOfOrderness = 0
	engine := started(t, cfg)
	stock(t, engine.url)
	side := startFront(t, cfg, engine.url)
	profileOf := func(user string) lookedAt { return profileAt(t, side.url, user) }
	for i := range 30 {
		user, item := fmt.Sprint("u", i%10), fmt.Sprint("i", i)
		text := mustExchange(t, http.MethodPost, side.url+"/v1/events?wait=applied",
			fmt.Sprintf(`{"event_id":"a%d","user_id":%q,"item_id":%q,"event_type":"view","timestamp":%d}`, i, user, item, 1_760_000_000_000+i*1000))
		if !strings.Contains(text, `"accepted":1`) {
			t.Fatal(text)
		}
		if p := profileOf(user); len(p.Recent) == 0 || p.Recent[0].ID != item {
			t.Fatalf("%s has looked at %s, and the profile begins with %+v", user, item, p.Recent)
		}
	}
	// A bad event is told, and the good one beside it is taken.
	text := mustExchange(t, http.MethodPost, side.url+"/v1/events", `{"user_id":"u1","item_id":"i1","event_type":"view","timestamp":1760000040000}`+"\n"+`{"user_id":"u1"}`)
	if !strings.Contains(text, `"accepted":1`) || !strings.Contains(text, "item_id") {
		t.Error(text)
	}
	acknowledged := 1 + postThroughAKill(t, side.url, broker) // of u1, besides the three above
	deadline := time.Now().Add(20 * time.Second)
	for profileOf("u1").Browsed != 3+acknowledged {
		if time.Now().After(deadline) {
			t.Fatalf("%d events were acknowledged, and %d count", 3+acknowledged, profileOf("u1").Browsed)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if acknowledged != 61 {
		t.Errorf("%d of 61 events were acknowledged in the end", acknowledged)
	}
	settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
}
