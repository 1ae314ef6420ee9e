package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/cmd/millrace/front"
	"millrace/operator"
	"millrace/recommend"
	"millrace/serve"
	"millrace/view/redis"
	"millrace/view/redis/redistest"
)

// redisConfig is a server's whose views are copied to a Redis.
func redisConfig(t *testing.T, addresses ...string) config {
	cfg := testConfig(t.TempDir())
	cfg.Redis.Addresses, cfg.Redis.Cluster = addresses, len(addresses) > 1
	cfg.Redis.Cache = 0 // so that answers can be compared without waiting
	return cfg
}

// startFront runs a front beside the engine at an address.
func startFront(t *testing.T, cfg config, engine string) *testServer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg.Listen, cfg.Redis.Engine = "127.0.0.1:0", engine
	s := &testServer{log: &safeBuffer{}}
	ready, done := make(chan struct{}), make(chan error, 1)
	options := frontOptions(cfg, slog.New(slog.NewTextHandler(s.log, nil)))
	go func() {
		done <- front.Serve(ctx, options, func(server *serve.Server) error {
			s.url = "http://" + server.Addr()
			close(ready)
			return nil
		})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case <-ready:
		t.Cleanup(s.stop)
	case err := <-done:
		cancel()
		t.Fatalf("the front does not start: %v", err)
	}
	return s
}

// The shop that the tests have.
const (
	redisUsers = 40
	redisItems = 60
)

var genders = []string{"f", "m", ""}

// stock sends items and users.
func stock(t *testing.T, url string) {
	t.Helper()
	var items, users strings.Builder
	for i := range redisItems {
		fmt.Fprintf(&items, `{"item_id":"i%d","title":"Item %d","categories":["c%d","c%d"],"created":%d}`+"\n", i, i, i%5, 5+i%3, 1_700_000_000_000+i*1000)
	}
	for u := range redisUsers / 2 {
		fmt.Fprintf(&users, `{"user_id":"u%d","age":%d,"gender":%q}`+"\n", u, 18+u, genders[u%3])
	}
	mustExchange(t, http.MethodPost, url+"/v1/items", items.String())
	mustExchange(t, http.MethodPost, url+"/v1/users", users.String())
}

// someEvents are random events, as a request.
func someEvents(random *rand.Rand, n, from int) string {
	kinds := []string{"view", "click", "like", "purchase", "rating"}
	var b strings.Builder
	for k := range n {
		fmt.Fprintf(&b, `{"event_id":"%x","user_id":"u%d","item_id":"i%d","event_type":%q,"value":%d,"timestamp":%d}`+"\n",
			random.Uint64(), random.IntN(redisUsers), random.IntN(redisItems), kinds[random.IntN(len(kinds))], 1+random.IntN(5), 1_760_000_000_000+int64(from+k)*500)
	}
	return b.String()
}

// exchange sends a request and gives the status and the answer.
func exchange(method, url, body string) (int, string, http.Header, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), answer.Header, err
}

func mustExchange(t *testing.T, method, url, body string) string {
	t.Helper()
	status, text, _, err := exchange(method, url, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s: %d %v: %s", method, url, status, err, text)
	}
	return text
}

// settled waits until Redis has all that the engine has applied.
func settled(t *testing.T, cfg config, engine string) *redis.Client {
	t.Helper()
	client, err := redis.NewClient(cfg.Redis, recommend.Views())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	var health struct {
		Blocks uint64 `json:"blocks"`
	}
	began := time.Now()
	for {
		if err := json.Unmarshal([]byte(mustExchange(t, http.MethodGet, engine+"/v1/health", "")), &health); err != nil {
			t.Fatal(err)
		}
		s, found, err := client.State(context.Background())
		if err == nil && found && s.Phase == redis.Live && s.Block == health.Blocks && s.Shared == health.Blocks {
			return client
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("redis has not caught up with block %d: %+v, %v", health.Blocks, s, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// compareAnswers demands that a front answers as its engine does, byte for byte
// but for the ids of requests.
func compareAnswers(t *testing.T, engine, side string) {
	t.Helper()
	// The front's catalogue follows in its own time.
	deadline := time.Now().Add(5 * time.Second)
	compared := 0
	for _, q := range questions() {
		for {
			wantStatus, want, _, err := exchange(q.method, engine+q.path, q.body)
			if err != nil {
				t.Fatal(err)
			}
			status, got, _, err := exchange(q.method, side+q.path, q.body)
			if err != nil {
				t.Fatal(err)
			}
			if status == wantStatus && requestIDs.ReplaceAllString(got, "") == requestIDs.ReplaceAllString(want, "") {
				compared++
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s %s %s:\nfront  %d %s\nengine %d %s", q.method, q.path, q.body, status, got, wantStatus, want)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Logf("%d answers are the same", compared)
}

type question struct{ method, path, body string }

// questions are all that can be asked of views and catalogue.
func questions() []question {
	var list []question
	get := func(format string, args ...any) {
		list = append(list, question{http.MethodGet, fmt.Sprintf(format, args...), ""})
	}
	for u := range redisUsers + 2 {
		get("/v1/users/u%d/recommendations?n=20&explain=true", u)
		get("/v1/users/u%d/recommendations?n=5&exclude=none&offset=2", u)
		get("/v1/users/u%d/recommendations?category=c%d", u, u%8)
		get("/v1/users/u%d/profile", u)
		get("/v1/users/u%d", u)
	}
	for i := range redisItems + 2 {
		get("/v1/items/i%d/neighbors?n=100", i)
		get("/v1/items/i%d", i)
	}
	for _, half := range []string{"1h", "1d", "7d", "30d"} {
		get("/v1/trending?n=100&half_life=%s", half)
		get("/v1/trending?category=c3&half_life=%s", half)
		get("/v1/trending?cohort=%s&half_life=%s", url.QueryEscape("age:18-24/gender:f"), half)
	}
	list = append(list,
		question{http.MethodPost, "/v1/sessions/recommendations", `{"items":["i3","i17","i44"]}`},
		question{http.MethodPost, "/v1/recommendations:batch", `{"user_ids":["u1","u2","u3","nobody"],"n":7}`})
	return list
}

// compareViews demands that Redis has exactly what a replay of a data directory
// computes, whose server has been stopped: no answer is missing, and none is
// there that should not be.
func compareViews(t *testing.T, cfg config, client *redis.Client) {
	t.Helper()
	cfg.mirror = false
	n, err := openNode(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	contents := func(each func(string, func(string, operator.Value) error) error, name string) map[string]string {
		all := map[string]string{}
		err := each(name, func(key string, v operator.Value) error {
			b, err := v.AppendBinary(nil)
			all[key] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	keys := 0
	for _, name := range recommend.Views().Names() {
		want := contents(n.views.Each, name)
		got := contents(func(name string, fn func(string, operator.Value) error) error {
			return client.Each(context.Background(), name, fn)
		}, name)
		for key, v := range want {
			if got[key] != v {
				t.Errorf("view %s, key %q differs", name, key)
			}
		}
		for key := range got {
			if _, ok := want[key]; !ok {
				t.Errorf("view %s, key %q is in redis, and should not be", name, key)
			}
		}
		keys += len(want)
	}
	t.Logf("%d answers in redis are those of a replay", keys)
}

// TestFrontsAnswerAsTheEngine: two fronts, all that can be asked, and events
// and catalogue writes that are sent to a front.
func TestFrontsAnswerAsTheEngine(t *testing.T) {
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
