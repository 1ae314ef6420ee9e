package source

import (
	"context"
	"math"
	"time"

	"millrace/event"
)

// Pacer lets the events of a recording come as they came: in real time, or a
// number of times faster. The first event sets off at once; every other one is
// due when as much time has passed as lies between their event times, divided
// by the speed. When the consumer falls behind, events come without a pause
// until it has caught up. A Pacer is used by one goroutine.
type Pacer struct {
	speed float64
	now   func() time.Time
	sleep func(context.Context, time.Duration) error

	begun bool
	first event.Time
	since time.Time
}

// minPause is the shortest pause: timers are no finer, and many events with a
// pause each would make many small batches.
const minPause = time.Millisecond

// NewPacer makes a Pacer of a speed: 1 is real time, 2 twice as fast; 0, or
// anything else that is not a positive finite number, is as fast as possible.
// The clock is now, and sleep waits or returns the error of its context; Sleep
// does so.
func NewPacer(speed float64, now func() time.Time, sleep func(context.Context, time.Duration) error) *Pacer {
	if !(speed > 0) || math.IsInf(speed, 1) {
		speed = 0
	}
	return &Pacer{speed: speed, now: now, sleep: sleep}
}

// Delay is how long an event of that time is still to wait, 0 when it is due
// or within a millisecond of it. The first call begins the recording.
func (p *Pacer) Delay(t event.Time) time.Duration {
	if p.speed == 0 {
		return 0
	}
	if !p.begun {
		p.begun, p.first, p.since = true, t, p.now()
		return 0
	}
	after := float64(t-p.first) * float64(time.Millisecond) / p.speed
	if after >= math.MaxInt64/2 {
		after = math.MaxInt64 / 2 // a century and a half
	}
	delay := time.Duration(after) - p.now().Sub(p.since)
	if delay < minPause {
		return 0
	}
	return delay
}

// Wait returns when an event of that time is due, or with the error of ctx.
func (p *Pacer) Wait(ctx context.Context, t event.Time) error {
	if delay := p.Delay(t); delay > 0 {
		return p.sleep(ctx, delay)
	}
	return ctx.Err()
}

// Sleep waits for a time on the wall clock, or until ctx is done, whose error
// it returns then.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
