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

	"millrace/serve"
	"millrace/view/redis/redistest"
)

// TestFrontsAnswerAsTheEngine: two fronts, all that can be asked, and events
// and catalogue writes that are sent to a front.
func TestFrontsAnswerAsTheEngine(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	engine := started(t, cfg)
	side, other := startFront(t, cfg, engine.url), startFront(t, cfg, engine.url)
	random := rand.New(rand.NewPCG(1, 2))
	stock(t, side.url)
	for i := range 20 {
		mustExchange(t, http.MethodPost, side.url+"/v1/events?wait=applied", someEvents(random, 50, i*50))
	}
	client := settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	compareAnswers(t, engine.url, other.url)

	// Who waited for an event finds it, at any front.
	for i := range 50 {
		user, item := fmt.Sprint("u", random.IntN(redisUsers)), fmt.Sprint("i", random.IntN(redisItems))
		mustExchange(t, http.MethodPost, side.url+"/v1/events?wait=applied",
			fmt.Sprintf(`{"user_id":%q,"item_id":%q,"event_type":"view","timestamp":%d}`, user, item, 1_760_001_000_000+i*1000))
		var profile struct {
			Recent []struct {
				ID string `json:"item_id"`
			} `json:"recent_items"`
		}
		if err := json.Unmarshal([]byte(mustExchange(t, http.MethodGet, other.url+"/v1/users/"+user+"/profile", "")), &profile); err != nil {
			t.Fatal(err)
		}
		if len(profile.Recent) == 0 || profile.Recent[0].ID != item {
			t.Fatalf("%s has looked at %s, and the profile begins with %+v", user, item, profile.Recent)
		}
	}
	// Catalogue writes are visible when they are answered.
	mustExchange(t, http.MethodPut, side.url+"/v1/items/i7", `{"title":"Another title","categories":["c1"]}`)
	if text := mustExchange(t, http.MethodGet, side.url+"/v1/items/i7", ""); !strings.Contains(text, "Another title") {
		t.Errorf("an item that was put: %s", text)
	}
	mustExchange(t, http.MethodDelete, side.url+"/v1/items/i9", "")
	mustExchange(t, http.MethodDelete, side.url+"/v1/users/u4", "")
	for _, path := range []string{"/v1/items/i9", "/v1/users/u4", "/v1/users/u4/profile"} {
		if status, text, _, _ := exchange(http.MethodGet, side.url+path, ""); status != http.StatusNotFound {
			t.Errorf("%s was deleted: %d %s", path, status, text)
		}
	}
	settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	compareAnswers(t, engine.url, other.url)
	engine.stop()
	compareViews(t, cfg, client)
}

// TestRedisLosesEverything: under load Redis is killed and started empty, is
// flushed, and does not answer for a while. In the end it has what the engine
// has.
func TestRedisLosesEverything(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	cfg.Redis.Timeout = 100 * time.Millisecond
	engine := started(t, cfg)
	side := startFront(t, cfg, engine.url)
	stock(t, engine.url)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		random := rand.New(rand.NewPCG(3, 4))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if status, text, _, err := exchange(http.MethodPost, engine.url+"/v1/events", someEvents(random, 20, i*20)); err != nil || status != http.StatusOK {
				t.Errorf("events while redis is gone: %d %v %s", status, err, text)
				return
			}
			if i%100 == 50 {
				mustExchange(t, http.MethodDelete, fmt.Sprintf("%s/v1/users/u%d", engine.url, random.IntN(redisUsers)), "")
			}
		}
	})
	for round := range 3 {
		time.Sleep(200 * time.Millisecond)
		server.Kill()
		time.Sleep(time.Duration(100+300*round) * time.Millisecond)
		server.Start()
		time.Sleep(300 * time.Millisecond)
		server.Do("FLUSHALL")
		time.Sleep(200 * time.Millisecond)
		server.Pause()
		time.Sleep(300 * time.Millisecond)
		server.Resume()
	}
	close(stop)
	load.Wait()
	client := settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	engine.stop()
	compareViews(t, cfg, client)
	if t.Failed() {
		t.Logf("%s", engine.log)
	}
}

// TestWhatDiedDuringAnOutage: Redis keeps its data over an outage in which a
// user and an item are deleted. They are gone afterwards.
func TestWhatDiedDuringAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	cfg := redisConfig(t, server.Address)
	engine := started(t, cfg)
	stock(t, engine.url)
	random := rand.New(rand.NewPCG(5, 6))
	mustExchange(t, http.MethodPost, engine.url+"/v1/events?wait=applied", someEvents(random, 500, 0))
	settled(t, cfg, engine.url)
	server.Kill()
	mustExchange(t, http.MethodDelete, engine.url+"/v1/users/u3", "")
	mustExchange(t, http.MethodDelete, engine.url+"/v1/items/i3", "")
	mustExchange(t, http.MethodPost, engine.url+"/v1/events?wait=applied", someEvents(rand.New(rand.NewPCG(7, 8)), 50, 600))
	engine.stop() // and the engine has no memory of what Redis has either
	server.Start()
	engine = started(t, cfg)
	client := settled(t, cfg, engine.url)
	side := startFront(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	engine.stop()
	compareViews(t, cfg, client)
}

