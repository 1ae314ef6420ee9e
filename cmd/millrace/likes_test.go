package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/internal/services"
	statememory "millrace/state/memory"
)

// likesWorld is a millrace serve with the likes service, and all that it works
// with, each a process that is killed.
type likesWorld struct {
	*killing
	db     *databasetest.Server
	config database.Config
	redis  *services.RedisServer
	kafka  *services.KafkaServer

	process *exec.Cmd
	client  *http.Client
	done    map[string]bool // reactions that were answered with code 0
	tried   int
}

// TestLikesKilled kills the server, the database, Redis and Kafka under load.
// Every like that was acknowledged is a row, counted once in Redis, once in
// Kafka, and once by the recommender; nothing else is.
func TestLikesKilled(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *databasetest.Server) {
		w := newLikesWorld(t, db, nil)
		victims := []string{"millrace", "redis", "millrace", "database", "millrace", "kafka", "all"}
		for round, victim := range victims {
			ctx, cancel := context.WithCancel(t.Context())
			var load sync.WaitGroup
			for range 4 {
				load.Go(func() { w.like(ctx) })
			}
			time.Sleep(time.Duration(300+w.random.IntN(400)) * time.Millisecond)
			t.Logf("round %d: %s", round, victim)
			w.kill(victim)
			time.Sleep(200 * time.Millisecond)
			cancel()
			load.Wait()
		}
		w.check()
	})
}

// newLikesWorld starts all; between the server and the others are wires, unless
// they are nil.
func newLikesWorld(t *testing.T, db *databasetest.Server, lines *wires) *likesWorld {
	w := &likesWorld{
		killing: &killing{t: t, random: rand.New(rand.NewPCG(1, 2)), data: t.TempDir(), binary: buildBinary(t)},
		db:      db, config: db.New(t), redis: services.Redis(t, "--appendonly", "yes", "--appendfsync", "no"),
		client: &http.Client{Timeout: 10 * time.Second}, done: map[string]bool{},
	}
	var options services.KafkaOptions
	dsn, cache, brokers := string(w.config.DSN), w.redis.Address, ""
	if lines != nil {
		dsn = strings.Replace(dsn, db.Address, lines.line("database", &db.Address), 1)
		cache = lines.line("redis", &w.redis.Address)
		options.Advertised = map[string]string{"PLAINTEXT": lines.line("kafka", &brokers)}
	}
	w.kafka = services.Kafka(t, options)
	brokers = w.kafka.Address
	w.environment = []string{
		"MILLRACE_CATALOG_DRIVER=" + db.Driver, "MILLRACE_CATALOG_DSN=" + dsn, "MILLRACE_CATALOG_TIMEOUT=2s",
		"MILLRACE_LIKES_ENABLED=true", "MILLRACE_LIKES_REDIS=redis://" + cache, "MILLRACE_LIKES_LEASE=1s",
		"MILLRACE_KAFKA_BROKERS=" + w.kafka.Address,
	}
	w.run()
	t.Cleanup(func() {
		_ = w.process.Process.Kill()
		_ = w.process.Wait()
	})
	var users strings.Builder
	for n := range 50 {
		fmt.Fprintf(&users, "{\"user_id\":\"u%d\",\"age\":30}\n", n)
	}
	if status, body := ask(t, http.MethodPost, w.url+"/v1/users", users.String()); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	return w
}

func (w *likesWorld) run() {
	w.process = w.start()
	if !w.ready() {
		w.t.FailNow()
	}
}

// kill kills and starts again.
func (w *likesWorld) kill(victim string) {
	end := map[string]func(){"millrace": func() {
		_ = w.process.Process.Kill()
		_ = w.process.Wait()
	}, "redis": w.redis.Kill, "database": w.db.Kill, "kafka": w.kafka.Kill}
	begin := map[string]func(){"redis": w.redis.Start, "database": w.db.Start, "kafka": w.kafka.Start, "millrace": w.run}
	if victim != "all" {
		end[victim]()
		time.Sleep(300 * time.Millisecond)
		begin[victim]()
		return
	}
	for _, f := range end {
		f()
	}
	for _, name := range []string{"redis", "database", "kafka", "millrace"} {
		begin[name]()
	}
}

