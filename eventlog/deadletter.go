package eventlog

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"

	"millrace/event"
	"millrace/event/wire"
)

// DeadLetter is an input that was refused.
type DeadLetter struct {
	Time  event.Time // wall clock when it was refused
	Raw   []byte     // the input as it came, cut at MaxDeadLetterRaw bytes
	Error string     // what was expected and what came, with a note when Raw was cut
	User  string     // user_id, "" when the input could not be read that far
}

// What is kept of one dead letter, in bytes.
const (
	MaxDeadLetterRaw   = 4 << 10
	maxDeadLetterError = 1 << 10
	maxDeadLetterUser  = 256 // a longer user_id is not valid
)

// maxDeadLetterPage is the most that DeadLetters returns at once.
const maxDeadLetterPage = 1000

const deadLetterVersion = 1

// deadLetters is the bounded stream of refused inputs. Its keys are sequence
// numbers that only grow; first is where the oldest one is kept.
type deadLetters struct {
	maxCount uint64
	maxBytes uint64

	mu          sync.Mutex // one writer at a time
	first, next uint64
	count       atomic.Uint64 // read without mu
	bytes       uint64        // of the stored values
}

func (d *deadLetters) limits(o Options) {
	d.maxCount = uint64(o.MaxDeadLetters)
	d.maxBytes = uint64(o.MaxDeadLetterBytes)
}

// load reads the statistics, which are stored with every change.
func (d *deadLetters) load(db *pebble.DB) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(extent{})
	v, closer, err := db.Get([]byte{prefixStatistics})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the dead letters: %w", storeError(err))
	}
	defer release(closer)
	body, err := openValue(v)
	if err != nil {
		return fmt.Errorf("%w: dead letter statistics: %w", ErrCorrupt, err)
	}
	r := wire.NewReader(body)
	version := r.Byte()
	d.set(extent{first: r.Uvarint(), next: r.Uvarint(), count: r.Uvarint(), bytes: r.Uvarint()})
	if r.Err() != nil || version != deadLetterVersion {
		return fmt.Errorf("%w: dead letter statistics of version %d", ErrCorrupt, version)
	}
	return nil
}

// extent is the part of deadLetters that a batch changes.
type extent struct{ first, next, count, bytes uint64 }

func (d *deadLetters) extent() extent {
	return extent{first: d.first, next: d.next, count: d.count.Load(), bytes: d.bytes}
}

func (d *deadLetters) set(p extent) {
	d.first, d.next, d.bytes = p.first, p.next, p.bytes
	d.count.Store(p.count)
}

// commitDead stores the statistics p with the batch, and commits it.
func (l *Log) commitDead(batch *pebble.Batch, p extent) error {
	v := []byte{deadLetterVersion}
	for _, n := range []uint64{p.first, p.next, p.count, p.bytes} {
		v = wire.AppendUvarint(v, n)
	}
	if err := batch.Set([]byte{prefixStatistics}, sealValue(v, 0), nil); err != nil {
		return errors.Join(storeError(err), batch.Close())
	}
	if err := l.commit(batch, pebble.Sync); err != nil {
		return err
	}
	l.dead.set(p)
	return nil
}

// AppendDeadLetters stores refused inputs, synced, and drops the oldest ones
// beyond the bounds of Options. It cuts what is too long.
func (l *Log) AppendDeadLetters(list []DeadLetter) error {
	if len(list) == 0 {
		return nil
	}
	if err := l.enterWrite(); err != nil {
		return fmt.Errorf("storing dead letters: %w", err)
	}
	defer l.leave()
	l.dead.mu.Lock()
	defer l.dead.mu.Unlock()
	// What would be dropped at once is not stored at all.
	if over := len(list) - int(min(l.dead.maxCount, uint64(len(list)))); over > 0 {
		list = list[over:]
	}
	batch := l.db.NewIndexedBatch()
	p := l.dead.extent()
	for i := range list {
		v := sealValue(appendDeadLetter(nil, &list[i]), 0)
		if err := batch.Set(key(prefixDeadLetter, p.next), v, nil); err != nil {
			return errors.Join(storeError(err), batch.Close())
		}
		p.next++
		p.count++
		p.bytes += uint64(len(v))
	}
	p, err := l.trim(batch, p)
	if err != nil {
		return errors.Join(fmt.Errorf("storing dead letters: %w", err), batch.Close())
	}
	if err := l.commitDead(batch, p); err != nil {
		return fmt.Errorf("storing dead letters: %w", err)
	}
	return nil
}

