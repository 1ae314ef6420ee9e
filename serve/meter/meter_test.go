package meter

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

// The rates are those of a plain list of what happened.
func TestRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1_700_000_000_000 + rapid.Int64Range(0, 999).Draw(t, "began"))
		m := New(prometheus.NewRegistry(), func() time.Time { return now })
		began := now
		type block struct {
			at     time.Time
			events int
		}
		var all []block
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "pause")) * time.Millisecond)
			if rapid.IntRange(0, 20).Draw(t, "forget") == 0 {
				m.ForgetRecent()
				began, all = now, nil
			}
			events := rapid.IntRange(0, 1000).Draw(t, "events")
			m.Block(events, time.Millisecond, 2*time.Millisecond)
			all = append(all, block{now, events})
		}
		now = now.Add(time.Duration(rapid.IntRange(0, 90_000).Draw(t, "silence")) * time.Millisecond)
		rate := func(seconds int) float64 {
			end := now.Truncate(time.Second)
			from := end.Add(-time.Duration(seconds) * time.Second)
			if from.Before(began) {
				from = began
			}
			length := end.Sub(from).Seconds()
			if end.Sub(began) < time.Second { // no whole second yet
				from, end, length = began, now.Add(time.Nanosecond), max(1, now.Sub(began).Seconds())
			}
			sum := 0
			for _, b := range all {
				if !b.at.Before(from) && b.at.Before(end) {
					sum += b.events
				}
			}
			return float64(sum) / length
		}
		got := m.Recent()
		if got.PerSecond1 != rate(1) || got.PerSecond10 != rate(10) || got.PerSecond60 != rate(60) {
			t.Fatalf("rates %v %v %v, want %v %v %v", got.PerSecond1, got.PerSecond10, got.PerSecond60, rate(1), rate(10), rate(60))
		}
	})
}

// Steady traffic has its rate from the first second on, in each of the three
// figures: neither the time before the beginning nor what was forgotten counts.
func TestRatesAreRightFromTheFirstSecond(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_900)
	m := New(prometheus.NewRegistry(), func() time.Time { return now })
	m.Block(180_000, time.Second, time.Second) // a demo's past
	now = now.Add(5 * time.Second)
	m.ForgetRecent()
	if r := m.Recent(); r.PerSecond1 != 0 || r.PerSecond60 != 0 || r.Max != 0 {
		t.Errorf("after forgetting: %+v", r)
	}
	for i := range 4 * 90 {
		m.Block(50, time.Millisecond, 2*time.Millisecond)
		now = now.Add(250 * time.Millisecond)
		if i < 3 {
			continue
		}
		r := m.Recent()
		for _, got := range []float64{r.PerSecond1, r.PerSecond10, r.PerSecond60} {
			if got < 160 || got > 240 {
				t.Fatalf("after %d ms of 200 a second: %+v", (i+1)*250, r)
			}
		}
	}
}

// Quantiles are those of events, not of blocks, and are forgotten after a
// minute.
func TestLatencies(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	m := New(prometheus.NewRegistry(), func() time.Time { return now })
	if r := m.Recent(); r.P50 != 0 || r.P99 != 0 || r.Max != 0 {
		t.Errorf("before any event: %+v", r)
	}
	m.Block(990, time.Millisecond, 2*time.Millisecond)
	m.Block(9, time.Millisecond, 100*time.Millisecond)
	m.Block(1, time.Millisecond, 24*time.Hour)
	near := func(got, want time.Duration) bool { return got >= want*98/100 && got <= want*102/100 }
	if r := m.Recent(); !near(r.P50, 2*time.Millisecond) || !near(r.P99, 2*time.Millisecond) || !near(r.Max, time.Hour) {
		t.Errorf("%+v, want 2 ms, 2 ms and at most an hour", r)
	}
	m.Block(1000, time.Millisecond, 100*time.Millisecond)
	if r := m.Recent(); !near(r.P99, 100*time.Millisecond) {
		t.Errorf("p99 is %v, want 100 ms", r.P99)
	}
	now = now.Add(50 * time.Second)
	if r := m.Recent(); r.Max == 0 {
		t.Error("forgotten within the minute")
	}
	now = now.Add(20 * time.Second)
	if r := m.Recent(); r.Max != 0 {
		t.Errorf("not forgotten after a minute: %+v", r)
	}
}

// What clients make up does not become a label.
func TestLabelsAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := New(registry, time.Now)
	for _, method := range []string{"GET", "BREW", "X1", "X2", "get"} {
		m.Request("", method, 404, time.Millisecond)
	}
	m.Request("/v1/events", "POST", 200, time.Millisecond)
	if got := series(t, registry)["millrace_http_requests_total"]; len(got) != 3 {
		t.Errorf("series %v, want 3: none/GET, none/other, /v1/events/POST", got)
	}
	m.Received(3, 2)
	if got := series(t, registry)["millrace_events_received_total"]; !slices.Equal(got, []float64{3, 2}) {
		t.Errorf("%v events accepted and repeated, want 3 and 2", got)
	}
	RegisterGauges(registry, []Descriptor{{Name: "one"}, {Name: "many", Label: "of"}}, func() []Gauge {
		return []Gauge{{Name: "one", Value: 1}, {Name: "many", Label: "a", Value: 2}, {Name: "many", Label: "b", Value: 3}, {Name: "unknown"}}
	})
	got := series(t, registry)
	if !slices.Equal(got["one"], []float64{1}) || !slices.Equal(got["many"], []float64{2, 3}) || got["unknown"] != nil {
		t.Errorf("gauges %v %v %v", got["one"], got["many"], got["unknown"])
	}
}

// series are the values of counters and gauges, in order of their labels.
func series(t *testing.T, registry *prometheus.Registry) map[string][]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			all[f.GetName()] = append(all[f.GetName()], m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return all
}
