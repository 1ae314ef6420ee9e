package generate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"
	"testing"

	"millrace/event"
	"millrace/source"
)

func mustNew(t testing.TB, cfg Config) *Generator {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// busy is a shop in which everything happens soon.
func busy() Config {
	cfg := DefaultConfig()
	cfg.Users, cfg.Items, cfg.EventsPerSecond = 500, 300, 200
	cfg.ItemInterval = 2 * event.Second
	return cfg
}

// write puts everything that a record says into a hash.
func write(h hash.Hash, r source.Record) {
	switch {
	case r.Event != nil:
		h.Write(event.AppendEvent(nil, r.Event))
	case r.Change != nil:
		h.Write(event.AppendChange(nil, r.Change))
	}
}

func digest(t *testing.T, cfg Config, records int) string {
	g := mustNew(t, cfg)
	h := sha256.New()
	for c := range g.Catalogue() {
		write(h, source.Record{Change: &c})
	}
	for range records {
		write(h, g.Next())
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// The golden hashes change when the model changes, and must not change
// otherwise: not with the machine, the Go release or the order of anything.
func TestSameSeedSameBytes(t *testing.T) {
	other, ids, ordered, flat := busy(), busy(), busy(), busy()
	other.Seed = 2
	ids.EventIDs = true
	ordered.Disorder = 0
	flat.FlatRate = true
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"default", DefaultConfig(), "ddca45cf9aec616c"},
		{"busy", busy(), "434189253b6b22f6"},
		{"another seed", other, "fa75176dce13ed7c"},
		{"with event ids", ids, "398dab9a489d4983"},
		{"in order", ordered, "516060611bc2a192"},
		{"flat", flat, "ddfbce63adfd54e4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := digest(t, c.cfg, 30_000); got != c.want {
				t.Errorf("records hash to %s, want %s", got, c.want)
			}
		})
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"users", func(c *Config) { c.Users = 0 }},
		{"items", func(c *Config) { c.Items = -1 }},
		{"categories", func(c *Config) { c.Categories = 0 }},
		{"categories", func(c *Config) { c.Categories = c.Items + 1 }},
		{"events per second", func(c *Config) { c.EventsPerSecond = 0 }},
		{"events per second", func(c *Config) { c.EventsPerSecond = math.NaN() }},
		{"events per second", func(c *Config) { c.EventsPerSecond = math.Inf(1) }},
		{"disorder", func(c *Config) { c.Disorder = -1 }},
		{"disorder", func(c *Config) { c.Disorder = MaxDisorder }},
		{"item interval", func(c *Config) { c.ItemInterval = -1 }},
		{"start", func(c *Config) { c.Start = event.MinTime }},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		_, err := New(cfg)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.name+":") {
			t.Errorf("%s: New(%+v) = %v, want ErrConfig that names it", c.name, cfg, err)
		}
	}
}

// The smallest shops must not hang or panic, and still sell.
func TestSmallShops(t *testing.T) {
	for _, size := range []struct{ users, items, categories int }{{1, 1, 1}, {1, 2, 2}, {3, 5, 3}, {2, 40, 33}} {
		cfg := busy()
		cfg.Users, cfg.Items, cfg.Categories = size.users, size.items, size.categories
		g, clicks := mustNew(t, cfg), 0
		for range 5000 {
			if r := g.Next(); r.Event != nil && r.Event.Type == "click" {
				clicks++
			}
		}
		if clicks == 0 {
			t.Errorf("%+v: no clicks in 5000 records", size)
		}
	}
}

func TestEventsAreValid(t *testing.T) {
	cfg := busy()
	cfg.EventIDs = true
	g := mustNew(t, cfg)
	ids := map[string]bool{}
	for range 20_000 {
		r := g.Next()
		if r.Event == nil {
			continue
		}
		if len(r.Event.Session) > 12 || len(r.Event.Request) > 15 {
			t.Fatalf("row %d: session %q, request %q", r.Row, r.Event.Session, r.Event.Request)
		}
		if err := event.Validate(r.Event, event.Options{}); err != nil {
			t.Fatalf("row %d: %v: %+v", r.Row, err, *r.Event)
		}
		if ids[r.Event.ID] || r.Event.ID == "" {
			t.Fatalf("row %d: event id %q is not unique", r.Row, r.Event.ID)
		}
		ids[r.Event.ID] = true
	}
}

