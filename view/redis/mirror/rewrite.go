package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/operator"
	"millrace/view/redis"
)

// rewriteChunk is how many keys are written between two looks at what has come
// meanwhile.
const rewriteChunk = 500

// ErrRewriting is why fronts have not everything while it is being written.
var ErrRewriting = errors.New("everything is being written to redis again")

// rewrite writes everything there is under the epoch that has just begun, and
// deletes what is older than that: what died while nobody could say so. What
// comes meanwhile is written in between. Readers are told the phase until then.
func (r *runner) rewrite(ctx context.Context, phase redis.Phase) error {
	r.phase = phase
	r.rewrites++
	m := r.mirror
	m.mutex.Lock()
	m.live, m.overflow = true, false // from here on all that comes is collected
	m.mutex.Unlock()
	if err := r.advance(ctx, batch{}, point{}, false); err != nil {
		return err
	}
	if phase != redis.Live {
		r.note(ErrRewriting)
	}
	p := r.newPace(phase)
	for _, name := range m.options.Client.Views() {
		for keys := range slices.Chunk(m.Keys(name), rewriteChunk) {
			if err := r.rewriteKeys(ctx, name, keys); err != nil {
				return err
			}
			if err := p.wait(ctx, len(keys)); err != nil {
				return err
			}
		}
	}
	if err := r.rewriteCatalogue(ctx, p); err != nil {
		return err
	}
	epoch := r.lease.Epoch()
	// Looking at a key costs Redis a tenth of writing it.
	sweep := &pace{runner: r, rate: 10 * p.rate, stands: p.stands, began: time.Now()}
	deleted, err := m.options.Client.Sweep(ctx, epoch, func(keys int) error { return sweep.wait(ctx, keys) })
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if err := m.options.Client.SweepCatalogue(ctx, epoch); err != nil {
		return fmt.Errorf("sweep the catalogue: %w", err)
	}
	if deleted > 0 {
		r.log.Info("answers in redis that nothing stands for any more were deleted", "keys", deleted)
	}
	r.phase = redis.Live
	m.mutex.Lock()
	maps.Copy(m.moved, m.positions) // Redis may have lost these too
	m.mutex.Unlock()
	return r.send(ctx, true, true)
}

// rewriteKeys writes the present answers of keys.
func (r *runner) rewriteKeys(ctx context.Context, name string, keys []string) error {
	m := r.mirror
	m.mutex.Lock()
	s, sequence := m.Snapshot(), m.now.sequence
	m.mutex.Unlock()
	writes := make([]operator.ViewWrite, 0, len(keys))
	for _, key := range keys {
		if v, ok := s.Get(name, key); ok {
			writes = append(writes, operator.ViewWrite{View: name, Key: key, Value: v})
		}
	}
	s.Close()
	r.keys += uint64(len(writes))
	if err := m.options.Client.Write(ctx, redis.Order{Epoch: r.lease.Epoch(), Sequence: max(1, sequence)}, writes); err != nil {
		return fmt.Errorf("rewrite view %s: %w", name, err)
	}
	return nil
}

// rewriteCatalogue writes all items, and the users that something is known of.
// An entry that changes meanwhile is written again, under a later sequence.
func (r *runner) rewriteCatalogue(ctx context.Context, p *pace) error {
	var entries []redis.Entry
	flush := func() error {
		at := r.stand()
		err := r.mirror.options.Client.WriteCatalogue(ctx, redis.Order{Epoch: r.lease.Epoch(), Sequence: max(1, at.sequence)}, entries)
		if err != nil {
			return fmt.Errorf("rewrite catalogue: %w", err)
		}
		n := len(entries)
		r.keys += uint64(n)
		entries = entries[:0]
		return p.wait(ctx, n)
	}
	add := func(e redis.Entry) error {
		entries = append(entries, e)
		if len(entries) < rewriteChunk {
			return nil
		}
		return flush()
	}
	for item := range r.catalogue.Items() {
		if err := add(redis.Entry{ID: item.ID, Item: r.catalogue.Item(item.ID)}); err != nil {
			return err
		}
	}
	for user := range r.catalogue.Users() {
		if err := add(redis.Entry{ID: user.ID, User: r.catalogue.User(user.ID), IsUser: true}); err != nil {
			return err
		}
	}
	return flush()
}

// pace keeps a rewrite from taking all of Redis, and passes on what comes
// meanwhile.
type pace struct {
	runner *runner
	rate   int // keys a second
	stands bool
	began  time.Time
	keys   int
}

// refreshKeys is the least number of keys a second that a refresh writes.
const refreshKeys = 1000

func (r *runner) newPace(phase redis.Phase) *pace {
	config := r.mirror.options.Client.Config()
	p := &pace{runner: r, rate: config.RewriteRate, stands: phase == redis.Live, began: time.Now()}
	if phase == redis.Live && config.LeastTTL() > 0 { // nothing is missing: it only has to be done before anything expires
		keys := 0
		for _, name := range r.mirror.options.Client.Views() {
			keys += r.mirror.Len(name)
		}
		p.rate = min(p.rate, max(refreshKeys, int(float64(keys)/(config.LeastTTL()/6).Seconds())))
	}
	return p
}

// wait is called after so many keys.
func (p *pace) wait(ctx context.Context, keys int) error {
	p.keys += keys
	due := p.began.Add(time.Duration(float64(p.keys) / float64(p.rate) * float64(time.Second)))
	for {
		r := p.runner
		if r.overflowed() {
			return nil // what waits was dropped: another rewrite follows this one
		}
		if err := p.pass(ctx); err != nil {
			return err
		}
		left := time.Until(due)
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(min(left, linger)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass passes on what has come meanwhile.
func (p *pace) pass(ctx context.Context) error {
	r, now := p.runner, time.Now()
	eager, shared := r.waiting()
	due := now.Sub(r.written) >= SharedInterval
	switch {
	case eager || shared && due:
		return r.send(ctx, p.stands, due)
	case now.Sub(r.beaten) >= heartbeat:
		return r.advance(ctx, batch{}, point{}, false)
	}
	return nil
}
