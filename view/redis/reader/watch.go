package reader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"millrace/view/redis"
)

const (
	// lookEvery is how often the state is looked at when nobody waits for it.
	lookEvery = 500 * time.Millisecond
	// waitEvery is how often it is while somebody does.
	waitEvery = time.Millisecond
	// probeEvery is how often it is while Redis does not answer.
	probeEvery = 100 * time.Millisecond
	// tolerated is how many requests in a row may fail before the circuit is
	// broken: no more are sent then until the state can be read again.
	tolerated = 3
	// silence is how long an engine may not be heard of: it is six heartbeats.
	silence = 3 * time.Second
)

// watch looks at the state all the time. It is the circuit breaker too: while
// it does not get an answer, nobody else asks.
type watch struct {
	client *redis.Client
	log    *slog.Logger

	seen     atomic.Pointer[sight]
	failures atomic.Int32

	mutex   sync.Mutex
	waiting int
	placing int           // of them, for positions
	changed chan struct{} // closed when there is another sight

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// sight is what was seen last.
type sight struct {
	state   redis.State
	found   bool
	figures map[string]string
	places  map[string]uint64 // positions, read while somebody waits for one
	heard   time.Time         // when the engine's last sign of life was new
	err     error             // why nothing was seen
}

func newWatch(c *redis.Client, log *slog.Logger) *watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{
		client: c, log: log, changed: make(chan struct{}), wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	w.seen.Store(&sight{err: errNotYet})
	w.look(ctx, true)
	go w.run(ctx)
	return w
}

// errNotYet is why nothing is known at first.
var errNotYet = errors.New("redis has not been asked yet")

func (w *watch) close() {
	w.stop()
	<-w.done
}

func (w *watch) current() *sight { return w.seen.Load() }

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	looked := time.Now() // at the figures
	for {
		timer := time.NewTimer(w.pause())
		select {
		case <-timer.C:
		case <-w.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		figures := time.Since(looked) >= lookEvery
		if figures {
			looked = time.Now()
		}
		w.look(ctx, figures)
	}
}

func (w *watch) pause() time.Duration {
	if w.err() != nil {
		return probeEvery
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.waiting > 0 {
		return waitEvery
	}
	return lookEvery
}

// look reads the state, and the figures if they are wanted.
func (w *watch) look(ctx context.Context, figures bool) {
	config := w.client.Config()
	ctx, cancel := context.WithTimeout(ctx, config.DialTimeout+config.Timeout)
	defer cancel()
	last, now := w.current(), time.Now()
	next := *last
	next.state, next.found, next.err = w.client.State(ctx)
	if next.err == nil && figures {
		next.figures, next.err = w.client.Figures(ctx)
	}
	if next.err == nil && w.places() {
		next.places, next.err = w.client.Positions(ctx)
	}
	if next.err != nil {
		next.state, next.found = last.state, last.found
		if last.err == nil || errors.Is(last.err, errNotYet) {
			w.log.Error("the views in redis can not be read", "because", redis.Cause(next.err), "error", next.err)
		}
	} else {
		w.failures.Store(0)
		if last.err != nil && !errors.Is(last.err, errNotYet) {
			w.log.Info("the views in redis can be read again")
		}
		if next.state.Heard != last.state.Heard || last.heard.IsZero() {
			next.heard = now
		}
	}
	w.show(&next)
}

func (w *watch) show(s *sight) {
	w.seen.Store(s)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// failed counts the failure of a request, and gives what is answered for it.
// Some in a row break the circuit.
func (w *watch) failed(err error) error {
	if !errors.Is(err, redis.ErrUnreachable) {
		return unavailable(err)
	}
	if w.failures.Add(1) == tolerated {
		s := *w.current()
		if s.err == nil {
			w.log.Error("the views in redis can not be read", "because", redis.Cause(err), "error", err)
		}
		s.err = err
		w.show(&s)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return unavailable(err)
}

func (w *watch) succeeded() {
	if w.failures.Load() != 0 {
		w.failures.Store(0)
	}
}

// err is why nothing is read at present.
func (w *watch) err() error {
	s := w.current()
	if s.err != nil {
		return unavailable(s.err)
	}
	return readable(s.state, s.found)
}

// stale says why answers may be older than they should be.
func (w *watch) stale() string {
	s := w.current()
	switch quiet := time.Since(s.heard); {
	case s.err != nil || !s.found:
		return ""
	case quiet > silence:
		return fmt.Sprintf("the engine has not been heard of for %d s", int(quiet.Seconds()))
	case s.state.Phase == redis.Refreshing:
		return "the engine is writing all views again"
	}
	return ""
}

// places reports whether somebody waits for positions.
func (w *watch) places() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.placing > 0
}

// wait returns once the state is as wanted.
func (w *watch) wait(ctx context.Context, as func(redis.State) bool) error {
	return w.until(ctx, 0, func(s *sight) bool { return as(s.state) })
}

// waitPositions returns once sources have come so far.
func (w *watch) waitPositions(ctx context.Context, want map[string]uint64) error {
	return w.until(ctx, 1, func(s *sight) bool {
		for source, next := range want {
			if s.places[source] < next {
				return false
			}
		}
		return s.state.Phase != redis.Building
	})
}

// until returns once what is seen is as wanted.
func (w *watch) until(ctx context.Context, placing int, as func(*sight) bool) error {
	w.mutex.Lock()
	w.waiting++
	w.placing += placing
	w.mutex.Unlock()
	defer func() {
		w.mutex.Lock()
		w.waiting--
		w.placing -= placing
		w.mutex.Unlock()
	}()
	for {
		w.mutex.Lock()
		changed := w.changed
		w.mutex.Unlock()
		if s := w.current(); s.err == nil && s.found && as(s) {
			return nil
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
