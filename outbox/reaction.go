// Package outbox keeps what people do with contents - likes, reads, favourites,
// comments - as rows of a SQL table, and takes each row exactly once to other
// systems: counters in Redis, messages in Kafka, events for the recommender.
// README.md says why a table is the single source, and how exactly once comes
// about.
package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace/event"
)

// Kind is what somebody does with a content. Its name is the last part of the
// route, the field of the counter and the end of the message.
type Kind string

// The kinds.
const (
	Likes     Kind = "likes"
	Reads     Kind = "reads"
	Favorites Kind = "favorites"
	Comments  Kind = "comments"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Likes, Reads, Favorites, Comments} }

// Once says whether somebody can do it only once with a content: a second like
// is the first one again, a second comment is not.
func (k Kind) Once() bool { return k == Likes || k == Favorites }

// Errors of this package. They are wrapped with what was being done.
var (
	// ErrInvalid says that a reaction can not be stored.
	ErrInvalid = errors.New("invalid reaction")
	// ErrUnavailable says that the database can not be asked at present.
	ErrUnavailable = errors.New("the database is not available")
)

// MaxKeyBytes is the length of the longest idempotency key.
const MaxKeyBytes = 250

// Reaction is one thing that somebody did with a content.
type Reaction struct {
	Kind    Kind
	User    string // "" once the user was forgotten
	Content string
	Title   string // of the content, as it was when it happened
	// Key makes a repeat known where a kind is possible more than once: the same
	// user, content and key are the same reaction. "" means that it is none.
	Key  string
	Time event.Time // of the server that took it
}

// Check says what is wrong with a reaction; the error wraps ErrInvalid and names
// the field.
func (r *Reaction) Check() error {
	if !slices.Contains(Kinds(), r.Kind) {
		return fmt.Errorf("%w: kind: want one of %v, got %q", ErrInvalid, Kinds(), r.Kind)
	}
	if bad := event.ValidateUser(&event.User{ID: r.User}); bad != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, bad)
	}
	if bad := event.ValidateItem(&event.Item{ID: r.Content, Title: r.Title}); bad != nil {
		if bad.Field == "item_id" {
			bad.Field = "content_id"
		}
		return fmt.Errorf("%w: %w", ErrInvalid, bad)
	}
	if !utf8.ValidString(r.Key) || strings.IndexByte(r.Key, 0) >= 0 || len(r.Key) > MaxKeyBytes {
		return fmt.Errorf("%w: idempotency_key: want at most %d bytes of UTF-8 without NUL, got %d", ErrInvalid, MaxKeyBytes, len(r.Key))
	}
	return nil
}

// Entry is a reaction that has its place.
type Entry struct {
	Reaction
	// Seq is the number of the row, in the order of arrival; some are missing.
	Seq uint64
	// Position counts all entries from 1 without gaps, in the order in which
	// everybody sees them.
	Position uint64
	// Ordinal counts those of the content in the same way.
	Ordinal uint64
}
