package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	eventRate  = 1000 // events posted a second
	eventBatch = 20   // events of a request where they are not posted each alone
	probeEvery = 10   // one event in so many is followed by a look at the list
	workers    = 64
)

// requestRates are recommendation requests a second; the first one has a goal,
// the others show what a machine keeps up with that cannot do it.
var requestRates = []int{5000, 3000, 1500}

// loader sends requests at a fixed rate, whatever the answers take: latency
// counts from the moment a request was due.
type loader struct {
	client *client
	url    string
	users  []string
	items  []string
	at     time.Time // the event time that new events carry
	failed atomic.Int64
	first  sync.Once
	why    error // of the first that failed
}

// fail counts a request that failed.
func (l *loader) fail(err error) {
	l.failed.Add(1)
	l.first.Do(func() { l.why = err })
}

// failures are nil, or say how many requests of loaders failed, and why one did.
func failures(loaders ...*loader) error {
	for _, l := range loaders {
		if n := l.failed.Load(); n > 0 {
			return fmt.Errorf("%d requests to %s failed, the first with %w", n, l.url, l.why)
		}
	}
	return nil
}

func measureServing(ctx context.Context, binary, data string, length time.Duration) ([]figure, error) {
	s, _, err := start(ctx, binary, data)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	l := &loader{url: s.url, client: &client{address: strings.TrimPrefix(s.url, "http://")}}
	defer l.client.close()
	if err := l.prepare(); err != nil {
		return nil, err
	}
	applied, probes := l.postEvents(ctx, length)
	figures := []figure{
		{fmt.Sprintf("event posted with wait=applied at %d/s", eventRate), "", latencies(applied)},
		{"... and the changed list read", "p99 < 10 ms", latencies(probes)},
	}
	for i, rate := range requestRates {
		f := figure{fmt.Sprintf("recommendations at %d/s while %d events/s arrive", rate, eventRate), "", ""}
		if i == 0 {
			f.goal = "p99 < 2 ms"
		}
		f.measured = latencies(l.mixed(ctx, rate, length))
		figures = append(figures, f)
	}
	return figures, failures(l)
}

// mixed asks for lists at a rate while events arrive.
func (l *loader) mixed(ctx context.Context, rate int, length time.Duration) *hdrhistogram.Histogram {
	var events sync.WaitGroup
	stop, cancel := context.WithCancel(ctx)
	events.Go(func() { l.postEvents(stop, length+time.Second) })
	answers := l.paced(ctx, rate, length, func(i int) error { return l.recommend(l.users[i%len(l.users)]) })
	cancel()
	events.Wait()
	return answers
}

func latencies(h *hdrhistogram.Histogram) string {
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, max %.1f ms (%d)", ms(50), ms(99), float64(h.Max())/1000, h.TotalCount())
}

// prepare finds users and items to ask about.
func (l *loader) prepare() error {
	var trending struct {
		AsOf  time.Time `json:"as_of"`
		Items []struct {
			ID string `json:"item_id"`
		} `json:"items"`
	}
	if err := l.get("/v1/trending?n=100&half_life=30d", &trending); err != nil {
		return err
	}
	for _, i := range trending.Items {
		l.items = append(l.items, i.ID)
	}
	l.at = trending.AsOf
	prefix, err := userPrefix(l.url)
	if err != nil {
		return err
	}
	for u := 1; u <= 6000; u++ {
		l.users = append(l.users, fmt.Sprint(prefix, u))
	}
	if len(l.items) == 0 {
		return fmt.Errorf("no trending items in the loaded data")
	}
	return nil
}

func (l *loader) get(path string, into any) error {
	r, err := http.Get(l.url + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, r.Status)
	}
	return json.NewDecoder(r.Body).Decode(into)
}

func (l *loader) recommend(user string) error {
	return l.client.do(http.MethodGet, "/v1/users/"+url.PathEscape(user)+"/recommendations?n=10", nil)
}

// postEvents posts one event after the other and looks at some of the lists
// that they change.
func (l *loader) postEvents(ctx context.Context, length time.Duration) (applied, probes *hdrhistogram.Histogram) {
	probes = newHistogram()
	var mutex sync.Mutex
	applied = l.paced(ctx, eventRate, length, func(i int) error {
		began := time.Now()
		user, body := l.view(i)
		if err := l.client.do(http.MethodPost, "/v1/events?wait=applied", []byte(body)); err != nil {
			return err
		}
		if i%probeEvery != 0 {
			return nil
		}
		if err := l.recommend(user); err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		return probes.RecordValue(time.Since(began).Microseconds())
	})
	return applied, probes
}

// postBatches posts events at the same rate, several with each request.
func (l *loader) postBatches(ctx context.Context, length time.Duration) {
	l.paced(ctx, eventRate/eventBatch, length, func(i int) error {
		list := make([]string, eventBatch)
		for k := range list {
			_, list[k] = l.view(i*eventBatch + k)
		}
		return l.client.do(http.MethodPost, "/v1/events", []byte("["+strings.Join(list, ",")+"]"))
	})
}

// view is the i-th view of some item by some user, as JSON.
func (l *loader) view(i int) (user, body string) {
	user = l.users[rand.IntN(len(l.users))]
	item := l.items[rand.IntN(len(l.items))]
	return user, fmt.Sprintf(`{"user_id":%q,"item_id":%q,"event_type":"view","timestamp":%d}`, user, item, l.at.UnixMilli()+int64(i))
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// paced calls fn at a fixed rate from several workers.
func (l *loader) paced(ctx context.Context, rate int, length time.Duration, fn func(i int) error) *hdrhistogram.Histogram {
	h := newHistogram()
	var mutex sync.Mutex
	var next atomic.Int64
	total := int64(length.Seconds() * float64(rate))
	began := time.Now()
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= total {
					return
				}
				due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
				time.Sleep(time.Until(due))
				if err := fn(int(i)); err != nil {
					l.fail(err)
					continue
				}
				took := time.Since(due).Microseconds()
				mutex.Lock()
				_ = h.RecordValue(max(took, 1))
				mutex.Unlock()
			}
		})
	}
	wait.Wait()
	return h
}
