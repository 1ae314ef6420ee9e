package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source"
	"millrace/source/format"
)

// decodePause is how long to wait before a record is decoded again that can not
// be at present.
const decodePause = time.Second

// batch is what is handed over together of one partition.
type batch struct {
	payload []byte
	count   int
	bad     []badRecord
	figures figures
}

// badRecord is a record that is no event.
type badRecord struct {
	record *kgo.Record
	fault  *event.FieldError
}

func (b *batch) reset() {
	b.payload, b.count, b.bad, b.figures = b.payload[:0], 0, b.bad[:0], figures{}
}

// handOver gives the records of a partition to the log, with how far they come,
// but for those that it was given already.
func (s *session) handOver(ctx context.Context, name string, id int32, records []*kgo.Record) error {
	s.mu.Lock()
	p := s.assigned[Source(name, id)]
	next := s.next[Source(name, id)]
	s.mu.Unlock()
	if p == nil {
		return nil // it is another member's now
	}
	from := next
	s.batch.reset()
	for _, r := range records {
		if uint64(r.Offset) < next {
			s.batch.figures.repeated++
			continue
		}
		change, deletes := s.c.o.Config.Deletion(r.Key, r.Value)
		switch {
		case r.Attrs.IsControl():
		case deletes:
			if err := s.submitDeletion(ctx, p, uint64(r.Offset), next > from, &change); err != nil {
				return err
			}
			next = uint64(r.Offset) + 1
			from = next
			continue
		default:
			if err := s.decode(ctx, p, r); err != nil {
				return err
			}
		}
		next = uint64(r.Offset) + 1
		if s.batch.count >= source.DefaultBatchCount || len(s.batch.payload) >= source.DefaultBatchBytes {
			if err := s.submitBatch(ctx, p, next); err != nil {
				return err
			}
			from = next
		}
	}
	if next == from {
		s.c.status.read(p, &s.batch.figures)
		return nil
	}
	return s.submitBatch(ctx, p, next)
}

// decode adds a record to the batch, as an event or as a bad one. A decoder that
// waits for something has it wait.
func (s *session) decode(ctx context.Context, p *partition, r *kgo.Record) error {
	record := format.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Time: event.FromGo(r.Timestamp)}
	var e event.Event
	bad, err := p.topic.decoder.Decode(ctx, &record, s.c.now(), &e)
	for err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.c.status.waiting(p.topic.Name, fmt.Sprintf("topic %s: %s", p.topic.Name, err))
		if err := source.Sleep(ctx, decodePause); err != nil {
			return err
		}
		if bad, err = p.topic.decoder.Decode(ctx, &record, s.c.now(), &e); err == nil {
			s.c.status.waiting(p.topic.Name, "")
		}
	}
	b := &s.batch
	b.figures.records++
	b.figures.bytes += uint64(len(r.Key) + len(r.Value))
	if bad != nil {
		b.bad = append(b.bad, badRecord{r, bad.Err})
		b.figures.bad++
		return nil
	}
	b.payload = event.AppendEvent(b.payload, &e)
	b.count++
	return nil
}

// submitBatch hands the batch over. Its bad records are stored before, as the
// position passes them too.
func (s *session) submitBatch(ctx context.Context, p *partition, next uint64) error {
	if err := s.c.letters.store(ctx, p, s.batch.bad); err != nil {
		return err
	}
	t, err := s.submit(ctx, eventlog.Batch{
		Kind: eventlog.Events, Payload: s.batch.payload, Count: s.batch.count, Partition: p.source,
		Positions: []eventlog.Position{{Source: p.source, Next: next}},
	})
	if err != nil {
		return err
	}
	s.submitted(sent{ticket: t, partition: p, next: next})
	return nil
}

// submitDeletion hands over the record at an offset, which deletes somebody or
// something, after those before it that are in the batch.
func (s *session) submitDeletion(ctx context.Context, p *partition, offset uint64, pending bool, change *event.Change) error {
	if pending {
		if err := s.submitBatch(ctx, p, offset); err != nil {
			return err
		}
	}
	t, err := s.submit(ctx, eventlog.Batch{
		Kind: eventlog.Catalogue, Payload: event.AppendChange(nil, change), Count: 1,
		Positions: []eventlog.Position{{Source: p.source, Next: offset + 1}},
	})
	if err != nil {
		return err
	}
	d := sent{ticket: t, partition: p, next: offset + 1}
	if change.Kind == event.DeleteUser {
		d.deleted = change.User.ID
	}
	s.batch.figures.records++
	s.submitted(d)
	return nil
}

// submitted notes what is on its way.
func (s *session) submitted(d sent) {
	s.mu.Lock()
	s.next[d.partition.source] = d.next
	s.sent = append(s.sent, d)
	s.mu.Unlock()
	s.c.status.read(d.partition, &s.batch.figures)
	s.batch.reset()
}

// submit hands a batch to the log; while its queue is full it waits, and nothing
// is fetched beyond the bounds meanwhile.
func (s *session) submit(ctx context.Context, b eventlog.Batch) (*eventlog.Ticket, error) {
	t, err := eventlog.SubmitWhenRoom(ctx, s.c.o.Log, b)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("the event log: %w", err)
	}
	return t, err
}
