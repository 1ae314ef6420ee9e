package counter_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/catalog/database"
	"millrace/internal/services"
	"millrace/outbox"
	"millrace/outbox/counter"
)

// world is tables with reactions, and counters of them.
type world struct {
	t        *testing.T
	store    *outbox.Store
	client   *redis.Client
	counters *counter.Counters
	want     map[string]map[string]int // by content and kind
	n        int
}

func newWorld(t *testing.T, server *services.RedisServer) *world {
	t.Helper()
	store, err := outbox.Open(t.Context(), database.Default(), filepath.Join(t.TempDir(), "likes.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, client: redis.NewClient(&redis.Options{Addr: server.Address}), want: map[string]map[string]int{}}
	w.counters = counter.New(counter.Options{Store: store, Connect: func() (redis.UniversalClient, error) {
		return redis.NewClient(&redis.Options{Addr: server.Address}), nil
	}})
	t.Cleanup(func() {
		w.counters.Close()
		w.client.Close()
		store.Close()
	})
	return w
}

// react puts n reactions to some contents.
func (w *world) react(n int) {
	w.t.Helper()
	for range n {
		w.n++
		r := outbox.Reaction{Kind: outbox.Kinds()[w.n%4], User: fmt.Sprint("u", w.n), Content: fmt.Sprint("c", w.n%7)}
		if _, err := w.store.Put(w.t.Context(), r); err != nil {
			w.t.Fatal(err)
		}
		if w.want[r.Content] == nil {
			w.want[r.Content] = map[string]int{}
		}
		w.want[r.Content][string(r.Kind)]++
	}
	for {
		if n, err := w.store.Place(w.t.Context(), 100); err != nil {
			w.t.Fatal(err)
		} else if n == 0 {
			return
		}
	}
}

// take takes entries from a position, n at a time.
func (w *world) take(from uint64, n int) {
	w.t.Helper()
	for {
		list, err := w.store.After(w.t.Context(), from, n)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		if err := w.counters.Take(w.t.Context(), list); err != nil {
			w.t.Fatal(err)
		}
		from = list[len(list)-1].Position
	}
}

func (w *world) open() uint64 {
	w.t.Helper()
	at, err := w.counters.Open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

// check compares all hashes; base is what was in each before.
func (w *world) check(about string, base int) {
	w.t.Helper()
	for content, kinds := range w.want {
		got, err := w.client.HGetAll(w.t.Context(), "news_detail:"+content).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for kind, n := range kinds {
			if got[kind] != fmt.Sprint(n+base) {
				w.t.Errorf("%s: %s of %s are %q, expected %d", about, kind, content, got[kind], n+base)
			}
		}
	}
}

// TestCounts takes entries again, from anywhere, and loses keys: the counts are
// those of the table, on top of what was there before.
func TestCounts(t *testing.T) {
	w := newWorld(t, services.Redis(t))
	const before = 500
	for c := range 7 {
		for _, kind := range outbox.Kinds() {
			w.client.HSet(t.Context(), fmt.Sprint("news_detail:c", c), string(kind), before)
		}
	}
	if at := w.open(); at != 0 {
		t.Fatalf("new counters are at %d", at)
	}
	w.react(100)
	w.take(0, 9)
	w.check("at first", before)
	if at := w.open(); at != 100 {
		t.Errorf("opened again they are at %d, expected 100", at)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		w.react(random.IntN(10))
		w.take(random.Uint64N(uint64(w.n)+1), 1+random.IntN(40))
		w.take(uint64(w.n)-min(uint64(w.n), 20), 1+random.IntN(40))
		w.check("taken again", before)
	}

	// A hash is lost: it is counted again with the next reaction.
	w.client.Del(t.Context(), "news_detail:c3", "news_detail:c4")
	at := w.open()
	w.react(7)
	w.take(at, 100)
	for _, c := range []string{"news_detail:c3", "news_detail:c4"} {
		for _, kind := range outbox.Kinds() { // what was there before is not known any more
			w.client.HIncrBy(t.Context(), c, string(kind), before)
		}
	}
	w.check("a hash was lost", before)

	// All is lost: it is counted again from the beginning.
	w.client.FlushAll(t.Context())
	if at, err := w.counters.Position(t.Context()); err != nil || at != 0 {
		t.Errorf("after all was lost they are at %d, %v", at, err)
	}
	w.take(0, 50)
	w.check("all was lost", 0)
}

// TestForeignKeys has keys that are no counts: they hold up nothing, and are
// counted once they are mended.
func TestForeignKeys(t *testing.T) {
	w := newWorld(t, services.Redis(t))
	w.client.Set(t.Context(), "news_detail:c1", "text", 0)
	w.client.HSet(t.Context(), "news_detail:c2", "comments", "many")
	w.open()
	w.react(70)
	w.take(0, 500)
	if got, err := w.client.HGet(t.Context(), "news_detail:c2", "likes").Result(); err == nil {
		t.Errorf("a part of a hash was counted: %s", got)
	}
	w.client.Del(t.Context(), "news_detail:c1", "news_detail:c2")
	at := w.open()
	w.react(7)
	w.take(at, 500)
	w.check("mended", 0)
}

// TestRestarts kills Redis, which keeps what it has acknowledged, or half of it,
// or nothing.
func TestRestarts(t *testing.T) {
	for _, keeps := range []string{"always", "no", ""} {
		t.Run("appendfsync "+keeps, func(t *testing.T) {
			args := []string{"--appendonly", "yes", "--appendfsync", keeps}
			if keeps == "" {
				args = nil
			}
			server := services.Redis(t, args...)
			w := newWorld(t, server)
			p := outbox.NewProjector(outbox.Options{Store: w.store, Local: []outbox.Target{w.counters}})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); p.Run(ctx) }()
			for range 3 {
				w.react(150)
				server.Kill()
				w.react(50)
				server.Start()
				w.react(50)
			}
			w.eventually()
			cancel()
			<-done
			w.check("in the end", 0)
		})
	}
}

// eventually waits until the marker is at the end.
func (w *world) eventually() {
	w.t.Helper()
	key := "millrace:likes:" + w.store.Identity()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		at, err := w.client.Get(w.t.Context(), key).Int()
		if err == nil && at == w.n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the counters are at %d of %d, %v", at, w.n, err)
		}
	}
}
