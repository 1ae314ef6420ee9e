// Package headroom spaces garbage collections. Go collects when the heap has
// doubled since the last time. A server that holds little doubles it every
// few seconds, and while a collection runs answers take several times as
// long; one that holds a fixed amount of garbage at least collects seldom.
package headroom

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// usual is Go's own percentage.
	usual = 100
	// most bounds the percentage, and with it how far the heap can grow before
	// the percentage follows what is live.
	most = 400
	// every is how often the percentage is looked after.
	every = time.Second
)

// Keep lets garbage of at least so many bytes, but not more than four times
// what is live, gather between two collections, until ctx ends: the heap grows
// to what is live plus the larger of that and what is live. It does nothing
// where the environment sets GOGC: somebody has chosen. GOMEMLIMIT holds as
// ever.
func Keep(ctx context.Context, bytes uint64) {
	if bytes == 0 || os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(usual)
	tick := time.NewTicker(every)
	defer tick.Stop()
	now := usual
	for {
		if p := percent(live(), bytes); math.Abs(float64(p-now)) > float64(now)/10 {
			debug.SetGCPercent(p)
			now = p
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// percent is the garbage that may gather, as a percentage of what is live.
func percent(live, bytes uint64) int {
	if live == 0 {
		return most
	}
	return int(min(most, max(usual, bytes*100/live)))
}

// live is what the last collection found to be in use, in bytes.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
