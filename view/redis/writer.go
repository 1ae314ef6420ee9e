package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/event"
	"millrace/operator"
)

// Writer is one of several that write answers under a prefix, each those of its
// own keys: the subtasks of a job. Whoever has joined later writes what is newer,
// so that one that is still at work after another has taken its place overwrites
// nothing. One goroutine uses it.
type Writer struct {
	client   *Client
	epoch    uint64
	sequence uint64
	runs     map[string]bool
	marks    Lease // for its marks only
	looked   time.Time
}

// lookEvery is how often a Writer looks whether Redis has what it has written.
const lookEvery = time.Second

// Join makes a Writer.
func (c *Client) Join(ctx context.Context) (*Writer, error) {
	if err := c.loadScripts(ctx); err != nil {
		return nil, err
	}
	text, err := joinScript.EvalSha(ctx, c.redis, []string{c.writersKey(), c.stateKey()}, time.Now().UnixMilli()).Text()
	if err != nil {
		return nil, unreachable(err)
	}
	w := &Writer{client: c, looked: time.Now()}
	if w.epoch, err = strconv.ParseUint(text, 10, 64); err != nil {
		return nil, fmt.Errorf("%w: epoch: %w", ErrCorrupt, err)
	}
	if c.config.Cluster {
		w.marks = Lease{client: c, epoch: w.epoch, marks: c.markKeys()}
	} else {
		w.marks.client = c
	}
	if w.runs, err = c.runs(ctx); err != nil {
		return nil, err
	}
	return w, w.marks.setMarks(ctx)
}

// Write writes answers and returns when Redis has them, see Client.Write. The
// error is ErrLost where Redis has lost what was written before: then all of it
// has to be written again, by a Writer that joins anew.
func (w *Writer) Write(ctx context.Context, writes []operator.ViewWrite) error {
	if time.Since(w.looked) >= lookEvery {
		if err := w.Check(ctx); err != nil {
			return err
		}
		w.looked = time.Now()
	}
	w.sequence++
	return w.client.Write(ctx, Order{w.epoch, w.sequence}, writes)
}

// Check is an ErrLost if a node was started again or has taken another's place,
// or if Redis was emptied.
func (w *Writer) Check(ctx context.Context) error {
	if err := w.client.checkRuns(ctx, w.runs); err != nil {
		return err
	}
	n, err := w.client.redis.Exists(ctx, w.client.writersKey()).Result()
	switch {
	case err != nil:
		return unreachable(err)
	case n == 0:
		return fmt.Errorf("%w: it was emptied", ErrLost)
	}
	return w.marks.checkMarks(ctx)
}

// RaiseStreamTime tells readers how far event time has come in what the writer
// reads: the stream time is the largest that any writer has told.
func (w *Writer) RaiseStreamTime(ctx context.Context, t event.Time) error {
	return w.client.trip(ctx, func(p redis.Pipeliner) {
		raiseScript.EvalSha(ctx, p, []string{w.client.stateKey()}, int64(t))
	})
}
