package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"millrace/event"
	"millrace/event/wire"
)

// Redaction is a deletion of a user whose stored events still have to be
// redacted, or were redacted without the old bytes being gone yet.
type Redaction struct {
	User  string // to be given to Redact: the id, or its pseudonym when only the purge is left
	Block uint64 // of the deletion
}

// Redact takes a deleted user out of the blocks up to the one that holds its
// deletion, so that a replay of the redacted log is the replay of the original
// one, up to the names of things:
//
//   - the id becomes a pseudonym made of the deletion's block number, which no
//     valid id can equal because it begins with a control character;
//   - event_id, session_id and request_id of the user's events become ordinals
//     below the pseudonym, equal where they were equal, so that repeats are
//     still recognised;
//   - metadata of the events and labels of the user are dropped; item, type,
//     value and time of an event, and age and gender of the user, are kept.
//
// The user's dead letters are deleted. Events of the same id after the
// deletion are those of a new user and are not touched; an earlier deletion of
// the same id that is not yet redacted is redacted first.
//
// Interrupted at any point, also by a crash, it is to be called again with the
// same arguments (see PendingRedactions), and the result is the same. When it
// returns nil the id is gone from the log's files, except from those that a
// running Scan or a hard link (a checkpoint of the directory) still holds. The
// time is that of reading the log once and of writing the tables between the
// user's first event and the deletion anew. A deletion that is not in that
// block is ErrNotFound.
func Redact(log *Log, user string, deletion uint64) error {
	log.rewriteMu.Lock()
	defer log.rewriteMu.Unlock()
	pending, err := log.pendingRedactions()
	if err != nil {
		return err
	}
	for _, p := range pending {
		if p.User == user && p.Block < deletion {
			if err := redact(log, user, p.Block); err != nil {
				return err
			}
		}
	}
	return redact(log, user, deletion)
}

// PendingRedactions are the redactions to be done, or done again, by their
// blocks in ascending order. It is to be asked when a log has been opened.
func PendingRedactions(log *Log) ([]Redaction, error) { return log.pendingRedactions() }

func (l *Log) pendingRedactions() ([]Redaction, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{prefixRedaction}, UpperBound: []byte{prefixRedaction + 1}})
	if err != nil {
		return nil, storeError(err)
	}
	defer release(it)
	var list []Redaction
	for ok := it.First(); ok; ok = it.Next() {
		number, _ := keyNumber(prefixRedaction, it.Key())
		users, err := l.deletedUsers(number)
		if err != nil {
			return nil, fmt.Errorf("finding unfinished redactions: %w", err)
		}
		if real := slices.DeleteFunc(slices.Clone(users), isPseudonym); len(real) > 0 {
			users = real
		} else {
			users = users[:1]
		}
		for i, user := range users {
			if !slices.Contains(users[:i], user) {
				list = append(list, Redaction{User: user, Block: number})
			}
		}
	}
	return list, storeError(it.Error())
}

// deletedUsers are the ids of the deletions in a block, in their order. A
// block without any is ErrNotFound.
func (l *Log) deletedUsers(number uint64) ([]string, error) {
	b, err := l.Read(number)
	if err != nil {
		return nil, err
	}
	var users []string
	if b.Kind == Catalogue {
		err := eachChange(b, func(c *event.Change, _ []byte) {
			if c.Kind == event.DeleteUser {
				users = append(users, c.User.ID)
			}
		})
		if err != nil {
			return nil, &CorruptError{Block: number, Err: err}
		}
	}
	if users == nil {
		return nil, fmt.Errorf("a deletion in block %d: %w", number, ErrNotFound)
	}
	return users, nil
}

