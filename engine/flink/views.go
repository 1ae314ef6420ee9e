package flink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"millrace/event"
	"millrace/operator"
)

// Views are where sessions write answers.
type Views interface {
	// Join begins a session's writing: what it writes is newer than what those
	// have written that joined before.
	Join(ctx context.Context, of SessionInfo) (ViewWriter, error)
}

// SessionInfo says what a session is.
type SessionInfo struct {
	Job, Chain string
	Subtask    int
	// Restored says that there is state: answers will come before records do.
	Restored bool
}

// ViewWriter writes a session's answers. Its methods are called one at a time.
type ViewWriter interface {
	// Write returns when the answers are kept. An error that wraps ErrLost says
	// that earlier ones are not any more; others are tried again.
	Write(ctx context.Context, writes []operator.ViewWrite) error
	// Check is an error that wraps ErrLost if the store has lost answers that
	// were written. It is asked before a snapshot.
	Check(ctx context.Context) error
	// Progress notes how far the partitions have come that the session reads, for
	// readers; only sessions of SourceChain say so. Its error ends the session.
	Progress(streamTime, watermark event.Time) error
	// Close ends the writing.
	Close()
}

// ErrLost is the error of a ViewWriter whose store has lost answers. The session
// ends with it: the job is restored, and all keys answer again.
var ErrLost = errors.New("the views have lost answers")

const (
	// viewsPatience is how long a session tries to write answers, before it gives
	// up: less than its peer waits for a reply.
	viewsPatience = 30 * time.Second
	// viewsPause is how long it waits between two tries.
	viewsPause = 250 * time.Millisecond
	// viewsWaiting bounds the answers that wait to be written: beyond it the
	// session waits for the store.
	viewsWaiting = 1 << 16
)

// outbox writes answers beside the session, those of several batches together
// if the store is slower than the session. It has a goroutine only while there
// are any.
type outbox struct {
	writer ViewWriter
	ctx    context.Context

	mutex   sync.Mutex
	changed sync.Cond
	queue   []operator.ViewWrite
	spare   []operator.ViewWrite
	busy    bool
	err     error
	written uint64
}

func newOutbox(ctx context.Context, w ViewWriter) *outbox {
	o := &outbox{writer: w, ctx: ctx}
	o.changed.L = &o.mutex
	return o
}

// put takes the answers of a batch, and waits while too many wait already.
func (o *outbox) put(writes []operator.ViewWrite) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for len(o.queue) > viewsWaiting && o.err == nil {
		o.changed.Wait()
	}
	if o.err != nil || len(writes) == 0 {
		return o.err
	}
	o.queue = append(o.queue, writes...)
	if !o.busy {
		o.busy = true
		go o.run()
	}
	return nil
}

// drain waits until all is written.
func (o *outbox) drain() error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for o.busy && o.err == nil {
		o.changed.Wait()
	}
	return o.err
}

// settled waits until all is written, and looks whether it still is.
func (o *outbox) settled() error {
	if err := o.drain(); err != nil {
		return err
	}
	return o.patiently(func() error { return o.writer.Check(o.ctx) })
}

// run writes what waits, and ends when nothing does.
func (o *outbox) run() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for len(o.queue) > 0 && o.err == nil {
		list := o.queue
		o.queue, o.spare = o.spare[:0], nil
		o.mutex.Unlock()
		n, err := o.write(list)
		clear(list)
		o.mutex.Lock()
		o.spare, o.err = list, err
		if err == nil {
			o.written += uint64(n)
		}
		o.changed.Broadcast()
	}
	o.busy = false
	o.changed.Broadcast()
}

// write writes the last answer of each key.
func (o *outbox) write(list []operator.ViewWrite) (int, error) {
	list = latest(list)
	return len(list), o.patiently(func() error { return o.writer.Write(o.ctx, list) })
}

// patiently does something that needs the store, and tries again for a while.
func (o *outbox) patiently(do func() error) error {
	for until := time.Now().Add(viewsPatience); ; {
		err := do()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrLost) || o.ctx.Err() != nil || time.Now().After(until):
			return fmt.Errorf("write answers: %w", err)
		}
		select {
		case <-time.After(viewsPause):
		case <-o.ctx.Done():
		}
	}
}

// latest leaves the last write of each key, in the order of their first ones.
func latest(list []operator.ViewWrite) []operator.ViewWrite {
	type place struct{ view, key string }
	at := make(map[place]int, len(list))
	n := 0
	for _, w := range list {
		p := place{w.View, w.Key}
		i, seen := at[p]
		if !seen {
			i = n
			at[p] = n
			n++
		}
		list[i] = w
	}
	return list[:n]
}
