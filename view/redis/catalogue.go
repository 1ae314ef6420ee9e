package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"millrace/event"
	"millrace/event/wire"
)

// The catalogue is kept for fronts that have no SQL: spread over
// catalogueParts hashes, so that it is read without looking through all other
// keys. A field is an entry's kind and id, its value is a header and the change
// that puts it.

// Entry is an item or a user of the catalogue. Of one that is nil, nothing is
// known any more.
type Entry struct {
	ID   string
	Item *event.Item
	User *event.User
	// IsUser says which of the two it is, as both may be nil.
	IsUser bool
}

func (e *Entry) field() string {
	if e.IsUser {
		return "u" + e.ID
	}
	return "i" + e.ID
}

// appendTo appends the entry as it is stored.
func (e *Entry) appendTo(dst []byte, o Order) []byte {
	change := event.Change{Kind: event.PutItem, Item: e.Item}
	if e.IsUser {
		change = event.Change{Kind: event.PutUser, User: e.User}
	}
	if e.Item == nil && e.User == nil {
		return appendHeader(dst, o, flagDeleted)
	}
	return event.AppendChange(appendHeader(dst, o, 0), &change)
}

// WriteCatalogue writes entries as Write writes answers.
func (c *Client) WriteCatalogue(ctx context.Context, o Order, entries []Entry) error {
	for chunk := range slices.Chunk(entries, tripCalls) {
		parts := map[int][]any{}
		for i := range chunk {
			part := cataloguePart(chunk[i].ID)
			if parts[part] == nil {
				parts[part] = []any{c.config.longestTTL().Milliseconds()}
			}
			parts[part] = append(parts[part], chunk[i].field(), chunk[i].appendTo(nil, o))
		}
		err := c.trip(ctx, func(p redis.Pipeliner) {
			for _, part := range slices.Sorted(maps.Keys(parts)) {
				writeFieldsScript.EvalSha(ctx, p, []string{c.catalogueKey(part)}, parts[part]...)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// EachEntry calls fn for every entry that is stored, in no order, with when it
// was written; a deleted one has neither item nor user. One that is written
// meanwhile is seen as it was or as it became, perhaps twice.
func (c *Client) EachEntry(ctx context.Context, fn func(Entry, Order) error) error {
	for part := range catalogueParts {
		for cursor := uint64(0); ; {
			list, next, err := c.redis.HScan(ctx, c.catalogueKey(part), cursor, "", sweepScan).Result()
			if err != nil {
				return unreachable(err)
			}
			for i := 0; i+1 < len(list); i += 2 {
				entry, order, err := parseEntry(list[i], list[i+1])
				if err == nil {
					err = fn(entry, order)
				}
				if err != nil {
					return err
				}
			}
			if cursor = next; next == 0 {
				break
			}
		}
	}
	return nil
}

func parseEntry(field, value string) (Entry, Order, error) {
	order, body, err := splitValue([]byte(value))
	if err != nil {
		return Entry{}, order, fmt.Errorf("catalogue: %w", err)
	}
	if field == "" {
		return Entry{}, order, fmt.Errorf("catalogue: %w: a field without a name", ErrCorrupt)
	}
	e := Entry{ID: field[1:], IsUser: field[0] == 'u'}
	if body == nil {
		return e, order, nil
	}
	r := wire.NewReader(body)
	change := event.ReadChange(r)
	if err := r.End(); err != nil {
		return e, order, fmt.Errorf("catalogue: %w: %w", ErrCorrupt, err)
	}
	e.Item, e.User = change.Item, change.User
	return e, order, nil
}

// SweepCatalogue deletes what is older than an epoch, as Sweep does.
func (c *Client) SweepCatalogue(ctx context.Context, epoch uint64) error {
	old := map[int][]any{}
	limit := sweepLimit(epoch)
	err := c.EachEntry(ctx, func(e Entry, o Order) error {
		if o.Epoch < epoch {
			part := cataloguePart(e.ID)
			old[part] = append(old[part], e.field())
		}
		return nil
	})
	if err != nil {
		return err
	}
	for part, list := range old {
		for chunk := range slices.Chunk(list, tripCalls) {
			args := append([]any{limit}, chunk...)
			err := c.trip(ctx, func(p redis.Pipeliner) {
				sweepFieldsScript.EvalSha(ctx, p, []string{c.catalogueKey(part)}, args...)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Numbered is a change of the catalogue with its number: they are numbered one
// by one as they are passed on.
type Numbered struct {
	Number uint64
	Change event.Change
}

// changesRead is how many changes are read together.
const changesRead = 1000

// Changes are the changes that were passed on after a place in the stream, and
// the place after them. The place "0" is before all that are kept.
func (c *Client) Changes(ctx context.Context, after string) ([]Numbered, string, error) {
	streams, err := c.redis.XRead(ctx, &redis.XReadArgs{Streams: []string{c.changesKey(), after}, Count: changesRead, Block: -1}).Result()
	if errors.Is(err, redis.Nil) || len(streams) == 0 && err == nil {
		return nil, after, nil
	}
	if err != nil {
		return nil, after, unreachable(err)
	}
	var list []Numbered
	for _, m := range streams[0].Messages {
		number, _ := m.Values["n"].(string)
		text, _ := m.Values["c"].(string)
		n, err := strconv.ParseUint(number, 10, 64)
		r := wire.NewReader([]byte(text))
		change := event.ReadChange(r)
		if err := r.End(); err != nil {
			return nil, after, fmt.Errorf("changes of the catalogue: %w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return nil, after, fmt.Errorf("changes of the catalogue: %w: number %.20q", ErrCorrupt, number)
		}
		list = append(list, Numbered{n, change})
		after = m.ID
	}
	return list, after, nil
}

// LastChange is the place after all changes that were passed on, and the number
// of the last of them.
func (c *Client) LastChange(ctx context.Context) (place string, number uint64, err error) {
	list, err := c.redis.XRevRangeN(ctx, c.changesKey(), "+", "-", 1).Result()
	switch {
	case err != nil:
		return "", 0, unreachable(err)
	case len(list) == 0:
		return "0", 0, nil
	}
	text, _ := list[0].Values["n"].(string)
	if number, err = strconv.ParseUint(text, 10, 64); err != nil {
		return "", 0, fmt.Errorf("changes of the catalogue: %w: number %.20q", ErrCorrupt, text)
	}
	return list[0].ID, number, nil
}
