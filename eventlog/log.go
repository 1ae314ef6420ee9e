package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"millrace/event"
)

// Log is an open log. Its methods may be called concurrently.
type Log struct {
	dir     string
	options Options
	codec   *codec
	lock    *dirLock
	dead    deadLetters
	skipped skipped

	start Start         // the block before the first; as Open found or made it
	last  atomic.Uint64 // number of the last durable block

	appendMu sync.Mutex // one Append at a time: it numbers the blocks
	lastTime event.Time // of the last durable block
	buf      []byte     // reused for the stored form of a block

	rewriteMu sync.Mutex // one redaction at a time
	reopenMu  sync.Mutex // one Recover or Close at a time
	warned    time.Time  // when Recover last told that it does not succeed

	// The store is replaced only while no call uses it: between enter and
	// leave it stays the same.
	*store
	useMu    sync.Mutex
	closed   atomic.Bool
	down     atomic.Pointer[error] // why the store is not to be used: it failed and is being replaced
	inFlight sync.WaitGroup        // calls that use the store
}

// Open opens the log in dir, creating it unless o says ReadOnly, and recovers
// what a crash left. Its errors are ErrInUse, ErrCorrupt, ErrUnavailable, with
// ReadOnly ErrNotFound, and with a Start that is not the log's ErrInvalid.
func Open(dir string, o Options) (*Log, error) {
	o = o.withDefaults()
	dir, err := storePath(dir, o)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		if _, err := o.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: no event log in %s", ErrNotFound, dir)
		}
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	lock := &dirLock{}
	s, err := openStore(dir, o, lock)
	if err != nil {
		c.close()
		return nil, errors.Join(err, lock.release())
	}
	l := &Log{dir: dir, options: o, store: s, codec: c, lock: lock}
	l.dead.limits(o)
	if err := errors.Join(l.load(s), l.begin(), l.renewWAL()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// load reads where the log and the dead letters end.
func (l *Log) load(s *store) error {
	start, err := s.start()
	if err != nil {
		return err
	}
	last, at, err := s.end(l.codec, start)
	if err != nil {
		return err
	}
	if start != l.start { // only in Open; later it is read without a lock
		l.start = start
	}
	l.appendMu.Lock()
	l.last.Store(last)
	l.lastTime = at
	l.appendMu.Unlock()
	return errors.Join(l.dead.load(s.db), l.skipped.load(s.db))
}

// renewWAL gives a new log another write-ahead log: Pebble writes the first
// one of a database in an old format, in which damage in the middle looks like
// the end.
func (l *Log) renewWAL() error {
	if l.options.ReadOnly || l.Last() > l.start.Block {
		return nil
	}
	return l.guard(l.db.Flush)
}

// end is the number and the time of the last block, start's when there is none.
func (s *store) end(c *codec, start Start) (number uint64, at event.Time, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: key(prefixBlock, 0), UpperBound: []byte{prefixBlock + 1}})
	if err != nil {
		return 0, 0, storeError(err)
	}
	defer release(it)
	if !it.Last() {
		return start.Block, start.Time, storeError(it.Error())
	}
	number, ok := keyNumber(prefixBlock, it.Key())
	if !ok {
		return 0, 0, fmt.Errorf("%w: unknown key %q", ErrCorrupt, it.Key())
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, 0, storeError(err)
	}
	var b Block
	if _, err := c.decode(number, v, &b, nil); err != nil {
		return 0, 0, err
	}
	return number, b.Time, nil
}

// enter says that the store is in use until leave is called. It fails after
// Close and while the store is being replaced.
func (l *Log) enter() error {
	l.useMu.Lock()
	defer l.useMu.Unlock()
	if err := l.interrupted(); err != nil {
		return err
	}
	l.inFlight.Add(1)
	return nil
}

func (l *Log) leave() { l.inFlight.Done() }

// interrupted is why a call that takes long is to end early, or nil.
func (l *Log) interrupted() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if err := l.down.Load(); err != nil {
		return *err
	}
	return nil
}

