package collect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
)

// Local collects into the log of this process.
type Local struct {
	Log      *eventlog.Log
	Appender *eventlog.Appender
	// Stored is how far a source is in the log, and whether it is at all.
	Stored func(source string) (next uint64, known bool)
	Logger *slog.Logger
}

// failurePause is before a log that does not work is tried again.
const failurePause = 200 * time.Millisecond

// Position implements Target.
func (l *Local) Position(_ context.Context, source string) (next uint64, known bool, err error) {
	next, known = l.Stored(source)
	return next, known, nil
}

// Put implements Target. When the log has failed, what is stored is known once
// it works again.
func (l *Local) Put(ctx context.Context, b Batch) error {
	batch := eventlog.Batch{Kind: eventlog.Events, Payload: b.Payload, Count: b.Count, Positions: []eventlog.Position{{Source: b.Source, Next: b.Next}}}
	ticket, err := eventlog.SubmitWhenRoom(ctx, l.Appender, batch)
	if err == nil {
		err = ticket.Wait(ctx)
	}
	if err == nil || errors.Is(err, eventlog.ErrClosed) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.Logger.Warn("lines are not collected until the log works again", "error", err)
	for l.Appender.Err() != nil {
		if err := source.Sleep(ctx, failurePause); err != nil {
			return err
		}
	}
	return ErrUnsure
}

// Reject implements Target.
func (l *Local) Reject(ctx context.Context, list []Letter) error {
	letters := make([]eventlog.DeadLetter, len(list))
	now := event.FromGo(time.Now())
	for i := range list {
		letters[i] = eventlog.DeadLetter{Time: now, Raw: list[i].Line, Error: list[i].Text()}
	}
	for {
		err := l.Log.AppendDeadLetters(letters)
		if err == nil || errors.Is(err, eventlog.ErrClosed) {
			return err
		}
		if err := source.Sleep(ctx, failurePause); err != nil {
			return err
		}
	}
}

// Err implements Target.
func (l *Local) Err() error { return l.Appender.Err() }

// Background is a Collector that runs in a server. It is a prometheus.Collector.
type Background struct {
	*Collector
	stop context.CancelFunc
	done sync.WaitGroup
}

// Start collects in the background; nil if nothing is to be collected. That a
// collector ends is logged: the server goes on without it.
func Start(ctx context.Context, c Config, types *event.Types, into *Local) (*Background, error) {
	if !c.Enabled() {
		return nil, nil
	}
	collector, err := New(c, types, into, into.Logger)
	if err != nil {
		return nil, err
	}
	b := &Background{Collector: collector}
	ctx, b.stop = context.WithCancel(ctx)
	b.done.Go(func() {
		if err := errors.Join(collector.Run(ctx, false), collector.Close()); err != nil && ctx.Err() == nil {
			into.Logger.Error("lines are not collected any more", "error", err)
		}
	})
	return b, nil
}

// Stop ends the collecting; what was handed over is stored or will be collected
// again. It may be called on nil.
func (b *Background) Stop() {
	if b == nil {
		return
	}
	b.stop()
	b.done.Wait()
}
