package front

import (
	"context"
	"fmt"
	"time"

	"millrace/event"
	"millrace/event/wire"
	"millrace/serve/api"
	"millrace/serve/forward"
)

// writeTimeout bounds a write of the shared catalogue.
const writeTimeout = 30 * time.Second

// sharedCatalogue is a catalogue that fronts write themselves, as no engine's log
// has it: that of jobs on Flink.
type sharedCatalogue struct {
	*inSQL
	// deletions is the topic that says to what computes that somebody or
	// something is gone.
	deletions *forward.Topic
}

// write writes changes of the catalogue. What is deleted goes to the topic first:
// a deletion that is in the catalogue is known to whatever reads the topic, and one
// that fails between is asked for again.
func (s *sharedCatalogue) write(b api.Batch) (api.Ticket, error) {
	r := wire.NewReader(b.Payload)
	changes := make([]event.Change, b.Count)
	var gone []forward.Record
	for k := range changes {
		changes[k] = event.ReadChange(r)
		if key := event.DeletionKey(&changes[k]); key != nil {
			gone = append(gone, forward.Record{Key: key})
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("a change: %w", err)
	}
	if err := send(s.deletions, gone); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), writeTimeout)
	defer stop()
	block, err := s.store.Write(ctx, changes)
	if err != nil {
		return nil, fmt.Errorf("%w: writing the catalogue's database does not work at present", api.ErrUnavailable)
	}
	return written(block), nil
}

// written is the ticket of a block that is in the database.
type written uint64

// closed is of what is done.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done is closed.
func (written) Done() <-chan struct{} { return closed }

// Err is nil.
func (written) Err() error { return nil }

// Block is its number in the database.
func (w written) Block() uint64 { return uint64(w) }

// First is of no use: changes have no repeats.
func (written) First() int { return 0 }

// waitBlock returns once this front's catalogue has what was written.
func (s *inSQL) waitBlock(ctx context.Context, block uint64) error {
	tick := time.NewTicker(sqlLook)
	defer tick.Stop()
	for {
		if at, ok := s.follower.Block(); ok && at >= block {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sharedIngest sends events to the topic, and writes changes to the catalogue.
type sharedIngest struct {
	*topicIngest
	catalogue *sharedCatalogue
}

// Submit implements api.Ingest.
func (i sharedIngest) Submit(b api.Batch) (api.Ticket, error) {
	if b.Kind == api.Changes {
		return i.catalogue.write(b)
	}
	return i.topicIngest.Submit(b)
}

// sharedRedactor takes a deleted user out of what is not the topic's.
type sharedRedactor struct{ front *front }

// Redact takes the name off what the likes service keeps. Events are in topics,
// which only their retention ends: api.ErrRetained.
func (r sharedRedactor) Redact(ctx context.Context, user string, _ uint64) error {
	if r.front.likes != nil {
		if err := r.front.likes.Forget(ctx, user); err != nil {
			return fmt.Errorf("%w: taking the name off likes: %w", api.ErrUnavailable, err)
		}
	}
	return api.ErrRetained
}
