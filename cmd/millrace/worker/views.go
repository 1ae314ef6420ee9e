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
	"millrace/view/redis"
)

// views are the answers in Redis, for all sessions of the process.
type views struct{ client *redis.Client }

func newViews(c redis.Config) (*views, error) {
	client, err := redis.NewClient(c, recommend.Views())
	if err != nil {
		return nil, err
	}
	return &views{client}, nil
}

// progressEvery is how often readers are told how far the job has come.
const progressEvery = 200 * time.Millisecond

// Join makes a session's writer. The first subtask of the source holds the lease
// on the prefix, so that two jobs do not write under the same one.
func (v *views) Join(ctx context.Context, of flink.SessionInfo) (flink.ViewWriter, error) {
	w := &viewWriter{}
	var err error
	if w.writer, err = v.client.Join(ctx); err != nil {
		return nil, err
	}
	if of.Chain != flink.SourceChain || of.Subtask != 0 {
		return w, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	lease, _, err := v.client.Claim(ctx, redis.Owner{ID: "flink:" + of.Job, Host: fmt.Sprintf("%s (process %d)", host, os.Getpid())})
	if err != nil {
		return nil, err
	}
	w.leader = &leader{lease: lease, streamTime: event.MinTime, watermark: event.MinTime, done: make(chan struct{})}
	ctx, w.leader.stop = context.WithCancel(ctx)
	go w.leader.run(ctx)
	return w, nil
}

// viewWriter is a session's.
type viewWriter struct {
	writer *redis.Writer
	leader *leader // nil but in the first subtask of the source
}

// Write writes answers.
func (w *viewWriter) Write(ctx context.Context, writes []operator.ViewWrite) error {
	return lost(w.writer.Write(ctx, writes))
}

// Check looks whether Redis has what was written.
func (w *viewWriter) Check(ctx context.Context) error { return lost(w.writer.Check(ctx)) }

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
	if w.leader == nil {
		return nil
	}
	return w.leader.note(streamTime, watermark)
}

// Close ends the writing.
func (w *viewWriter) Close() {
	if w.leader != nil {
		w.leader.stop()
		<-w.leader.done
	}
}

// leader tells readers how far the job has come, and that it lives.
type leader struct {
	lease *redis.Lease
	stop  context.CancelFunc
	done  chan struct{}

	mutex                 sync.Mutex
	streamTime, watermark event.Time
	err                   error
}

func (l *leader) note(streamTime, watermark event.Time) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.streamTime, l.watermark = streamTime, watermark
	return l.err
}

func (l *leader) run(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mutex.Lock()
		a := redis.Advance{Phase: redis.Live, Stands: true, Shared: true, Block: uint64(time.Now().UnixMilli()), StreamTime: l.streamTime, Watermark: l.watermark,
			Figures: []any{redis.NoPositions, 1}}
		l.mutex.Unlock()
		err := l.lease.Advance(ctx, &a)
		if errors.Is(err, redis.ErrFenced) || errors.Is(err, redis.ErrLost) {
			l.mutex.Lock()
			l.err = err
			l.mutex.Unlock()
			return
		}
	}
}
