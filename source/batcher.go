package source

import (
	"context"

	"millrace/event"
)

// Batch is the payload of one block of the log: records of one kind, in the
// order of their source.
type Batch struct {
	// Changes says that the records are catalogue changes, as
	// event.AppendChange writes them; otherwise they are events, as
	// event.AppendEvent does.
	Changes bool
	Payload []byte // the records, one after the other
	Count   int    // how many, at least 1
	// Row is that of the last record. When the batch is durable, so is
	// everything of the source up to Row: Reader.Skip(Row) resumes after it.
	Row uint64
}

// Batcher collects the records of a Reader into batches. A batch ends when it
// is full, when the kind of record changes, when the next event is not due or
// not there yet, and at the end of the source. A Batcher is used by one goroutine.
type Batcher struct {
	reader Reader
	opt    BatchOptions

	payload []byte
	held    Record // read, but not in a batch yet
	holding bool
	err     error // of the reader, after what was read before it
}

// BatchOptions say how to collect batches.
type BatchOptions struct {
	// Count is the most records in a batch; 0 means DefaultBatchCount.
	Count int
	// Bytes is the size at which a payload is full, with the record that
	// reaches it; 0 means DefaultBatchBytes.
	Bytes int
	// Pacer holds events up until they are due; nil holds up nothing.
	// Catalogue changes come with the event before them.
	Pacer *Pacer
	// Bad takes the bad inputs as they are met, valid during the call; nil
	// drops them. Its error ends the batches.
	Bad func(row uint64, bad *Bad) error
}

// The bounds of a batch that is not configured otherwise.
const (
	DefaultBatchCount = 4096
	DefaultBatchBytes = 1 << 20
)

// NewBatcher collects the records of r, from where it stands.
func NewBatcher(r Reader, opt BatchOptions) *Batcher {
	if opt.Count <= 0 {
		opt.Count = DefaultBatchCount
	}
	if opt.Bytes <= 0 {
		opt.Bytes = DefaultBatchBytes
	}
	return &Batcher{reader: r, opt: opt}
}

// Next is the next batch, valid until the next call. The error is io.EOF after
// the last batch, or one of the reader, of BatchOptions.Bad, or of ctx while
// an event is held up; after the latter Next may be called again and loses
// nothing.
func (b *Batcher) Next(ctx context.Context) (Batch, error) {
	batch := Batch{Payload: b.payload[:0]}
	for batch.Count < b.opt.Count && len(batch.Payload) < b.opt.Bytes {
		if batch.Count > 0 && !b.ready() || !b.fetch() || b.held.Bad == nil && batch.Count > 0 && batch.Changes != (b.held.Change != nil) {
			break
		}
		if bad := b.held.Bad; bad != nil {
			if b.holding = false; b.opt.Bad != nil {
				b.err = b.opt.Bad(b.held.Row, bad)
			}
			continue
		}
		if e := b.held.Event; e != nil && b.opt.Pacer != nil {
			if batch.Count > 0 && b.opt.Pacer.Delay(e.Time) > 0 {
				break
			}
			if err := b.opt.Pacer.Wait(ctx, e.Time); err != nil {
				if batch.Count > 0 {
					break
				}
				return Batch{}, err
			}
		}
		b.add(&batch)
	}
	b.payload = batch.Payload
	if batch.Count == 0 {
		return Batch{}, b.err
	}
	return batch, nil
}

// ready tells whether fetch does not wait.
func (b *Batcher) ready() bool {
	live, ok := b.reader.(Live)
	return !ok || b.holding || live.Ready()
}

// fetch holds the next record, unless one is held. It is false when there is
// none, for which err is the reason.
func (b *Batcher) fetch() bool {
	if b.holding {
		return true
	}
	if b.err == nil {
		b.held, b.err = b.reader.Next()
		b.holding = b.err == nil
	}
	return b.holding
}

// add moves the held record to the batch.
func (b *Batcher) add(batch *Batch) {
	if c := b.held.Change; c != nil {
		batch.Changes = true
		batch.Payload = event.AppendChange(batch.Payload, c)
	} else {
		batch.Payload = event.AppendEvent(batch.Payload, b.held.Event)
	}
	batch.Count++
	batch.Row = b.held.Row
	b.holding = false
}