// trim deletes the oldest dead letters until the bounds hold.
func (l *Log) trim(batch *pebble.Batch, p extent) (extent, error) {
	if p.count <= l.dead.maxCount && p.bytes <= l.dead.maxBytes {
		return p, nil
	}
	start := key(prefixDeadLetter, p.first)
	it, err := batch.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: key(prefixDeadLetter, p.next)})
	if err != nil {
		return p, storeError(err)
	}
	ok := it.First()
	for ; ok && (p.count > l.dead.maxCount || p.bytes > l.dead.maxBytes); ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return p, errors.Join(storeError(err), it.Close())
		}
		p.count--
		p.bytes -= uint64(len(v))
	}
	p.first = p.next
	if ok {
		p.first, _ = keyNumber(prefixDeadLetter, it.Key())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return p, storeError(err)
	}
	return p, batch.DeleteRange(start, key(prefixDeadLetter, p.first), nil)
}

// DeadLetters gives at most n dead letters (1 to 1000) from cursor on, oldest
// first, and the cursor of what comes after them: a caller that keeps it reads
// each dead letter once, also those that arrive later. The empty cursor is the
// oldest one kept, as is a cursor to one that was dropped since. A cursor that
// was not given out is ErrInvalid.
func (l *Log) DeadLetters(cursor string, n int) (list []DeadLetter, next string, err error) {
	from, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	n = min(max(n, 1), maxDeadLetterPage)
	from, err = l.eachDeadLetter(from, func(_ uint64, _ []byte, d *DeadLetter) (bool, error) {
		list = append(list, *d)
		return len(list) < n, nil
	})
	if err != nil {
		return nil, "", err
	}
	return list, formatCursor(from), nil
}

// DeadLetterCount is how many dead letters are kept. It waits for no writer,
// and may be called once the log is closed.
func (l *Log) DeadLetterCount() int { return int(l.dead.count.Load()) }

// PurgeDeadLetters deletes the dead letters of a user: those that name it, and
// those whose user could not be read and whose input contains the id as a
// word. The bytes leave the disk with the next redaction or compaction.
func (l *Log) PurgeDeadLetters(user string) error {
	if err := l.enterWrite(); err != nil {
		return fmt.Errorf("purging dead letters: %w", err)
	}
	defer l.leave()
	l.dead.mu.Lock()
	defer l.dead.mu.Unlock()
	batch := l.db.NewBatch()
	p := l.dead.extent()
	_, err := l.eachDeadLetter(0, func(seq uint64, v []byte, d *DeadLetter) (bool, error) {
		if d.User != user && (d.User != "" || !containsWord(d.Raw, user)) {
			return true, nil
		}
		p.count--
		p.bytes -= uint64(len(v))
		return true, batch.Delete(key(prefixDeadLetter, seq), nil)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("purging dead letters: %w", err), batch.Close())
	}
	if batch.Empty() {
		return batch.Close()
	}
	if err := l.commitDead(batch, p); err != nil {
		return fmt.Errorf("purging dead letters: %w", err)
	}
	return nil
}

// eachDeadLetter calls fn with the stored dead letters from a sequence number
// on until it says false, and returns the number after the last one given.
func (l *Log) eachDeadLetter(from uint64, fn func(seq uint64, v []byte, d *DeadLetter) (bool, error)) (uint64, error) {
	if err := l.enter(); err != nil {
		return from, err
	}
	defer l.leave()
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: key(prefixDeadLetter, from), UpperBound: []byte{prefixDeadLetter + 1}})
	if err != nil {
		return from, storeError(err)
	}
	defer release(it)
	for ok := it.First(); ok; ok = it.Next() {
		seq, _ := keyNumber(prefixDeadLetter, it.Key())
		v, err := it.ValueAndErr()
		if err != nil {
			return from, storeError(err)
		}
		d, err := readDeadLetter(v)
		if err != nil {
			return from, fmt.Errorf("%w: dead letter %d: %w", ErrCorrupt, seq, err)
		}
		from = seq + 1
		if more, err := fn(seq, v, &d); err != nil || !more {
			return from, err
		}
	}
	return from, storeError(it.Error())
}

// appendDeadLetter appends the stored form: version, time, user, error, raw.
func appendDeadLetter(dst []byte, d *DeadLetter) []byte {
	raw, note := cut(d.Raw, MaxDeadLetterRaw), ""
	if len(raw) < len(d.Raw) {
		note = fmt.Sprintf(" (the input has %d bytes, the first %d are kept)", len(d.Raw), len(raw))
	}
	dst = append(dst, deadLetterVersion)
	dst = wire.AppendVarint(dst, int64(d.Time))
	dst = wire.AppendBytes(dst, cut([]byte(d.User), maxDeadLetterUser))
	dst = wire.AppendString(dst, string(cut([]byte(d.Error), maxDeadLetterError))+note)
	return wire.AppendBytes(dst, raw)
}