// enterWrite is enter for a call that writes.
func (l *Log) enterWrite() error {
	if l.options.ReadOnly {
		return ErrReadOnly
	}
	if err := l.enter(); err != nil {
		return err
	}
	if err := l.health.err(); err != nil {
		l.leave()
		return err
	}
	return nil
}

// Close waits for the calls that are running, of which scans and redactions end
// early with ErrClosed; it moves what is in the write-ahead log to tables and
// closes the log. A second Close does nothing. The error of a log whose store
// had failed is ErrUnavailable; nothing acknowledged is lost by that.
func (l *Log) Close() error {
	l.useMu.Lock()
	again := l.closed.Swap(true)
	l.useMu.Unlock()
	if again {
		return nil
	}
	l.reopenMu.Lock()
	defer l.reopenMu.Unlock()
	l.inFlight.Wait()
	err := l.closeStore()
	l.codec.close()
	if err := errors.Join(err, l.lock.release()); err != nil {
		return fmt.Errorf("closing the event log in %s: %w", l.dir, err)
	}
	return nil
}

// closeStore closes the store that nobody uses.
func (l *Log) closeStore() error {
	if err := l.down.Load(); err != nil {
		return *err // and the store was abandoned
	}
	var err error
	if !l.options.ReadOnly && l.health.err() == nil {
		err = l.guard(l.db.Flush)
	}
	if failed := l.health.err(); failed != nil {
		l.abandon()
		return failed
	}
	return errors.Join(err, l.closeDatabase())
}

// Start is the block that the log begins after, which it does not have; zero
// for a log from the beginning.
func (l *Log) Start() Start { return l.start }

// Last is the number of the last durable block, that of Start when there is
// none.
func (l *Log) Last() uint64 { return l.last.Load() }

// LastTime is the time of the last durable block, Start's when there is none.
func (l *Log) LastTime() event.Time {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	return l.lastTime
}

// Size is how much the log occupies on disk, dead letters and write-ahead log
// included, and how many blocks it holds. The bytes are 0 once it is closed.
func (l *Log) Size() (bytes, blocks uint64) {
	if l.enter() != nil {
		return 0, l.Last() - l.start.Block
	}
	defer l.leave()
	return l.db.Metrics().DiskSpaceUsage(), l.Last() - l.start.Block
}

// Append numbers the blocks and commits them together, synced: when it
// returns nil they are durable. After ErrUnavailable it is not known whether
// they are stored, so nothing may be acknowledged, and every later Append
// fails too; after ErrInvalid nothing was stored and the log goes on. The
// payloads are not kept.
func (l *Log) Append(blocks ...*Block) error {
	if len(blocks) == 0 {
		return nil
	}
	if err := l.enterWrite(); err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	defer l.leave()
	for _, b := range blocks {
		if err := b.check(); err != nil {
			return fmt.Errorf("appending: %w", err)
		}
	}
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	batch, err := l.encode(blocks)
	if err == nil {
		err = l.commit(batch, pebble.Sync)
	}
	if err != nil {
		for _, b := range blocks {
			b.Number = 0
		}
		return fmt.Errorf("appending: %w", err)
	}
	l.lastTime = blocks[len(blocks)-1].Time
	l.last.Add(uint64(len(blocks)))
	return nil
}

// encode numbers the blocks and puts them into a batch, with the mark that a
// block with deletions leaves for their redaction.
func (l *Log) encode(blocks []*Block) (*pebble.Batch, error) {
	batch := l.db.NewBatch()
	number := l.last.Load()
	var k [keyBytes]byte
	for _, b := range blocks {
		number++
		b.Number = number
		l.buf = l.codec.append(l.buf[:0], b)
		err := batch.Set(appendKey(k[:0], prefixBlock, number), l.buf, nil)
		if err == nil && b.Kind == Catalogue {
			var deletes bool
			if deletes, err = deletesUser(b); deletes && err == nil {
				err = markRedaction(batch, number, span{})
			}
		}
		if err != nil {
			return nil, errors.Join(err, batch.Close())
		}
	}
	if cap(l.buf) > 4<<20 {
		l.buf = nil // one unusual block does not hold its memory for ever
	}
	return batch, nil
}

