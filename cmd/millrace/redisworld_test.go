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
)

// redisConfig is a server's whose views are copied to a Redis.
func redisConfig(t *testing.T, addresses ...string) config {
	cfg := testConfig(t.TempDir())
	cfg.Redis.Addresses, cfg.Redis.Cluster = addresses, len(addresses) > 1
	cfg.CohortPreferences = true // for all the views that there are
	cfg.Redis.Cache = 0          // so that answers can be compared without waiting
	return cfg
}

// startFront runs a front beside the engine at an address.
func startFront(t *testing.T, cfg config, engine string) *testServer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg.Listen, cfg.Redis.Engine = "127.0.0.1:0", engine
	s := &testServer{log: &safeBuffer{}}
	ready, done := make(chan struct{}), make(chan error, 1)
	options, err := frontOptions(cfg, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
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
	deadline := time.Now().Add(20 * time.Second)
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
	for _, cohort := range []string{"age:18-24", "gender:f", "age:25-34/gender:m", "gender:x"} {
		get("/v1/cohorts/%s/preferences", url.PathEscape(cohort))
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
