package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

const (
	// queuedChanges bounds the catalogue changes that wait for SQL; beyond it
	// the engine waits.
	queuedChanges = 1 << 16
	// sqlRetry is how long a failed write to SQL waits before the next try.
	sqlRetry = 500 * time.Millisecond
)

// loggedTries is of how many tries of a change one is logged: a log that fills
// a full disk helps nobody.
const loggedTries = 60

// catalogSink writes catalogue changes to SQL behind the engine's back, in
// order. SQL may be slow or away for a while without holding up events; the
// queue is bounded, so in the end it does.
type catalogSink struct {
	store  catalog.Store // nil: there is none
	logger *slog.Logger

	mutex   sync.Mutex
	changed *sync.Cond
	queue   []event.Change
	block   uint64 // the last block put
	applied uint64 // the last block that SQL has
	ending  bool   // the engine is to stop: it is not held up any more
	closed  bool
	failed  error
	stopped chan struct{}
}

// newCatalogSink brings SQL in line with the checkpoint that was restored: a
// database that is behind it, new or lost, is built again. One that is ahead
// ignores the blocks that it has.
func newCatalogSink(store catalog.Store, c *core, logger *slog.Logger) (*catalogSink, error) {
	checkpoint := c.block
	s := &catalogSink{store: store, logger: logger, applied: checkpoint, block: checkpoint, stopped: make(chan struct{})}
	s.changed = sync.NewCond(&s.mutex)
	if store == nil {
		close(s.stopped)
		return s, nil
	}
	applied, err := store.Applied(context.Background())
	if err == nil && applied < checkpoint {
		var users []*event.User
		if users, err = c.knownUsers(); err == nil {
			err = store.Rebuild(context.Background(), checkpoint, c.index.Items(), slices.Values(users))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	go s.run()
	return s, nil
}

// knownUsers are the users of whom the catalogue knows something, and those of
// whom there is only state, as they have sent events and nobody has described
// them: SQL has a row for each.
func (c *core) knownUsers() ([]*event.User, error) {
	users := slices.Collect(c.index.Users())
	seen := map[string]bool{}
	stages := map[string]bool{} // that are keyed by user
	for _, n := range c.pipeline.Topology().Nodes() {
		stages[n.Name] = n.Subject == operator.SubjectUser
	}
	err := c.pipeline.State(func(stage, key string, _ []byte) error {
		if stages[stage] && !seen[key] && c.index.User(key) == nil {
			seen[key] = true
			users = append(users, &event.User{ID: key})
		}
		return nil
	})
	return users, err
}

// put queues the changes of a block.
func (s *catalogSink) put(block uint64, changes []event.Change) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for len(s.queue) > queuedChanges && !s.ending && s.store != nil {
		s.changed.Wait()
	}
	s.block = block
	if s.store == nil || len(changes) == 0 && len(s.queue) == 0 && s.applied == block-1 {
		s.applied = block
	} else {
		s.queue = append(s.queue, changes...)
	}
	s.changed.Broadcast()
}

func (s *catalogSink) run() {
	defer close(s.stopped)
	for {
		s.mutex.Lock()
		for s.applied == s.block && !s.closed {
			s.changed.Wait()
		}
		if s.applied == s.block {
			s.mutex.Unlock()
			return
		}
		block, changes := s.block, s.queue
		s.queue = nil
		s.changed.Broadcast()
		s.mutex.Unlock()
		if !s.apply(block, changes) {
			return
		}
	}
}

// apply writes one transaction, and tries again while SQL is away. It reports
// false when the engine is closing and SQL still is: the log has the changes.
func (s *catalogSink) apply(block uint64, changes []event.Change) bool {
	for try := 0; ; try++ {
		var err error
		if len(changes) > 0 {
			err = s.store.Apply(context.Background(), block, changes)
		}
		s.mutex.Lock()
		if err == nil {
			s.applied, s.failed = block, nil
			s.changed.Broadcast()
			s.mutex.Unlock()
			return true
		}
		s.failed = err
		closed := s.closed || errors.Is(err, catalog.ErrInvalid)
		s.changed.Broadcast()
		s.mutex.Unlock()
		if closed || try%loggedTries == 0 {
			s.logger.Error("catalogue changes not written to SQL", "block", block, "changes", len(changes), "error", err)
		}
		if closed {
			return false
		}
		time.Sleep(sqlRetry)
	}
}

// wait returns once SQL has the changes of a block.
func (s *catalogSink) wait(ctx context.Context, block uint64) error {
	stop := context.AfterFunc(ctx, func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.applied < block && s.failed == nil && ctx.Err() == nil {
		s.changed.Wait()
	}
	switch {
	case s.applied >= block:
		return nil
	case s.failed != nil:
		return s.failed
	}
	return ctx.Err()
}

func (s *catalogSink) err() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.failed
}

// end lets the engine go that waits for SQL, so that it can stop.
func (s *catalogSink) end() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ending = true
	s.changed.Broadcast()
}

// close writes what is queued and stops.
func (s *catalogSink) close() {
	s.mutex.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mutex.Unlock()
	<-s.stopped
}

func isNone(err error) bool { return errors.Is(err, state.ErrNone) }
