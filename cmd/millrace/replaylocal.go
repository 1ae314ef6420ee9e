package main

import (
	"context"
	"errors"
	"time"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
)

// local imports into a data directory that this process has opened.
type local struct {
	node     *node
	sent     []sent // not known to be durable yet, oldest first
	repeats  int
	rejected []eventlog.DeadLetter
}

// sent is a batch on its way.
type sent struct {
	ticket *eventlog.Ticket
	count  int
	events bool
}

const (
	// sentBatches is how many batches are on their way at most.
	sentBatches = 16
	// heldLetters is how many dead letters are stored together.
	heldLetters = 1000
	// overloadPause is how long to wait when the log's queue is full.
	overloadPause = time.Millisecond
)

func (l *local) position(_ context.Context, name string) (uint64, error) {
	row, _ := l.node.engine.Position(name)
	return row, nil
}

func (l *local) put(ctx context.Context, name string, b source.Batch) error {
	batch := eventlog.Batch{Kind: eventlog.Events, Payload: b.Payload, Count: b.Count}
	if b.Changes {
		batch.Kind = eventlog.Catalogue
	}
	if name != "" {
		batch.Positions = []eventlog.Position{{Source: name, Next: b.Row}}
	}
	for {
		ticket, err := l.node.appender.Submit(batch)
		if errors.Is(err, eventlog.ErrOverloaded) {
			if err := source.Sleep(ctx, overloadPause); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		l.sent = append(l.sent, sent{ticket, b.Count, !b.Changes})
		return l.settle(ctx, sentBatches)
	}
}

// settle waits until at most so many batches are on their way.
func (l *local) settle(ctx context.Context, most int) error {
	for len(l.sent) > most {
		s := l.sent[0]
		if err := s.ticket.Err(); err != nil {
			return err
		}
		if err := l.node.engine.Wait(ctx, s.ticket.Block()); err != nil {
			return err
		}
		if s.events {
			l.repeats += l.node.engine.Duplicates(s.ticket.Block(), s.ticket.First(), s.count)
		}
		l.sent = l.sent[1:]
	}
	return nil
}

func (l *local) reject(_ context.Context, bad *source.Bad) error {
	l.rejected = append(l.rejected, eventlog.DeadLetter{
		Time: event.FromGo(time.Now()), Raw: append([]byte(nil), bad.Raw...), Error: bad.Err.Error(),
	})
	if len(l.rejected) < heldLetters {
		return nil
	}
	return l.storeRejected()
}

func (l *local) storeRejected() error {
	list := l.rejected
	l.rejected = nil
	if len(list) == 0 {
		return nil
	}
	return l.node.log.AppendDeadLetters(list)
}

func (l *local) flush(ctx context.Context) (duplicates, rejected int, err error) {
	err = errors.Join(l.storeRejected(), l.settle(ctx, 0))
	return l.repeats, 0, err
}

func (l *local) late() uint64 { return l.node.engine.Stats().Late }

func (l *local) close() error { return l.node.close() }