// deletesUser says whether a catalogue block deletes a user.
func deletesUser(b *Block) (deletes bool, err error) {
	err = eachChange(b, func(c *event.Change, _ []byte) {
		deletes = deletes || c.Kind == event.DeleteUser
	})
	if err != nil {
		return false, fmt.Errorf("%w: catalogue payload: %w", ErrInvalid, err)
	}
	return deletes, nil
}

// Read gives block n, its payload a copy of its own. A block beyond the end is
// ErrNotFound, one from before Start ErrBeforeStart; one that is damaged or
// missing is ErrCorrupt.
func (l *Log) Read(n uint64) (*Block, error) {
	if n == 0 || n > l.Last() {
		return nil, fmt.Errorf("reading block %d of %d: %w", n, l.Last(), ErrNotFound)
	}
	if n <= l.start.Block {
		return nil, fmt.Errorf("reading block %d: %w: it begins with block %d", n, ErrBeforeStart, l.start.Block+1)
	}
	var found *Block
	err := l.scan(n, n, func(b *Block) error {
		c := *b
		c.Payload = append([]byte(nil), b.Payload...)
		found = &c
		return nil
	})
	return found, err
}

// Scan calls fn for the blocks from number from (0 is read as 1) up to the
// last one that was durable when Scan was called, in order. A block that is
// damaged or missing ends the scan with ErrCorrupt and its number; an error of
// fn ends it with that error. The Block and its bytes are valid only during
// fn. Starting more than one block beyond the end is ErrNotFound: a caller
// that has seen blocks which the log does not have must not carry on. Starting
// with a block from before Start is ErrBeforeStart.
func (l *Log) Scan(from uint64, fn func(*Block) error) error {
	last := l.Last()
	if from > last+1 {
		return fmt.Errorf("scanning from block %d of %d: %w", from, last, ErrNotFound)
	}
	if from = max(from, 1); from <= l.start.Block {
		return fmt.Errorf("scanning from block %d: %w: it begins with block %d", from, ErrBeforeStart, l.start.Block+1)
	}
	return l.scan(from, last, fn)
}

// scan is Scan for the blocks from..to, all of which must be there.
func (l *Log) scan(from, to uint64, fn func(*Block) error) error {
	if from > to {
		return nil
	}
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	it, err := l.blocks(from, to)
	if err != nil {
		return err
	}
	defer release(it)
	var b Block
	var buf []byte
	next := from
	for ok := it.First(); ok; ok = it.Next() {
		if err := l.interrupted(); err != nil {
			return fmt.Errorf("scanning: %w", err)
		}
		if buf, err = l.decodeAt(it, next, &b, buf); err != nil {
			return err
		}
		b.Skipped = l.skipped.of(next)
		if err := fn(&b); err != nil {
			return err
		}
		next++
	}
	if err := it.Error(); err != nil {
		return blockError(next, err)
	}
	if next != to+1 {
		return &CorruptError{Block: next, Err: errMissing}
	}
	return nil
}

// blocks iterates over the stored blocks from..to.
func (l *Log) blocks(from, to uint64) (*pebble.Iterator, error) {
	upper := []byte{prefixBlock + 1}
	if to < math.MaxUint64 {
		upper = key(prefixBlock, to+1)
	}
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: key(prefixBlock, from), UpperBound: upper})
	if err != nil {
		return nil, storeError(err)
	}
	return it, nil
}

// decodeAt reads the block that it stands on, which must be number want.
func (l *Log) decodeAt(it *pebble.Iterator, want uint64, b *Block, buf []byte) ([]byte, error) {
	if n, ok := keyNumber(prefixBlock, it.Key()); !ok || n != want {
		return buf, &CorruptError{Block: want, Err: errMissing}
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return buf, blockError(want, err)
	}
	return l.codec.decode(want, v, b, buf)
}

// blockError wraps an error of Pebble met on the way to block n.
func blockError(n uint64, err error) error {
	if pebble.IsCorruptionError(err) {
		return &CorruptError{Block: n, Err: err}
	}
	return fmt.Errorf("reading block %d: %w", n, storeError(err))
}
