package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fronts is how many servers answer beside the engine.
const fronts = 2

// frontRates are the requests a second that all fronts get together. One has a
// goal, the others show how far it goes.
var frontRates = []int{250, 500, frontGoalRate}

const frontGoalRate = 1000

// measureFronts has an engine take events and keep its views in Redis, and asks
// fronts for lists of all users in turn. The engine's data is imported, unless a
// directory is loaded.
func measureFronts(ctx context.Context, binary, data, loaded, redis string, length time.Duration) (figures []figure, err error) {
	if loaded == "" {
		dir, err := os.MkdirTemp("", "millrace-bench-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		loaded = filepath.Join(dir, "loaded")
		if _, err := load(ctx, binary, data, dir, loaded); err != nil {
			return nil, err
		}
	}
	if err := os.Setenv("MILLRACE_REDIS_ADDRESSES", redis); err != nil {
		return nil, err
	}
	engine, _, err := start(ctx, binary, loaded)
	if err != nil {
		return nil, err
	}
	defer engine.stop()
	if err := os.Setenv("MILLRACE_REDIS_ENGINE", engine.url); err != nil {
		return nil, err
	}
	var servers []*server
	for range fronts {
		s, took, err := start(ctx, binary, data, "--views", "redis")
		if err != nil {
			return nil, err
		}
		defer s.stop()
		servers = append(servers, s)
		if err := s.awaitOK(); err != nil { // all views are in Redis
			return figures, err
		}
		figures = append(figures, figure{"a front's start to ready", "", seconds(took)})
	}
	own := &loader{client: &client{address: strings.TrimPrefix(engine.url, "http://")}, url: engine.url}
	defer own.client.close()
	if err := own.prepare(); err != nil {
		return figures, err
	}
	var sides []*loader
	for _, s := range servers {
		l := &loader{client: &client{address: strings.TrimPrefix(s.url, "http://")}, url: s.url, users: own.users, items: own.items, at: own.at}
		defer l.client.close()
		sides = append(sides, l)
	}
	applied, probes := sides[0].postEvents(ctx, length)
	figures = append(figures,
		figure{fmt.Sprintf("event posted to a front with wait=applied at %d/s", eventRate), "", latencies(applied)},
		figure{"... and the changed list read from it", "", latencies(probes)})
	figures = append(figures, inTurn(ctx, sides, length))
	for _, events := range []bool{false, true} {
		for _, rate := range frontRates {
			before := cpuOf(servers)
			f := measureLists(ctx, own, sides, rate, events, length)
			if rate == frontGoalRate {
				f.goal = "p99 < 5 ms"
			}
			lists := float64(rate) * length.Seconds()
			f.measured += fmt.Sprintf(", %.0f us of CPU of a front each", (cpuOf(servers)-before).Seconds()/lists*1e6)
			figures = append(figures, f)
		}
	}
	return figures, errors.Join(failures(append(sides, own)...), ctx.Err())
}

// awaitOK returns when a server's health is ok, and not degraded any more.
func (s *server) awaitOK() error {
	var health struct{ Status, Reason string }
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(s.url + "/v1/health")
		if err != nil {
			return err
		}
		err = json.NewDecoder(r.Body).Decode(&health)
		r.Body.Close()
		if err == nil && health.Status == "ok" {
			return nil
		}
	}
	return fmt.Errorf("health of %s is %s after a minute: %s", s.url, health.Status, health.Reason)
}

// ticksPerSecond is the unit of CPU time in /proc on Linux, whatever the
// kernel's own is.
const ticksPerSecond = 100

// cpuOf is the CPU time that servers have taken so far, 0 where /proc does not
// tell.
func cpuOf(servers []*server) time.Duration {
	total := time.Duration(0)
	for _, s := range servers {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(after) // from the third field on
		if len(f) < 13 {
			continue
		}
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		total += time.Duration(user+system) * time.Second / ticksPerSecond
	}
	return total
}

// inTurn asks each front for one list after the other.
func inTurn(ctx context.Context, sides []*loader, length time.Duration) figure {
	all := newHistogram()
	var mutex sync.Mutex
	var wait sync.WaitGroup
	for _, side := range sides {
		wait.Go(func() {
			for end, i := time.Now().Add(length), 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
				began := time.Now()
				if err := side.recommend(side.users[i%len(side.users)]); err != nil {
					side.fail(err)
					continue
				}
				took := time.Since(began).Microseconds()
				mutex.Lock()
				_ = all.RecordValue(took)
				mutex.Unlock()
			}
		})
	}
	wait.Wait()
	return figure{fmt.Sprintf("lists from %d fronts, a client each that asks for one after the other", len(sides)), "p99 < 5 ms",
		fmt.Sprintf("%s, %.0f/s", latencies(all), float64(all.TotalCount())/length.Seconds())}
}

// measureLists asks the fronts in turns, while nothing else happens or events
// arrive at the engine, in batches, as they do from topics and collectors.
func measureLists(ctx context.Context, engine *loader, sides []*loader, rate int, events bool, length time.Duration) figure {
	stop, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	what := "alone"
	if events {
		what = fmt.Sprintf("while %d events/s arrive", eventRate)
	}
	go func() {
		defer close(done)
		if events {
			engine.postBatches(stop, length+time.Second)
		}
	}()
	var next atomic.Int64
	answers := engine.paced(ctx, rate, length, func(i int) error {
		side := sides[int(next.Add(1))%len(sides)]
		return side.recommend(engine.users[i%len(engine.users)])
	})
	cancel()
	<-done
	return figure{fmt.Sprintf("lists from %d fronts at %d/s %s", len(sides), rate, what), "", latencies(answers)}
}
