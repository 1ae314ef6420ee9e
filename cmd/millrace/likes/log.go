package likes

import (
	"context"

	"millrace/event"
	"millrace/eventlog"
	"millrace/outbox"
	"millrace/outbox/topic"
)

// logTarget takes reactions to the event log, as events of their users. How far
// it is, is stored in the block with the events.
type logTarget struct {
	log    *Log
	types  map[outbox.Kind]string
	source string
}

// Name implements outbox.Target.
func (l *logTarget) Name() string { return "event log" }

// Open implements outbox.Target.
func (l *logTarget) Open(ctx context.Context) (uint64, error) { return l.Position(ctx) }

// Position implements outbox.Target.
func (l *logTarget) Position(context.Context) (uint64, error) {
	next, known := l.log.Engine.Position(l.source)
	if !known {
		return 0, nil
	}
	return next - 1, nil
}

// Close implements outbox.Target.
func (l *logTarget) Close() {}

// Take implements outbox.Target. It waits until the block is applied, because
// the engine knows a position only then.
func (l *logTarget) Take(ctx context.Context, entries []outbox.Entry) error {
	next := entries[len(entries)-1].Position + 1
	batch := eventlog.Batch{Kind: eventlog.Events, Positions: []eventlog.Position{{Source: l.source, Next: next}}}
	for i := range entries {
		if made, ok := topic.Event(&entries[i], l.types); ok {
			batch.Payload = event.AppendEvent(batch.Payload, &made)
			batch.Count++
		}
	}
	if batch.Count == 0 {
		batch.Kind = eventlog.Tick // only the position
	}
	ticket, err := l.log.Appender.Submit(batch)
	if err != nil {
		return err
	}
	if err := ticket.Wait(ctx); err != nil {
		return err
	}
	return l.log.Engine.Wait(ctx, ticket.Block())
}