// DeletionAfter is the number of the first block after block n that deletes a
// user, 0 if there is none. State from before it is not to be brought up to
// date by the log: once the deletion is redacted the log does not name the
// user any more, whereas the state does.
func (l *Log) DeletionAfter(n uint64) (block uint64, err error) {
	errFound := errors.New("found")
	err = l.Scan(n+1, func(b *Block) error {
		if b.Kind != Catalogue {
			return nil
		}
		deletes, err := deletesUser(b)
		if err != nil {
			return &CorruptError{Block: b.Number, Err: err}
		}
		if deletes {
			block = b.Number
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return block, err
}

// pseudonym is what the id of the user becomes that the at-th deletion of a
// block deletes.
func pseudonym(deletion uint64, at int) string {
	name := "\x00deleted:" + strconv.FormatUint(deletion, 10)
	if at > 0 {
		name += "." + strconv.Itoa(at)
	}
	return name
}

// isPseudonym tells pseudonyms from ids.
func isPseudonym(id string) bool { return strings.HasPrefix(id, "\x00") }

// redact is Redact for one deletion. The order makes it safe to repeat:
//
//  1. the blocks that name the user are found, and their span is stored with
//     the mark that the deletion left;
//  2. those before the deletion are rewritten from the last to the first;
//  3. the deletion itself is rewritten, which takes the id's last copy out;
//  4. the old bytes of the span are purged, and the mark is removed.
//
// What is left of the original after a crash is a prefix of the log, so that
// ordinals by first occurrence come out the same the second time.
func redact(l *Log, user string, deletion uint64) error {
	users, err := l.deletedUsers(deletion)
	if err != nil {
		return fmt.Errorf("redacting: %w", err)
	}
	marked, s, err := l.redactionSpan(deletion)
	if err != nil {
		return fmt.Errorf("redacting: %w", err)
	}
	at := -1
	for i, id := range users {
		if id == user && !isPseudonym(id) {
			at = i
		}
	}
	switch {
	case at >= 0:
		e := &eraser{user: user, name: pseudonym(deletion, at), ordinals: map[string]string{}}
		if s, err = e.erase(l, deletion, s); err != nil {
			return fmt.Errorf("redacting up to block %d: %w", deletion, err)
		}
	case !slices.ContainsFunc(users, isPseudonym):
		return fmt.Errorf("redacting: a deletion of that user in block %d: %w", deletion, ErrNotFound)
	case !marked:
		return nil
	}
	if err := l.purge(s.with(deletion)); err != nil {
		return fmt.Errorf("redacting up to block %d: %w", deletion, err)
	}
	return l.finishRedaction(deletion)
}

// redactionSpan is what the mark of a deletion's block says: the span of the
// blocks that its redactions have found so far.
func (l *Log) redactionSpan(deletion uint64) (marked bool, s span, err error) {
	if err := l.enter(); err != nil {
		return false, s, err
	}
	defer l.leave()
	v, closer, err := l.db.Get(key(prefixRedaction, deletion))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, s, nil
	}
	if err != nil {
		return false, s, storeError(err)
	}
	defer release(closer)
	r := wire.NewReader(v)
	s = span{r.Uvarint(), r.Uvarint()}
	if r.Err() != nil {
		return false, s, fmt.Errorf("%w: the mark of the deletion in block %d", ErrCorrupt, deletion)
	}
	return true, s, nil
}

// markRedaction puts the mark of a deletion's block into a batch.
func markRedaction(batch *pebble.Batch, deletion uint64, s span) error {
	v := wire.AppendUvarint(wire.AppendUvarint(nil, s.low), s.high)
	return batch.Set(key(prefixRedaction, deletion), v, nil)
}

// finishRedaction removes the mark of a deletion's block once every deletion
// in it is redacted.
func (l *Log) finishRedaction(deletion uint64) error {
	users, err := l.deletedUsers(deletion)
	if err != nil {
		return fmt.Errorf("redacting: %w", err)
	}
	for _, id := range users {
		if !isPseudonym(id) {
			return nil
		}
	}
	return l.update(func(batch *pebble.Batch) error {
		return batch.Delete(key(prefixRedaction, deletion), nil)
	})
}

// update commits a small batch, synced.
func (l *Log) update(fill func(*pebble.Batch) error) error {
	if err := l.enterWrite(); err != nil {
		return err
	}
	defer l.leave()
	batch := l.db.NewBatch()
	if err := fill(batch); err != nil {
		return errors.Join(storeError(err), batch.Close())
	}
	return l.commit(batch, pebble.Sync)
}