func TestCatalogue(t *testing.T) {
	cfg := busy()
	g := mustNew(t, cfg)
	list := func() []string {
		var lines []string
		for c := range g.Catalogue() {
			lines = append(lines, string(event.AppendChange(nil, &c)))
		}
		return lines
	}
	before := list()
	for range 20_000 {
		g.Next()
	}
	if !slices.Equal(before, list()) {
		t.Error("the catalogue depends on how far the generator has come")
	}
	items, users, titles := 0, 0, map[string]bool{}
	for c := range g.Catalogue() {
		switch c.Kind {
		case event.PutItem:
			items++
			if c.Item.Created >= cfg.Start || c.Item.Hidden || len(c.Item.Categories) != 1 || len(c.Item.Tags) != 2 ||
				!strings.HasPrefix(string(c.Item.Metadata), `{"price":`) || titles[c.Item.Title] {
				t.Errorf("item %+v", *c.Item)
			}
			titles[c.Item.Title] = true
		case event.PutUser:
			users++
			if c.User.Age < 16 || c.User.Age > 74 {
				t.Errorf("user %+v", *c.User)
			}
		}
	}
	if items != cfg.Items || users != cfg.Users {
		t.Errorf("%d items and %d users, want %d and %d", items, users, cfg.Items, cfg.Users)
	}
	for c := range g.Catalogue() {
		if got := fmt.Sprintf("%s %q %v %s", c.Item.ID, c.Item.Title, c.Item.Categories, c.Item.Metadata); got != `i1 "Trail Running Shoe 1" [Running] {"price":122.90}` {
			t.Errorf("the first item is %s", got)
		}
		break
	}
}

// At gives what Next gives, cut at moments, whether or not a loop is left early.
func TestAtFollowsAClock(t *testing.T) {
	cfg := busy()
	next, at := mustNew(t, cfg), mustNew(t, cfg)
	left := 0
	for now := cfg.Start; now < cfg.Start+event.Minute; now += 700 {
		last := uint64(0)
		for again := true; again; {
			again = false
			for r := range at.At(now) {
				want := next.Next()
				if r.Row != want.Row || (r.Event == nil) != (want.Event == nil) {
					t.Fatalf("row %d from At, row %d from Next", r.Row, want.Row)
				}
				if e := r.Event; e != nil && (e.Time > now || e.Time <= now-700-cfg.Disorder) {
					t.Fatalf("row %d: event of %v delivered at %v", r.Row, e.Time, now)
				}
				if r.Event != nil && string(event.AppendEvent(nil, r.Event)) != string(event.AppendEvent(nil, want.Event)) {
					t.Fatalf("row %d: %+v from At, %+v from Next", r.Row, *r.Event, *want.Event)
				}
				if last = r.Row; last%97 == 0 {
					again = true
					left++
					break
				}
			}
		}
		for r := range at.At(now - 1) {
			t.Fatalf("row %d is due before %v, and was not delivered then", r.Row, now)
		}
	}
	if left == 0 {
		t.Error("no loop was left early")
	}
}

// What is kept depends on the rate, not on how many users there are or how
// long it has run.
func TestMemoryIsBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Users, cfg.ItemInterval = math.MaxInt32, 100
	g := mustNew(t, cfg)
	for range 300_000 {
		g.Next()
	}
	if visits, deliveries := len(g.visits.slab), len(g.out.nodes); visits > 300 || deliveries > 2000 || cap(g.shop.leaving) > 4000 {
		t.Errorf("%d visits, %d deliveries and %d withdrawals are kept", visits, deliveries, cap(g.shop.leaving))
	}
	if allocs := testing.AllocsPerRun(20_000, func() { g.Next() }); allocs > 1 {
		t.Errorf("%v allocations a record", allocs)
	}
}

func BenchmarkNext(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Users, cfg.Items, cfg.EventsPerSecond = 5_000_000, 100_000, 100_000
	g := mustNew(b, cfg)
	b.ReportAllocs()
	for b.Loop() {
		g.Next()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
