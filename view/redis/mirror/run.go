package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"millrace/event"
	"millrace/operator"
	"millrace/view/redis"
)

const (
	// heartbeat is how often readers are told that the engine lives.
	heartbeat = 500 * time.Millisecond
	// checkEvery is how often Redis is asked whether it is still the same.
	checkEvery = time.Second
	// linger is the least time between two trips with answers: what comes
	// meanwhile goes together.
	linger = 2 * time.Millisecond
	// leastBackoff and mostBackoff bound the time between two tries.
	leastBackoff = 100 * time.Millisecond
	mostBackoff  = 3 * time.Second
	// callTimeout bounds all that is sent at once: each round trip has the
	// configured timeout, this is for everything.
	callTimeout = 30 * time.Second
)

// runner passes on. It is one goroutine's.
type runner struct {
	mirror    *Mirror
	catalogue Catalogue
	log       *slog.Logger
	owner     redis.Owner
	lease     *redis.Lease
	phase     redis.Phase
	block     uint64 // up to which all is written
	unsent    batch  // what a trip that failed had

	// The last time that readers were told something, that Redis was checked,
	// that anything and that shared answers were sent.
	beaten, checked, sent, written time.Time
	failing                        bool // and that has been logged
	keys, rewrites                 uint64
}

// batch is what is sent together.
type batch struct {
	eager, shared []operator.ViewWrite
	changes       []event.Change
	positions     map[string]uint64
}

// run passes on until ctx ends. Whatever goes wrong, it begins anew.
func (r *runner) run(ctx context.Context) {
	backoff := leastBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := r.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if !r.failing {
			r.log.Error("the views in redis are not kept up to date", "because", redis.Cause(err), "error", err)
		}
		if r.failing = true; time.Since(began) > 10*mostBackoff {
			backoff = leastBackoff
		}
		r.note(err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, mostBackoff)
	}
	r.finish()
}

