package kafkasource

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"millrace/source"
)

// redactPause is how long to wait before a redaction is tried again.
const redactPause = 10 * time.Second

// redactions takes users whom records have deleted out of the stored events, one
// after the other and beside the reading. What is left at the end, or at a crash,
// is marked in the log and done at the next start.
type redactions struct {
	redact func(ctx context.Context, user string, block uint64) error
	logger *slog.Logger

	mutex   sync.Mutex
	pending []redaction
	more    chan struct{} // holds one while there may be some
	stop    context.CancelFunc
	stopped chan struct{}
}

type redaction struct {
	user  string
	block uint64
}

func newRedactions(redact func(context.Context, string, uint64) error, logger *slog.Logger) *redactions {
	r := &redactions{redact: redact, logger: logger, more: make(chan struct{}, 1), stopped: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go r.run(ctx)
	return r
}

// add has a user redacted whom a block deletes.
func (r *redactions) add(user string, block uint64) {
	r.mutex.Lock()
	r.pending = append(r.pending, redaction{user, block})
	r.mutex.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *redactions) take() []redaction {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	list := r.pending
	r.pending = nil
	return list
}

func (r *redactions) run(ctx context.Context) {
	defer close(r.stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.more:
		}
		for _, one := range r.take() {
			for ctx.Err() == nil {
				err := r.redact(ctx, one.user, one.block)
				if err == nil {
					break
				}
				r.logger.Error("a user whom a record has deleted is not redacted from the stored events yet", "block", one.block, "error", err)
				if source.Sleep(ctx, redactPause) != nil {
					return
				}
			}
		}
	}
}

// close waits for the one that is under way.
func (r *redactions) close() {
	r.stop()
	<-r.stopped
}