// readDeadLetter reads a stored dead letter; nothing in it is part of v.
func readDeadLetter(v []byte) (DeadLetter, error) {
	body, err := openValue(v)
	if err != nil {
		return DeadLetter{}, err
	}
	r := wire.NewReader(body)
	if version := r.Byte(); version != deadLetterVersion {
		return DeadLetter{}, fmt.Errorf("unknown version %d", version)
	}
	d := DeadLetter{Time: event.Time(r.Varint()), User: r.String(), Error: r.String()}
	d.Raw = append([]byte(nil), r.Bytes()...)
	return d, r.Err()
}

// cut shortens b to at most n bytes without splitting a UTF-8 sequence.
func cut(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for end := n; end > n-utf8.UTFMax; end-- {
		if utf8.RuneStart(b[end]) {
			return b[:end]
		}
	}
	return b[:n]
}

// containsWord says whether text contains word with no letter or digit right
// before or after it.
func containsWord(text []byte, word string) bool {
	if word == "" {
		return false
	}
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(word))
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(word)
		before, _ := utf8.DecodeLastRune(text[:start])
		after, _ := utf8.DecodeRune(text[end:])
		if !isWordRune(before) && !isWordRune(after) {
			return true
		}
		at = start + 1
	}
}

func isWordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// A cursor is the sequence number to go on from.
func formatCursor(seq uint64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, seq))
}

func parseCursor(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("%w: the cursor %q was not given out", ErrInvalid, cut([]byte(cursor), 64))
	}
	return binary.BigEndian.Uint64(b), nil
}

// skipped are the records of blocks that are not applied.
type skipped struct {
	mu   sync.RWMutex
	rows map[uint64][]int // by block, ascending; what is stored here is not changed
}

func (s *skipped) of(block uint64) []int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rows[block]
}

// skippedVersion is the version of the stored list of a block.
const skippedVersion = 1

func (s *skipped) load(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixSkipped}, UpperBound: []byte{prefixSkipped + 1}})
	if err != nil {
		return storeError(err)
	}
	defer release(it)
	rows := map[uint64][]int{}
	for ok := it.First(); ok; ok = it.Next() {
		block, known := keyNumber(prefixSkipped, it.Key())
		v, err := it.ValueAndErr()
		if err != nil {
			return storeError(err)
		}
		body, err := openValue(v)
		if err != nil || !known {
			return fmt.Errorf("%w: skipped records of block %d: %w", ErrCorrupt, block, err)
		}
		r := wire.NewReader(body)
		version := r.Byte()
		var list []int
		for range r.Count() {
			list = append(list, int(r.Uvarint()))
		}
		if r.Err() != nil || version != skippedVersion {
			return fmt.Errorf("%w: skipped records of block %d", ErrCorrupt, block)
		}
		rows[block] = list
	}
	s.mu.Lock()
	s.rows = rows
	s.mu.Unlock()
	return storeError(it.Error())
}

// Skip has a record of a block not applied any more, neither now nor in a
// replay, and stores it as a dead letter: both or neither, synced. An engine
// calls it for a record on which an operator fails.
func (l *Log) Skip(block uint64, row int, letter DeadLetter) error {
	if err := l.enterWrite(); err != nil {
		return fmt.Errorf("skip record %d of block %d: %w", row, block, err)
	}
	defer l.leave()
	l.dead.mu.Lock()
	defer l.dead.mu.Unlock()
	rows := append(slices.Clone(l.skipped.of(block)), row)
	slices.Sort(rows)
	rows = slices.Compact(rows)
	v := wire.AppendUvarint([]byte{skippedVersion}, uint64(len(rows)))
	for _, r := range rows {
		v = wire.AppendUvarint(v, uint64(r))
	}
	batch := l.db.NewIndexedBatch()
	p := l.dead.extent()
	stored := sealValue(appendDeadLetter(nil, &letter), 0)
	err := errors.Join(
		storeError(batch.Set(key(prefixSkipped, block), sealValue(v, 0), nil)),
		storeError(batch.Set(key(prefixDeadLetter, p.next), stored, nil)))
	p.next, p.count, p.bytes = p.next+1, p.count+1, p.bytes+uint64(len(stored))
	if err == nil {
		p, err = l.trim(batch, p)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("skip record %d of block %d: %w", row, block, err), batch.Close())
	}
	if err := l.commitDead(batch, p); err != nil {
		return fmt.Errorf("skip record %d of block %d: %w", row, block, err)
	}
	l.skipped.mu.Lock()
	defer l.skipped.mu.Unlock()
	all := maps.Clone(l.skipped.rows)
	if all == nil {
		all = map[uint64][]int{}
	}
	all[block] = rows
	l.skipped.rows = all
	return nil
}