// TestFrontWithoutRedis: a front starts without Redis, says what is missing,
// fails fast, and goes on by itself.
func TestFrontWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	server.Kill()
	side := startFront(t, cfg, "")
	check := func(about string, wantStatus int, words ...string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			began := time.Now()
			status, text, header, err := exchange(http.MethodGet, side.url+"/v1/users/u1/recommendations", "")
			took := time.Since(began)
			wrong := err != nil || status != wantStatus || wantStatus == http.StatusServiceUnavailable && header.Get("Retry-After") == ""
			for _, w := range words {
				wrong = wrong || !strings.Contains(text, w)
			}
			if !wrong && took < 100*time.Millisecond {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d in %v: %s; want %d with %q", about, status, took, text, wantStatus, words)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	health := func(about string, wantStatus int, words string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			status, text, _, _ := exchange(http.MethodGet, side.url+"/v1/health", "")
			if status == wantStatus && strings.Contains(text, words) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: health is %d %s, want %d with %q", about, status, text, wantStatus, words)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	check("redis is down", http.StatusServiceUnavailable, "redis refuses connections")
	health("redis is down", http.StatusServiceUnavailable, "redis refuses connections")
	server.Start()
	check("redis is empty", http.StatusServiceUnavailable, "no engine has written any")
	engine := started(t, cfg)
	stock(t, engine.url)
	check("all is there", http.StatusOK, "recommendations")
	health("all is there", http.StatusOK, `"status":"ok"`)
	if status, text, _, _ := exchange(http.MethodPost, side.url+"/v1/events", "{}"); status != http.StatusServiceUnavailable || !strings.Contains(text, "redis.engine") {
		t.Errorf("events that nobody takes: %d %s", status, text)
	}
	server.Pause()
	check("redis hangs", http.StatusServiceUnavailable, "does not answer in time")
	server.Resume()
	check("redis goes on", http.StatusOK)
	server.Kill()
	check("redis was killed", http.StatusServiceUnavailable, "redis refuses connections")
	server.Start()
	check("redis is filled again", http.StatusOK)
	engine.stop()
	time.Sleep(3500 * time.Millisecond)
	check("the engine has stopped", http.StatusOK)
	if _, _, header, _ := exchange(http.MethodGet, side.url+"/v1/trending", ""); !strings.Contains(header.Get(serve.StaleHeader), "not been heard of") {
		t.Errorf("answers are not marked as old: %v", header)
	}
	health("the engine has stopped", http.StatusOK, "not been heard of")
}

// TestTwoEnginesWithOnePrefix: the second is kept away, and both go on.
func TestTwoEnginesWithOnePrefix(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg := redisConfig(t, server.Address)
	first := started(t, cfg)
	settled(t, cfg, first.url)
	mistaken := cfg
	mistaken.Data = t.TempDir()
	second := started(t, mistaken)
	deadline := time.Now().Add(5 * time.Second)
	for {
		status, text, _, _ := exchange(http.MethodGet, second.url+"/v1/health", "")
		if status == http.StatusOK && strings.Contains(text, "another engine writes under the same prefix") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the second engine does not notice: %d %s", status, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	random := rand.New(rand.NewPCG(1, 9))
	for i := range 10 {
		mustExchange(t, http.MethodPost, first.url+"/v1/events?wait=applied", someEvents(random, 20, i*20))
		mustExchange(t, http.MethodPost, second.url+"/v1/events?wait=applied", someEvents(random, 20, i*20))
	}
	client := settled(t, cfg, first.url)
	second.stop()
	first.stop()
	compareViews(t, cfg, client)
}

// TestFrontOfACluster: a real cluster of three nodes, of which one is lost with
// all that it has.
func TestFrontOfACluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.Cluster(t)
	cfg := redisConfig(t, nodes[0].Address, nodes[1].Address, nodes[2].Address)
	engine := started(t, cfg)
	side := startFront(t, cfg, engine.url)
	stock(t, side.url)
	random := rand.New(rand.NewPCG(11, 12))
	mustExchange(t, http.MethodPost, side.url+"/v1/events?wait=applied", someEvents(random, 500, 0))
	settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	for _, node := range nodes[1:] {
		node.Kill()
		node.Start()
		mustExchange(t, http.MethodPost, engine.url+"/v1/events?wait=applied", someEvents(random, 50, 600))
		time.Sleep(2 * time.Second) // until the loss has been noticed
		settled(t, cfg, engine.url)
		compareAnswers(t, engine.url, side.url)
	}
	nodes[0].Do("FLUSHALL")
	time.Sleep(2 * time.Second)
	client := settled(t, cfg, engine.url)
	compareAnswers(t, engine.url, side.url)
	engine.stop()
	compareViews(t, cfg, client)
}