// finish sends what waits when the mirror is closed.
func (r *runner) finish() {
	if r.lease == nil || r.phase != redis.Live {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := r.send(ctx, true, true); err != nil {
		r.log.Warn("the last answers have not reached redis; the next start writes them", "because", redis.Cause(err), "error", err)
	}
}

// session claims the prefix, writes everything, and then what comes, until
// something goes wrong that needs all of that again.
func (r *runner) session(ctx context.Context) error {
	phase, err := r.claim(ctx)
	if err != nil {
		return err
	}
	for {
		began := time.Now()
		if err := r.rewrite(ctx, phase); err != nil {
			return r.judge(err)
		}
		r.log.Info("the views in redis are complete", "block", r.block, "epoch", r.lease.Epoch(), "took", time.Since(began))
		r.failing = false
		if phase, err = r.follow(ctx); err != nil {
			return r.judge(err)
		}
		whole, err := r.lease.Renew(ctx, r.owner)
		if err != nil {
			return r.judge(err)
		}
		if !whole {
			phase = redis.Building
		}
	}
}

// judge remembers what an error says of the lease.
func (r *runner) judge(err error) error {
	if errors.Is(err, redis.ErrFenced) {
		r.lease, r.owner.Again = nil, true
		r.mirror.mutex.Lock()
		r.mirror.drop()
		r.mirror.mutex.Unlock()
		r.unsent = batch{}
	}
	return err
}

// claim gets or renews the lease, and says what readers are to be told until
// everything is written.
func (r *runner) claim(ctx context.Context) (redis.Phase, error) {
	client := r.mirror.options.Client
	before, found, err := client.State(ctx)
	if err != nil && !errors.Is(err, redis.ErrCorrupt) { // which is overwritten
		return "", err
	}
	existed := false
	if r.lease == nil {
		r.lease, existed, err = client.Claim(ctx, r.owner)
	} else {
		existed, err = r.lease.Renew(ctx, r.owner)
	}
	if err != nil {
		if errors.Is(err, redis.ErrFenced) {
			r.lease = nil
		}
		return "", err
	}
	r.owner.Again, r.checked = false, time.Now()
	if found && existed && before.Phase != redis.Building {
		return redis.Refreshing, nil
	}
	return redis.Building, nil
}

// follow writes what comes. It returns without an error when everything is to
// be written again, with what readers are to be told meanwhile.
func (r *runner) follow(ctx context.Context) (redis.Phase, error) {
	refresh := time.Now().Add(r.refreshEvery())
	backoff := leastBackoff
	var failure error
	for {
		if err := r.await(ctx, failure, backoff); err != nil {
			return "", err
		}
		err := r.turn(ctx, failure != nil)
		switch {
		case err == nil:
			if failure != nil {
				r.log.Info("redis takes answers again, and has kept what it had")
				r.note(nil)
			}
			failure, backoff = nil, leastBackoff
		case errors.Is(err, redis.ErrUnreachable):
			if failure == nil {
				r.log.Error("redis takes no answers; they wait", "because", redis.Cause(err), "error", err)
			} else {
				backoff = min(2*backoff, mostBackoff)
			}
			r.note(err) // the reason may be another by now
			failure = err
		default:
			return "", err
		}
		if failure != nil {
			continue
		}
		if r.overflowed() {
			r.log.Warn("more answers waited for redis than max_pending; all are written again")
			return redis.Refreshing, nil
		}
		if time.Now().After(refresh) {
			return redis.Live, nil
		}
	}
}

// await returns when there is something to do: answers, a heartbeat, or after
// a failure the next try.
func (r *runner) await(ctx context.Context, failure error, backoff time.Duration) error {
	wake, pause := r.mirror.wake, heartbeat
	if failure != nil {
		wake, pause = nil, backoff
	} else if eager, shared := r.waiting(); eager {
		wake, pause = nil, linger
	} else if shared {
		pause = SharedInterval - time.Since(r.written)
	}
	timer := time.NewTimer(max(pause, 0))
	defer timer.Stop()
	select {
	case <-wake:
		if early := linger - time.Since(r.sent); early > 0 {
			time.Sleep(early)
		}
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// waiting reports whether answers wait, and whether some do whose time comes
// with SharedInterval.
func (r *runner) waiting() (eager, shared bool) {
	m := r.mirror
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.eager)+len(m.changes)+len(m.moved) > 0, len(m.shared) > 0
}

// turn does what is due. After a failure Redis is looked at first: it may have
// lost what it had.
func (r *runner) turn(ctx context.Context, failed bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := time.Now()
	if failed || now.Sub(r.checked) >= checkEvery {
		if err := r.lease.Check(ctx); err != nil {
			return err
		}
		r.checked = now
	}
	eager, shared := r.waiting()
	due := now.Sub(r.written) >= SharedInterval
	switch {
	case eager || shared && due || !r.unsent.empty() || r.stand().block > r.block:
		return r.send(ctx, true, due)
	case now.Sub(r.beaten) >= heartbeat:
		return r.advance(ctx, batch{}, r.stand(), false)
	}
	return nil
}

func (b *batch) empty() bool {
	return len(b.eager)+len(b.shared)+len(b.changes)+len(b.positions) == 0
}

func (r *runner) stand() point {
	r.mirror.mutex.Lock()
	defer r.mirror.mutex.Unlock()
	return r.mirror.now
}

// take takes what waits, on top of what could not be sent.
func (r *runner) take(shared bool) (batch, point) {
	m := r.mirror
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.overflow {
		r.unsent = batch{}
	}
	b := r.unsent
	b.eager, m.eager = join(b.eager, m.eager), nil
	if shared {
		b.shared, m.shared = join(b.shared, m.shared), nil
	}
	b.changes, m.changes = join(b.changes, m.changes), nil
	if b.positions == nil {
		b.positions = map[string]uint64{}
	}
	for source, next := range m.moved {
		b.positions[source] = next
	}
	clear(m.moved)
	if len(b.eager)+len(b.shared)+len(b.changes) > 2*m.max {
		m.drop()
	}
	r.unsent = batch{}
	at := m.now
	at.shared = len(m.shared) == 0
	return b, at
}

// join puts a list behind another.
func join[T any](a, b []T) []T {
	if len(a) == 0 {
		return b
	}
	return append(a, b...)
}

// send writes what waits, and tells readers so. stands says that everything
// before is written too.
func (r *runner) send(ctx context.Context, stands, shared bool) error {
	b, at := r.take(shared)
	b.eager, b.shared = coalesce(b.eager), coalesce(b.shared)
	if r.sent = time.Now(); shared {
		r.written = r.sent
	}
	err := r.write(ctx, &b, at)
	if err == nil {
		err = r.advance(ctx, b, at, stands)
	}
	if err != nil {
		r.unsent = b
		return err
	}
	if !stands {
		r.unsent.positions = b.positions
	}
	return nil
}

func (r *runner) write(ctx context.Context, b *batch, at point) error {
	client, order := r.mirror.options.Client, redis.Order{Epoch: r.lease.Epoch(), Sequence: at.sequence}
	for _, writes := range [][]operator.ViewWrite{b.shared, b.eager} {
		if err := client.Write(ctx, order, writes); err != nil {
			return fmt.Errorf("write answers: %w", err)
		}
		r.keys += uint64(len(writes))
	}
	if len(b.changes) > 0 {
		if err := client.WriteCatalogue(ctx, order, r.entries(b.changes)); err != nil {
			return fmt.Errorf("write catalogue: %w", err)
		}
	}
	return nil
}

// entries are the present values of what changes are about: they may be newer
// than the changes, of which the newer ones come yet.
func (r *runner) entries(changes []event.Change) []redis.Entry {
	seen := map[string]bool{}
	var list []redis.Entry
	for _, c := range changes {
		var e redis.Entry
		switch {
		case c.Item != nil:
			e = redis.Entry{ID: c.Item.ID, Item: r.catalogue.Item(c.Item.ID)}
		case c.User != nil:
			e = redis.Entry{ID: c.User.ID, User: r.catalogue.User(c.User.ID), IsUser: true}
		default:
			continue
		}
		if key := fmt.Sprint(e.IsUser, e.ID); !seen[key] {
			seen[key] = true
			list = append(list, e)
		}
	}
	return list
}

// advance tells readers how far Redis has come.
func (r *runner) advance(ctx context.Context, b batch, at point, stands bool) error {
	a := redis.Advance{
		Phase: r.phase, Stands: stands, Shared: at.shared, Block: at.block, StreamTime: at.streamTime, Watermark: at.watermark,
		Positions: b.positions, Changes: b.changes,
	}
	now := time.Now()
	if figures := r.mirror.options.Figures; figures != nil && now.Sub(r.beaten) >= heartbeat {
		a.Figures = figures()
	}
	if err := r.lease.Advance(ctx, &a); err != nil {
		return fmt.Errorf("tell readers: %w", err)
	}
	r.beaten = now
	if stands {
		r.block = at.block
		r.note(nil)
	}
	return nil
}

func (r *runner) overflowed() bool {
	r.mirror.mutex.Lock()
	defer r.mirror.mutex.Unlock()
	return r.mirror.overflow
}

// note publishes how it goes.
func (r *runner) note(err error) {
	r.mirror.status.Store(&Status{Err: err, Phase: r.phase, Block: r.block, Rewrites: r.rewrites, Keys: r.keys})
}

// refreshEvery is when everything is written again so that it does not expire.
func (r *runner) refreshEvery() time.Duration {
	config := r.mirror.options.Client.Config()
	if ttl := config.LeastTTL(); ttl > 0 {
		return ttl / 3
	}
	return 365 * 24 * time.Hour
}