// like sends reactions of all kinds, each twice, until ctx ends.
func (w *likesWorld) like(ctx context.Context) {
	for ctx.Err() == nil {
		w.mutex.Lock()
		n := w.tried
		w.tried++
		url := w.url
		w.mutex.Unlock()
		kind, user, content := "likes", n%50, n/50
		switch n % 7 {
		case 0:
			kind = "comments"
		case 1:
			kind = "reads"
		case 2, 3:
			kind = "favorites"
		}
		body := fmt.Sprintf(`{"user_id":"u%d","content_id":"c%d","title":"t"}`, user, content)
		if kind == "comments" || kind == "reads" { // of which there may be any number
			body = fmt.Sprintf(`{"user_id":"u%d","content_id":"c%d","title":"t","idempotency_key":"k%d"}`, user, content%20, n)
		}
		for range 2 {
			if w.send(ctx, url+"/recommendation/"+kind, body) {
				w.mutex.Lock()
				w.done[fmt.Sprint(kind, ":", body)] = true
				w.mutex.Unlock()
			}
		}
	}
}

// send reports whether a reaction was acknowledged.
func (w *likesWorld) send(ctx context.Context, url, body string) bool {
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(r)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return false
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body) // cut off by a kill, perhaps
	return strings.HasPrefix(string(text), `{"code":0,`)
}

// rows are the counts that the table has, by content and kind.
func (w *likesWorld) rows() (counts map[string]int, total int) {
	db := databasetest.Open(w.t, w.config)
	rows, err := db.QueryContext(w.t.Context(), "SELECT content_id, kind, COUNT(*) FROM reactions GROUP BY content_id, kind")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	counts = map[string]int{}
	for rows.Next() {
		var content, kind string
		var n int
		if err := rows.Scan(&content, &kind, &n); err != nil {
			w.t.Fatal(err)
		}
		counts[content+":"+kind] = n
		total += n
	}
	if rows.Err() != nil {
		w.t.Fatal(rows.Err())
	}
	return counts, total
}

// counted are the counts in Redis.
func (w *likesWorld) counted(of map[string]int) map[string]int {
	client := redis.NewClient(&redis.Options{Addr: w.redis.Address})
	defer client.Close()
	counts := map[string]int{}
	for key := range of {
		content, kind, _ := strings.Cut(key, ":")
		if text, err := client.HGet(w.t.Context(), "news_detail:"+content, kind).Result(); err == nil {
			counts[key], _ = strconv.Atoi(text) // 0 is wrong, too
		}
	}
	return counts
}

// sent are the counts of committed messages in Kafka.
func (w *likesWorld) sent(total int) map[string]int {
	client := w.kafka.Client(kgo.ConsumeTopics("recommendation"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	counts := map[string]int{}
	ctx, cancel := context.WithTimeout(w.t.Context(), 40*time.Second)
	defer cancel()
	for n := 0; ctx.Err() == nil; {
		if n >= total { // more would be wrong: they are waited for
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, 2*time.Second)
			defer stop()
		}
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			counts[string(r.Value)]++
			n++
		})
	}
	return counts
}

func (w *likesWorld) check() {
	t := w.t
	rows, total := w.rows()
	if total < len(w.done) {
		t.Errorf("%d reactions were acknowledged, and %d are stored", len(w.done), total)
	}
	waitFor(t, "Redis to count all", func() bool { return maps.Equal(w.counted(rows), rows) })
	var stats struct {
		Events struct{ Total, Duplicates int }
	}
	waitFor(t, "the recommender to count all", func() bool {
		_, body := ask(t, http.MethodGet, w.url+"/v1/stats", "")
		return json.Unmarshal([]byte(body), &stats) == nil && stats.Events.Total >= total
	})
	if got := w.sent(total); !maps.Equal(got, rows) {
		n := 0
		for _, c := range got {
			n += c
		}
		t.Errorf("Kafka has %d messages of %d contents and kinds, expected %d of %d", n, len(got), total, len(rows))
	}
	if !maps.Equal(w.counted(rows), rows) {
		t.Error("Redis has counted more later on")
	}
	_, body := ask(t, http.MethodGet, w.url+"/v1/stats", "")
	if err := json.Unmarshal([]byte(body), &stats); err != nil || stats.Events.Total != total || stats.Events.Duplicates != 0 {
		t.Errorf("the recommender has %+v, %v, expected %d events", stats, err, total)
	}
	t.Logf("%d tried, %d acknowledged, %d rows", w.tried, len(w.done), total)
	_ = w.process.Process.Kill()
	_ = w.process.Wait()
	result, err := verifyCatalogue(t.Context(), w.config, w.data, 3, statememory.New())
	if err != nil || !result.Equal || result.Events != uint64(total) {
		t.Errorf("verify: %+v, %v", result, err)
	}
}
