package eventlog

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// span is a range of block numbers, both ends included; the zero value is
// empty.
type span struct{ low, high uint64 }

func (s span) empty() bool { return s.low == 0 }

// with is the smallest span that covers s and block n.
func (s span) with(n uint64) span {
	if s.empty() {
		return span{n, n}
	}
	return span{min(s.low, n), max(s.high, n)}
}

// join is the smallest span that covers both.
func (s span) join(o span) span {
	if o.empty() {
		return s
	}
	return s.with(o.low).with(o.high)
}

// rewrite replaces stored blocks, for redaction. It calls fn for the blocks of
// s from the last to the first; where fn says that it changed the block's
// payload, the block is stored again, as one atomic step. Only the payload may
// be changed, by putting another one into the Block, not in place; Block and
// bytes are valid only during fn. It returns what was changed, which is durable,
// with the old bytes gone, once it has been purged. The caller holds rewriteMu.
//
// From the last block to the first means that a crash leaves the rewritten
// blocks at the end: what fn would have to learn from blocks before the one
// that it is given is still there when the rewriting is done again.
func (l *Log) rewrite(fn func(*Block) (bool, error), s span) (changed span, err error) {
	if s.empty() {
		return span{}, nil
	}
	if s.high > l.Last() {
		return span{}, fmt.Errorf("rewriting up to block %d of %d: %w", s.high, l.Last(), ErrNotFound)
	}
	if err := l.enterWrite(); err != nil {
		return span{}, fmt.Errorf("rewriting: %w", err)
	}
	defer l.leave()
	it, err := l.blocks(s.low, s.high)
	if err != nil {
		return span{}, err
	}
	defer release(it)
	var b Block
	var buf []byte
	next := s.high
	for ok := it.Last(); ok; ok = it.Prev() {
		if err := l.interrupted(); err != nil {
			return changed, fmt.Errorf("rewriting: %w", err)
		}
		if buf, err = l.decodeAt(it, next, &b, buf); err != nil {
			return changed, err
		}
		stored := b
		yes, err := fn(&b)
		if err != nil {
			return changed, err
		}
		if yes {
			stored.Payload = b.Payload
			if err := l.replace(&stored); err != nil {
				return changed, err
			}
			changed = changed.with(next)
		}
		next--
	}
	if err := it.Error(); err != nil {
		return changed, blockError(next, err)
	}
	if next != s.low-1 {
		return changed, &CorruptError{Block: next, Err: errMissing}
	}
	return changed, nil
}

// replace stores a block again. It is not synced: the write-ahead log keeps
// the order, and the purge that ends every rewriting syncs.
func (l *Log) replace(b *Block) error {
	if err := b.check(); err != nil {
		return fmt.Errorf("rewriting block %d: %w", b.Number, err)
	}
	batch := l.db.NewBatch()
	if err := batch.Set(key(prefixBlock, b.Number), l.codec.append(nil, b), nil); err != nil {
		return fmt.Errorf("rewriting block %d: %w", b.Number, storeError(err))
	}
	if err := l.commit(batch, pebble.NoSync); err != nil {
		return fmt.Errorf("rewriting block %d: %w", b.Number, err)
	}
	return nil
}

// purgeBlocks is how many blocks are compacted in one step, between which a
// purge can end because the log is closed.
const purgeBlocks = 512

// purge makes what was rewritten in s durable and removes the bytes that it
// replaced, and those of dead letters that were deleted, from Pebble's tables
// and write-ahead logs.
func (l *Log) purge(s span) error {
	if err := l.enterWrite(); err != nil {
		return fmt.Errorf("purging: %w", err)
	}
	defer l.leave()
	for low := s.low; low <= s.high; low += purgeBlocks {
		if err := l.interrupted(); err != nil {
			return fmt.Errorf("purging: %w", err)
		}
		after := min(low+purgeBlocks, s.high+1)
		if err := l.guard(func() error {
			return l.db.Compact(context.Background(), key(prefixBlock, low), key(prefixBlock, after), false)
		}); err != nil {
			return fmt.Errorf("purging blocks %d to %d: %w", low, after-1, err)
		}
	}
	if err := l.guard(func() error {
		return l.db.Compact(context.Background(), []byte{prefixDeadLetter}, []byte{prefixDeadLetter + 1}, false)
	}); err != nil {
		return fmt.Errorf("purging dead letters: %w", err)
	}
	// Each flush begins a new write-ahead log and removes one of those that
	// Pebble had kept for reuse.
	for range memTables + 2 {
		if err := l.guard(l.db.Flush); err != nil {
			return fmt.Errorf("purging write-ahead logs: %w", err)
		}
	}
	return nil
}
