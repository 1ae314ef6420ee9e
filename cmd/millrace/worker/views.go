package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"millrace/engine/flink"
	"millrace/event"
	"millrace/operator"
	"millrace/recommend"
	"millrace/source"
	"millrace/view/redis"
)

// views are the answers in Redis, for all sessions of the process.
type views struct {
	client *redis.Client
	owner  string
}

// newViews makes the views of a job. Answers do not expire, as nothing writes
// them again while their keys do not change.
func newViews(c redis.Config, submission string) (*views, error) {
	c.TTL, c.ViewTTL = 0, nil
	client, err := redis.NewClient(c, recommend.Views())
	if err != nil {
		return nil, err
	}
	return &views{client, "flink:" + submission}, nil
}

const (
	// progressEvery is how often readers are told how far the job has come.
	progressEvery = 200 * time.Millisecond
	// leasePatience is how long a job waits for the one before it, which may
	// have been killed.
	leasePatience = redis.LeaseTime + 2*time.Second
	leasePause    = 200 * time.Millisecond
)

// Join makes a session's writer. The first subtask of the source holds the lease
// on the prefix, so that two jobs do not write under the same one.
func (v *views) Join(ctx context.Context, of flink.SessionInfo) (flink.ViewWriter, error) {
	w := &viewWriter{}
	var err error
	if w.writer, err = v.client.Join(ctx); err != nil {
		return nil, err
	}
	if of.Chain != flink.SourceChain {
		return w, nil
	}
	w.teller = &teller{writer: w.writer, phase: redis.Live, streamTime: event.MinTime, watermark: event.MinTime, done: make(chan struct{})}
	existed := false
	if of.Subtask == 0 {
		if existed, err = w.teller.claim(ctx, v); err != nil {
			return nil, err
		}
	}
	if of.Restored { // other sessions may not have written all answers yet
		w.teller.phase = redis.Building
		if existed {
			w.teller.phase = redis.Refreshing
		}
	}
	ctx, w.teller.stop = context.WithCancel(ctx)
	go w.teller.run(ctx)
	return w, nil
}

// claim takes the lease, and waits for it if another job has been heard of.
func (l *teller) claim(ctx context.Context, v *views) (existed bool, err error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	owner := redis.Owner{ID: v.owner, Host: fmt.Sprintf("%s (process %d)", host, os.Getpid())}
	for until := time.Now().Add(leasePatience); ; {
		l.lease, existed, err = v.client.Claim(ctx, owner)
		if !errors.Is(err, redis.ErrFenced) || time.Now().After(until) {
			return existed, err
		}
		if err := source.Sleep(ctx, leasePause); err != nil {
			return false, err
		}
	}
}

// viewWriter is a session's.
type viewWriter struct {
	writer *redis.Writer
	teller *teller // nil but in the source
}

// Write writes answers.
func (w *viewWriter) Write(ctx context.Context, writes []operator.ViewWrite) error {
	return lost(w.writer.Write(ctx, writes))
}

// Check looks whether Redis has what was written. It is asked before snapshots,
// and the first comes when all sessions have begun: none does before its answers
// are written.
func (w *viewWriter) Check(ctx context.Context) error {
	err := lost(w.writer.Check(ctx))
	if err == nil && w.teller != nil {
		w.teller.complete()
	}
	return err
}

// lost is an error in the words of the engine.
func lost(err error) error {
	if errors.Is(err, redis.ErrLost) {
		return fmt.Errorf("%w: %w", flink.ErrLost, err)
	}
	return err
}

// Progress notes how far the source has come. The error is why the lease on the
// prefix is not held any more.
func (w *viewWriter) Progress(streamTime, watermark event.Time) error {
	if w.teller == nil {
		return nil
	}
	return w.teller.note(streamTime, watermark)
}

// Close ends the writing.
func (w *viewWriter) Close() {
	if w.teller != nil {
		w.teller.stop()
		<-w.teller.done
	}
}

// teller tells readers how far the partitions of a subtask of the source have
// come. That of the first subtask has the lease, and says that the job lives.
type teller struct {
	writer *redis.Writer
	lease  *redis.Lease // nil in the others
	stop   context.CancelFunc
	done   chan struct{}

	mutex                 sync.Mutex
	phase                 redis.Phase
	streamTime, watermark event.Time
	err                   error
}

func (l *teller) note(streamTime, watermark event.Time) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.streamTime, l.watermark = streamTime, watermark
	return l.err
}

// complete says that all answers are there.
func (l *teller) complete() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.phase = redis.Live
}

// run tells readers until ctx ends, and then lets go of the lease, so that a job
// that follows need not wait.
func (l *teller) run(ctx context.Context) {
	defer close(l.done)
	defer l.release()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mutex.Lock()
		a := redis.Advance{Phase: l.phase, Stands: true, Shared: true, Block: uint64(time.Now().UnixMilli()), Raised: true, Watermark: l.watermark,
			Figures: []any{redis.NoPositions, 1}}
		streamTime := l.streamTime
		l.mutex.Unlock()
		if streamTime != event.MinTime {
			_ = l.writer.RaiseStreamTime(ctx, streamTime) // and again with the next tick
		}
		if l.lease == nil {
			continue
		}
		err := l.lease.Advance(ctx, &a)
		if errors.Is(err, redis.ErrFenced) || errors.Is(err, redis.ErrLost) {
			l.mutex.Lock()
			l.err = err
			l.mutex.Unlock()
			return
		}
	}
}

func (l *teller) release() {
	if l.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), progressEvery)
	defer cancel()
	_ = l.lease.Release(ctx) // else it is free when nothing was heard of it for a while
}
