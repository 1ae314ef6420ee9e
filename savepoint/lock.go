package savepoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/objectstore"
)

// Creating and sweeping must not overlap: a sweep would remove files that are
// stored already and that a manifest which is about to be written names. So
// each of them first puts a lock, and then looks for locks of the others: of
// two that begin at the same time at least one sees the other. A create waits
// for sweeps, a sweep gives way to everybody. A lock is renewed while it is
// held, and one that was not renewed for a while is that of a process which has
// ended; ages are told by the store's own clock.

const (
	lockFolder = "locks/"
	createLock = "create-"
	sweepLock  = "sweep-"

	lockLife  = 2 * time.Minute  // after the last renewal
	lockRenew = 20 * time.Second // how often it is renewed
	lockWait  = 250 * time.Millisecond
)

// errBusy is the error of a sweep while others work on the store.
var errBusy = errors.New("others are working on the store")

// lock is held by a create or a sweep.
type lock struct {
	store  *Store
	key    string
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// acquire takes a lock of a kind. The context that it returns ends with the
// lock, also when it could not be renewed in time.
func (s *Store) acquire(ctx context.Context, kind string) (context.Context, *lock, error) {
	for {
		l := &lock{store: s, key: lockFolder + kind + strings.ToLower(rand.Text()), ended: make(chan struct{})}
		err := l.put(ctx)
		if err == nil {
			err = s.alone(ctx, kind, l.key)
		}
		if err == nil {
			held, cancel := context.WithCancelCause(ctx)
			l.cancel = cancel
			go l.renew(held)
			return held, l, nil
		}
		err = errors.Join(err, s.objects.Delete(context.WithoutCancel(ctx), l.key))
		if kind == sweepLock || !errors.Is(err, errBusy) {
			return ctx, nil, err
		}
		select {
		case <-time.After(lockWait):
		case <-ctx.Done():
			return ctx, nil, ctx.Err()
		}
	}
}

func (l *lock) put(ctx context.Context) error {
	text := "held by a process that works on this store\n"
	return l.store.objects.Put(ctx, l.key, strings.NewReader(text), int64(len(text)))
}

// alone returns errBusy if there is a lock that a lock of this kind gives way
// to. Locks of processes that have ended are removed.
func (s *Store) alone(ctx context.Context, kind, own string) error {
	list, err := s.objects.List(ctx, lockFolder)
	if err != nil {
		return err
	}
	var now time.Time // by the store's clock
	for _, o := range list {
		if o.Key == own {
			now = o.Modified
		}
	}
	for _, o := range list {
		sweeps := strings.HasPrefix(o.Key, lockFolder+sweepLock)
		switch {
		case o.Key == own:
		case now.Sub(o.Modified) > lockLife:
			if err := s.objects.Delete(ctx, o.Key); err != nil {
				return err
			}
		case sweeps || kind == sweepLock:
			return fmt.Errorf("%w: %s, since %v", errBusy, o.Key, o.Modified.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// renew keeps the lock alive until its context ends.
func (l *lock) renew(ctx context.Context) {
	defer close(l.ended)
	renewed := time.Now()
	tick := time.NewTicker(lockRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		once, stop := context.WithTimeout(ctx, lockRenew)
		err := l.put(once)
		stop()
		switch {
		case err == nil:
			renewed = time.Now()
		case time.Since(renewed) > lockLife/2:
			l.cancel(fmt.Errorf("%w: the lock %s can not be renewed: %w", objectstore.ErrUnavailable, l.key, err))
			return
		}
	}
}

// release lets go of the store.
func (l *lock) release(ctx context.Context) error {
	l.cancel(nil)
	<-l.ended // so that it is not put again
	return l.store.objects.Delete(context.WithoutCancel(ctx), l.key)
}
