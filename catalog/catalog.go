// Package catalog is what is known of items and users: a view of the log.
//
// Every write to the catalogue is an event.Change, a record of the log like
// any event, and everything here is a fold of those records. There are two
// folds of the same records: a Store keeps all of it in SQL, where people and
// other programs can read it, and Index keeps in memory what the engine
// enriches events with and what ranking reads. README.md says why there are
// two and how they come back after a crash.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"millrace/event"
)

// The errors of this package. They are wrapped with what was being done.
var (
	// ErrNotFound says that the catalogue has no item or user of that id.
	ErrNotFound = errors.New("not in the catalogue")
	// ErrInvalid says that an argument or a change can not be: see Check.
	ErrInvalid = errors.New("invalid catalogue request")
)

// MaxIDBytes is the length of the longest id.
const MaxIDBytes = 256

// Store is the catalogue in a database. All methods may be called from any
// goroutine; Apply, Rebuild and Sync wait for one another, and nothing else
// waits for them. A read sees all of a block or nothing of it. Values that
// are handed out are the caller's.
//
// An empty list and a nil one are the same value, as are empty metadata and
// none; reads give nil.
type Store interface {
	// Apply folds the changes of a block into the catalogue, in order and in
	// one transaction with the block's number. A block that is not after
	// Applied is ignored, so a replay after a crash is harmless. Blocks are
	// numbered from 1 and may be skipped; the changes of several successive
	// blocks may be given together, in order, under the number of the last.
	//
	// PutItem and PutUser replace what was there, except that an item put
	// with Created 0 keeps the Created that it had. EnsureItem and EnsureUser
	// insert a row that is empty but for the id (and an item's Created), only
	// where there is none. Deleting what is not there does nothing.
	//
	// The error wraps ErrInvalid where Check refuses a change. After any
	// error, and after ctx is done, nothing of the block has been applied.
	Apply(ctx context.Context, block uint64, changes []event.Change) error

	// Applied is the number of the last block that was applied, 0 before the
	// first. It can be behind a call of Apply that returned before a power
	// cut, but never behind a Sync; it always agrees with the rows.
	Applied(ctx context.Context) (uint64, error)

	// Sync returns when everything that was applied is durable: from then on
	// it survives a power cut too. Commit no checkpoint at a block that was
	// not synced here, or the replay starts after changes that are lost.
	Sync(ctx context.Context) error

	// Item is the item of that id, or an error that wraps ErrNotFound.
	Item(ctx context.Context, id string) (*event.Item, error)
	// User is the user of that id, or an error that wraps ErrNotFound.
	User(ctx context.Context, id string) (*event.User, error)

	// Items lists at most n items with ids after the given one, in order of
	// the bytes of their ids; "" is before all. next is what to give as after
	// for the page that follows, "" at the end. The error wraps ErrInvalid
	// where n is less than 1.
	Items(ctx context.Context, after string, n int) (list []*event.Item, next string, err error)
	// Users lists users as Items lists items.
	Users(ctx context.Context, after string, n int) (list []*event.User, next string, err error)

	// EachItem calls fn with every item in order of id and stops at its first
	// error, which it returns as it is. No transaction is held: an item that
	// is written meanwhile is seen as it was or as it became. fn may use the
	// Store.
	EachItem(ctx context.Context, fn func(*event.Item) error) error
	// EachUser calls fn with every user as EachItem does with items.
	EachUser(ctx context.Context, fn func(*event.User) error) error

	// Counts is how many items and users there are. It may read all of their
	// ids.
	Counts(ctx context.Context) (items, users int, err error)

	// Rebuild replaces everything, in one transaction that is durable when it
	// returns, and sets Applied, backwards too: it is how an older
	// state is restored and how a lost database is made again. Readers see the old
	// catalogue until the new one is whole. An id that comes twice is an
	// error, and so is, with ErrInvalid, a row that Check would refuse to put.
	// After an error the old catalogue is there, or the whole new one where
	// only making it durable failed.
	Rebuild(ctx context.Context, block uint64, items iter.Seq[*event.Item], users iter.Seq[*event.User]) error

	// Close waits for calls that are running and releases the database. Every
	// later call fails.
	Close() error
}

// Check says whether a change is one that every Store can hold; the error
// wraps ErrInvalid and names the field. A change that fails must not be
// written to the log, because no Store will apply the block that holds it:
//
//   - the kind is one of the six, and its Item or User is set;
//   - the id has 1 to MaxIDBytes bytes;
//   - all text is UTF-8, metadata included, and id, title and gender have no
//     NUL, which some databases can not store.
func Check(c event.Change) error {
	switch c.Kind {
	case event.PutItem, event.EnsureItem, event.DeleteItem:
		if c.Item == nil {
			return fmt.Errorf("%w: change of kind %d without an item", ErrInvalid, c.Kind)
		}
		return checkItem(c.Item)
	case event.PutUser, event.EnsureUser, event.DeleteUser:
		if c.User == nil {
			return fmt.Errorf("%w: change of kind %d without a user", ErrInvalid, c.Kind)
		}
		return checkUser(c.User)
	}
	return fmt.Errorf("%w: unknown kind of change %d", ErrInvalid, c.Kind)
}

func checkItem(item *event.Item) error {
	err := checkID(item.ID)
	if err == nil {
		err = checkText("title", item.Title)
	}
	if err == nil {
		err = checkList("categories", item.Categories)
	}
	if err == nil {
		err = checkList("tags", item.Tags)
	}
	if err == nil && !utf8.Valid(item.Metadata) {
		err = fmt.Errorf("%w: metadata: not UTF-8", ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("item %.64q: %w", item.ID, err)
	}
	return nil
}

func checkUser(user *event.User) error {
	err := checkID(user.ID)
	if err == nil {
		err = checkText("gender", user.Gender)
	}
	if err == nil {
		err = checkList("labels", user.Labels)
	}
	if err != nil {
		return fmt.Errorf("user %.64q: %w", user.ID, err)
	}
	return nil
}

func checkID(id string) error {
	if id == "" || len(id) > MaxIDBytes {
		return fmt.Errorf("%w: id: %d bytes, expected 1 to %d", ErrInvalid, len(id), MaxIDBytes)
	}
	return checkText("id", id)
}

func checkText(field, s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s: not UTF-8", ErrInvalid, field)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%w: %s: holds a NUL", ErrInvalid, field)
	}
	return nil
}

func checkList(field string, list []string) error {
	for i, s := range list {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%w: %s[%d]: not UTF-8", ErrInvalid, field, i)
		}
	}
	return nil
}

// Replace is the item that a put of next makes of old, which is nil where
// there was none: next itself, or a copy of it with old's Created where next
// does not know its own. Neither argument is changed.
func Replace(old, next *event.Item) *event.Item {
	if old == nil || next.Created != 0 || old.Created == 0 {
		return next
	}
	kept := *next
	kept.Created = old.Created
	return &kept
}
