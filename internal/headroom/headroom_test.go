package headroom

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live, bytes uint64
		want        int
	}{
		{0, 512 << 20, most},
		{1 << 20, 512 << 20, most},    // little is live: four times as much may gather
		{256 << 20, 512 << 20, 200},   // so much that 512 MiB may
		{512 << 20, 512 << 20, usual}, // as Go does it
		{100 << 30, 512 << 20, usual}, // nor less
		{256 << 20, 1, usual},
	} {
		if got := percent(c.live, c.bytes); got != c.want {
			t.Errorf("%d bytes live, headroom %d: %d %%, want %d", c.live, c.bytes, got, c.want)
		}
	}
}

// The collector is told, and told otherwise at the end.
func TestKeep(t *testing.T) {
	t.Setenv("GOGC", "")
	runtime.GC()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		Keep(ctx, 1<<40)
		close(ended)
	}()
	deadline := time.Now().Add(10 * time.Second)
	for gogc() != most && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := gogc(); got != most {
		t.Errorf("while it is kept: %d %%, want %d", got, most)
	}
	cancel()
	<-ended
	if got := gogc(); got != usual {
		t.Errorf("afterwards: %d %%, want %d", got, usual)
	}
}

// What somebody has chosen stays.
func TestGOGCStays(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := gogc()
	Keep(context.Background(), 1<<40)
	if got := gogc(); got != before {
		t.Errorf("%d %%, was %d", got, before)
	}
}

func gogc() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
