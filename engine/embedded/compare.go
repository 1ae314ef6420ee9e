package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// Difference is one thing that two runs of the same log disagree about.
type Difference struct {
	// Kind is "operator", "view" or "catalogue".
	Kind string `json:"kind"`
	// Name is the stage, the view, or the part of the catalogue.
	Name string `json:"name"`
	Key  string `json:"key"`
	// Detail says what differs: "missing", "extra" or "different".
	Detail string `json:"detail"`
}

// errEnough ends a comparison that has found as much as was asked for.
var errEnough = errors.New("enough differences")

// Inspect recovers an engine without running it, to look at what it holds. No
// block is processed and no checkpoint is taken.
func Inspect(o Options) (*Engine, error) {
	e, err := open(o, func(f func()) { go f() })
	if err != nil {
		return nil, err
	}
	close(e.stopped)
	return e, nil
}

// Compare finds what differs between two inspected engines: every state of
// every stage, every answer of every view, every entry of the catalogue. It
// stops at most differences.
func Compare(a, b *Engine, most int) ([]Difference, error) {
	c := comparison{most: most}
	err := c.run(a, b)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.found, err
}

type comparison struct {
	most  int
	found []Difference
}

// digest stands for the bytes of a value, so that one side fits in memory.
type digest [sha256.Size]byte

type place struct{ name, key string }

// each calls fn for everything that one engine holds of one kind.
type each func(e *Engine, fn func(at place, value []byte) error) error

func (c *comparison) run(a, b *Engine) error {
	for _, part := range []struct {
		kind string
		each each
	}{{"operator", eachState}, {"view", eachAnswer}, {"catalogue", eachEntry}} {
		if err := c.compare(part.kind, a, b, part.each); err != nil {
			return err
		}
	}
	return c.compareSQL(a)
}

func (c *comparison) compare(kind string, a, b *Engine, each each) error {
	left := map[place]digest{}
	err := each(a, func(at place, value []byte) error {
		left[at] = sha256.Sum256(value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %ss of the first run: %w", kind, err)
	}
	err = each(b, func(at place, value []byte) error {
		have, ok := left[at]
		delete(left, at)
		switch {
		case !ok:
			return c.add(Difference{kind, at.name, at.key, "missing"})
		case have != sha256.Sum256(value):
			return c.add(Difference{kind, at.name, at.key, "different"})
		}
		return nil
	})
	if err != nil {
		return err
	}
	extra := make([]place, 0, len(left))
	for at := range left {
		extra = append(extra, at)
	}
	slices.SortFunc(extra, func(p, q place) int { return bytes.Compare([]byte(p.name+"\x00"+p.key), []byte(q.name+"\x00"+q.key)) })
	for _, at := range extra {
		if err := c.add(Difference{kind, at.name, at.key, "extra"}); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) add(d Difference) error {
	c.found = append(c.found, d)
	if len(c.found) >= c.most {
		return errEnough
	}
	return nil
}

func eachState(e *Engine, fn func(place, []byte) error) error {
	return e.core.pipeline.State(func(stage, key string, value []byte) error { return fn(place{stage, key}, value) })
}

func eachAnswer(e *Engine, fn func(place, []byte) error) error {
	return eachViewAnswer(e.options.Views, e.core.pipeline.Topology().Views(), fn)
}

func eachViewAnswer(views view.Store, names []string, fn func(place, []byte) error) error {
	var buffer []byte
	for _, name := range names {
		err := views.Each(name, func(key string, v operator.Value) error {
			var err error
			if buffer, err = v.AppendBinary(buffer[:0]); err != nil {
				return fmt.Errorf("view %s, key %q: %w", name, key, err)
			}
			return fn(place{name, key}, buffer)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func eachEntry(e *Engine, fn func(place, []byte) error) error {
	for item := range e.index.Items() {
		if err := fn(place{"items", item.ID}, event.AppendChange(nil, &event.Change{Kind: event.PutItem, Item: item})); err != nil {
			return err
		}
	}
	for user := range e.index.Users() {
		if err := fn(place{"users", user.ID}, event.AppendChange(nil, &event.Change{Kind: event.PutUser, User: user})); err != nil {
			return err
		}
	}
	return nil
}

// compareSQL holds the SQL catalogue against the one in memory: every item,
// and every user of whom something is known.
func (c *comparison) compareSQL(e *Engine) error {
	if e.options.Catalog == nil {
		return nil
	}
	ctx := context.Background()
	if err := e.sink.wait(ctx, e.core.block); err != nil {
		return fmt.Errorf("read the SQL catalogue: %w", err)
	}
	items, users := e.index.Len()
	err := e.options.Catalog.EachItem(ctx, func(item *event.Item) error {
		items--
		return c.entry("items", item.ID, event.Change{Kind: event.PutItem, Item: item}, event.Change{Kind: event.PutItem, Item: e.index.Item(item.ID)})
	})
	if err != nil {
		return err
	}
	err = e.options.Catalog.EachUser(ctx, func(user *event.User) error {
		known := e.index.User(user.ID)
		if known == nil {
			known = &event.User{ID: user.ID}
		} else {
			users--
		}
		return c.entry("users", user.ID, event.Change{Kind: event.PutUser, User: user}, event.Change{Kind: event.PutUser, User: known})
	})
	if err != nil {
		return err
	}
	if items != 0 || users != 0 {
		return c.add(Difference{"catalogue", "sql", "", fmt.Sprintf("%d items and %d users missing", items, users)})
	}
	return nil
}

// entry compares one row of SQL with the entry in memory.
func (c *comparison) entry(name, key string, sql, memory event.Change) error {
	if memory.Kind == event.PutItem && memory.Item == nil {
		return c.add(Difference{"catalogue", "sql." + name, key, "extra"})
	}
	if !bytes.Equal(event.AppendChange(nil, &sql), event.AppendChange(nil, &memory)) {
		return c.add(Difference{"catalogue", "sql." + name, key, "different"})
	}
	return nil
}
