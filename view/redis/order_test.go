package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
	"millrace/view/redis"
	"millrace/view/redis/redistest"
	"millrace/view/viewtest"
)

func open(t testing.TB, prefix string, addresses ...string) *redis.Client {
	t.Helper()
	c := redis.DefaultConfig()
	c.Addresses, c.Prefix, c.Cluster = addresses, prefix, len(addresses) > 1
	client, err := redis.NewClient(c, view.Decoders{"alpha": viewtest.Decode, "beta": viewtest.Decode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// edges are numbers at which a comparison by halves, or of 53 bits, may err.
var edges = []uint64{1, 2, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1}

// TestOlderNeverOverwritesNewer writes a key any number of times, in any order
// and perhaps twice: what is there is always what was written under the latest
// order so far.
func TestOlderNeverOverwritesNewer(t *testing.T) {
	server := redistest.Start(t)
	client, ctx := open(t, "order", server.Address), context.Background()
	key := 0
	rapid.Check(t, func(rt *rapid.T) {
		key++
		k := view.Key{View: "alpha", Key: fmt.Sprint(key)}
		latest, want := redis.Order{}, operator.Value(nil)
		for range rapid.IntRange(1, 12).Draw(rt, "writes") {
			number := rapid.OneOf(rapid.SampledFrom(edges), rapid.Uint64Range(1, 4))
			o := redis.Order{Epoch: number.Draw(rt, "epoch"), Sequence: number.Draw(rt, "sequence")}
			// What is written under an order is always the same.
			var v operator.Value = viewtest.Number(o.Epoch*31 + o.Sequence)
			if (o.Epoch+o.Sequence)%5 == 0 {
				v = nil
			}
			if err := client.Write(ctx, o, []operator.ViewWrite{{View: k.View, Key: k.Key, Value: v}}); err != nil {
				rt.Fatal(err)
			}
			if o.Epoch > latest.Epoch || o.Epoch == latest.Epoch && o.Sequence >= latest.Sequence {
				latest, want = o, v
			}
			got, _, _, err := client.Fetch(ctx, []view.Key{k}, false)
			if err != nil || got[0].Value != want || got[0].Order != latest {
				rt.Fatalf("after %v there is %+v, %v; want %v of %v", o, got, err, want, latest)
			}
		}
	})
}

// TestWritersAtOnce has several writers write many keys at once, each in an
// order of its own: each key ends as its latest write.
func TestWritersAtOnce(t *testing.T) {
	const keys, rounds = 300, 40
	test := func(t *testing.T, client *redis.Client) {
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(w), 1))
				for _, n := range random.Perm(rounds) {
					var writes []operator.ViewWrite
					for k := range keys {
						writes = append(writes, operator.ViewWrite{View: "alpha", Key: fmt.Sprint(k), Value: viewtest.Number(n + 1)})
					}
					if err := client.Write(context.Background(), redis.Order{Epoch: 7, Sequence: uint64(n + 1)}, writes); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		n := 0
		err := client.Each(context.Background(), "alpha", func(key string, v operator.Value) error {
			if n++; v != viewtest.Number(rounds) {
				t.Errorf("%s is %v, want %d", key, v, rounds)
			}
			return nil
		})
		if err != nil || n != keys {
			t.Errorf("%d keys, %v; want %d", n, err, keys)
		}
	}
	t.Run("one node", func(t *testing.T) { test(t, open(t, "writers", redistest.Start(t).Address)) })
	t.Run("cluster", func(t *testing.T) {
		var addresses []string
		for _, node := range redistest.Cluster(t) {
			addresses = append(addresses, node.Address)
		}
		test(t, open(t, "writers", addresses...))
	})
}

// TestLease: who owns a prefix, and who finds out that it does not any more.
func TestLease(t *testing.T) {
	server, ctx := redistest.Start(t), context.Background()
	client := open(t, "lease", server.Address)
	first, existed, err := client.Claim(ctx, redis.Owner{ID: "a", Host: "one"})
	if err != nil || existed {
		t.Fatalf("the first claim: %v, existed %t", err, existed)
	}
	advance := redis.Advance{Phase: redis.Live, Stands: true, Shared: true, Block: 5, StreamTime: 7, Watermark: 6, Positions: map[string]uint64{"kafka:t/0": 9}}
	if err := first.Advance(ctx, &advance); err != nil {
		t.Fatal(err)
	}
	s, found, err := client.State(ctx)
	if err != nil || !found || s.Block != 5 || s.Shared != 5 || s.StreamTime != event.Time(7) || s.Watermark != 6 || s.Phase != redis.Live || s.Epoch != first.Epoch() {
		t.Errorf("state %+v, %t, %v", s, found, err)
	}
	if p, err := client.Positions(ctx); err != nil || len(p) != 1 || p["kafka:t/0"] != 9 {
		t.Errorf("positions %v, %v", p, err)
	}
	if _, _, err := client.Claim(ctx, redis.Owner{ID: "b", Host: "two"}); !errors.Is(err, redis.ErrFenced) {
		t.Errorf("another owner while the first is heard of: %v, want ErrFenced", err)
	}
	if _, _, err := client.Claim(ctx, redis.Owner{ID: "a", Again: true}); !errors.Is(err, redis.ErrFenced) {
		t.Errorf("a copy that lost the lease before: %v, want ErrFenced", err)
	}
	next, existed, err := client.Claim(ctx, redis.Owner{ID: "a", Host: "one"})
	if err != nil || !existed || next.Epoch() <= first.Epoch() {
		t.Fatalf("the same owner after a restart: %v, existed %t, epoch %d after %d", err, existed, next.Epoch(), first.Epoch())
	}
	if err := first.Advance(ctx, &advance); !errors.Is(err, redis.ErrFenced) {
		t.Errorf("the owner before it: %v, want ErrFenced", err)
	}
	if err := next.Check(ctx); err != nil {
		t.Errorf("nothing was lost: %v", err)
	}
	for _, l := range []*redis.Lease{first, next} { // one that was replaced has nothing to let go of
		if err := l.Release(ctx); err != nil {
			t.Fatal(err)
		}
		other, _, err := client.Claim(ctx, redis.Owner{ID: "b", Host: "two"})
		if l == first && !errors.Is(err, redis.ErrFenced) || l == next && err != nil {
			t.Fatalf("another owner: %v", err)
		}
		if err == nil {
			next = other
		}
	}
	server.Do("FLUSHALL")
	if err := next.Advance(ctx, &advance); !errors.Is(err, redis.ErrLost) {
		t.Errorf("after a flush: %v, want ErrLost", err)
	}
	if existed, err := next.Renew(ctx, redis.Owner{ID: "a"}); err != nil || existed {
		t.Errorf("renewed after a flush: %v, existed %t", err, existed)
	}
	server.Kill()
	if err := next.Advance(ctx, &advance); !errors.Is(err, redis.ErrUnreachable) {
		t.Errorf("without a server: %v, want ErrUnreachable", err)
	}
	server.Start()
	if err := next.Check(ctx); !errors.Is(err, redis.ErrLost) {
		t.Errorf("after a restart: %v, want ErrLost", err)
	}
}

// TestKeysOfAnotherProgram writes answers where there is something else under the
// prefix, of any type: all are written, and the sweep passes over the rest.
func TestKeysOfAnotherProgram(t *testing.T) {
	server, ctx := redistest.Start(t), context.Background()
	client := open(t, "strange", server.Address)
	server.Do("SET", "strange:v:alpha:{text}", "not a value")
	server.Do("RPUSH", "strange:v:alpha:{list}", "not a value")
	server.Do("HSET", "strange:v:alpha:{left}", "not a", "value")
	var writes []operator.ViewWrite
	var keys []view.Key
	for _, key := range []string{"text", "list", "other"} {
		writes = append(writes, operator.ViewWrite{View: "alpha", Key: key, Value: viewtest.Number(1)})
		keys = append(keys, view.Key{View: "alpha", Key: key})
	}
	if err := client.Write(ctx, redis.Order{Epoch: 2, Sequence: 1}, writes); err != nil {
		t.Fatal(err)
	}
	list, _, _, err := client.Fetch(ctx, keys, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if list[i].Value != viewtest.Number(1) {
			t.Errorf("%s is %+v", keys[i].Key, list[i])
		}
	}
	if n, err := client.Sweep(ctx, 2, func(int) error { return nil }); err != nil || n != 0 {
		t.Errorf("%d deleted, %v", n, err)
	}
}

// TestSweep deletes what is of an earlier epoch, and nothing else.
func TestSweep(t *testing.T) {
	server, ctx := redistest.Start(t), context.Background()
	client, other := open(t, "sweep", server.Address), open(t, "sweeper", server.Address)
	number := func(key string) []operator.ViewWrite {
		return []operator.ViewWrite{{View: "alpha", Key: key, Value: viewtest.Number(1)}}
	}
	for key, order := range map[string]redis.Order{"old": {Epoch: 1, Sequence: 9}, "now": {Epoch: 2, Sequence: 1}, "{new}": {Epoch: 3, Sequence: 1}} {
		if err := client.Write(ctx, order, number(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Write(ctx, redis.Order{Epoch: 1, Sequence: 1}, number("other's")); err != nil {
		t.Fatal(err)
	}
	server.Do("SET", "sweep:v:alpha:{stranger}", "not a value")
	deleted, err := client.Sweep(ctx, 2, func(int) error { return nil })
	if err != nil || deleted != 1 {
		t.Errorf("%d deleted, %v; want 1", deleted, err)
	}
	got, _, _, err := client.Fetch(ctx, []view.Key{{View: "alpha", Key: "old"}, {View: "alpha", Key: "now"}, {View: "alpha", Key: "{new}"}}, false)
	if err != nil || got[0].Value != nil || got[1].Value == nil || got[2].Value == nil {
		t.Errorf("left are %+v, %v", got, err)
	}
	if list, _, _, err := other.Fetch(ctx, []view.Key{{View: "alpha", Key: "other's"}}, false); err != nil || list[0].Value == nil {
		t.Errorf("another prefix: %+v, %v", list, err)
	}
}

// TestCatalogue: entries are kept by the same order, and swept likewise.
func TestCatalogue(t *testing.T) {
	server, ctx := redistest.Start(t), context.Background()
	client := open(t, "catalogue", server.Address)
	item := func(id, title string) redis.Entry {
		return redis.Entry{ID: id, Item: &event.Item{ID: id, Title: title}}
	}
	write := func(o redis.Order, entries ...redis.Entry) {
		t.Helper()
		if err := client.WriteCatalogue(ctx, o, entries); err != nil {
			t.Fatal(err)
		}
	}
	write(redis.Order{Epoch: 1, Sequence: 5}, item("a", "new"), item("b", "gone"), item("stale", "x"), redis.Entry{ID: "a", User: &event.User{ID: "a", Age: 3}, IsUser: true})
	write(redis.Order{Epoch: 1, Sequence: 4}, item("a", "old"))
	write(redis.Order{Epoch: 2, Sequence: 1}, item("a", "newer"), redis.Entry{ID: "b"}, redis.Entry{ID: "a", User: &event.User{ID: "a", Age: 4}, IsUser: true})
	if err := client.SweepCatalogue(ctx, 2); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := client.EachEntry(ctx, func(e redis.Entry, o redis.Order) error {
		switch {
		case e.Item != nil:
			got["item "+e.ID] = e.Item.Title
		case e.User != nil:
			got["user "+e.ID] = fmt.Sprint(e.User.Age)
		default:
			got["deleted "+e.ID] = fmt.Sprint(o.Epoch)
		}
		return nil
	})
	if want := "map[deleted b:2 item a:newer user a:4]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
}
