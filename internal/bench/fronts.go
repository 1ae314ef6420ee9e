package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// fronts is how many servers answer beside the engine.
const fronts = 2

// frontRates are the requests a second that all fronts get together.
var frontRates = []int{3000, 1500, 500}

// measureFronts has an engine take events and keep its views in Redis, and asks
// fronts for lists.
func measureFronts(ctx context.Context, binary, data, redis string, length time.Duration) (figures []figure, err error) {
	if err := os.Setenv("MILLRACE_REDIS_ADDRESSES", redis); err != nil {
		return nil, err
	}
	engine, _, err := start(ctx, binary, data)
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
	for _, rate := range frontRates {
		before := cpuOf(servers)
		f := measureLists(ctx, own, sides, rate, length)
		lists := float64(rate) * length.Seconds()
		f.measured += fmt.Sprintf(", %.0f us of CPU of a front each", (cpuOf(servers)-before).Seconds()/lists*1e6)
		figures = append(figures, f)
	}
	failed := own.failed.Load()
	for _, l := range sides {
		failed += l.failed.Load()
	}
	if failed > 0 {
		err = fmt.Errorf("%d requests failed", failed)
	}
	return figures, errors.Join(err, ctx.Err())
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

// measureLists asks the fronts in turns while events arrive at the engine.
func measureLists(ctx context.Context, engine *loader, sides []*loader, rate int, length time.Duration) figure {
	stop, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		engine.postEvents(stop, length+time.Second)
	}()
	var next atomic.Int64
	answers := engine.paced(ctx, rate, length, func(i int) error {
		side := sides[int(next.Add(1))%len(sides)]
		return side.recommend(engine.users[i%len(engine.users)])
	})
	cancel()
	<-done
	return figure{fmt.Sprintf("lists from %d fronts at %d/s while %d events/s arrive", len(sides), rate, eventRate), "p99 < 5 ms", latencies(answers)}
}
