package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/event"
)

// DefaultFollowInterval is how often a Follower looks for what is new.
const DefaultFollowInterval = 200 * time.Millisecond

// FollowOptions are how a Follower follows.
type FollowOptions struct {
	// Interval is how often it looks for what is new, 0 for
	// DefaultFollowInterval. Looking costs one statement where nothing is.
	Interval time.Duration
	// Logger takes why it can not follow; nil drops it.
	Logger *slog.Logger
}

// Follower keeps an Index as a Store in SQL is, which another process writes:
// for a front that has no log. The Index is behind the Store by the interval
// and what reading takes, and it is not at one block while it catches up; at
// the end of each Step it has everything up to Block.
type Follower struct {
	store *Store
	index *catalog.Index
	o     FollowOptions

	epoch int64
	// Where it stands in what was written and in what was deleted.
	items, users, deletedItems, deletedUsers place

	mutex sync.Mutex
	block uint64
	begun bool
	err   error
}

// place is where a follower stands in the order of changes.
type place struct {
	block uint64
	id    string
}

// Follow makes the Follower of an Index, which nobody else may write. Nothing
// is read before Step or Run.
func (s *Store) Follow(index *catalog.Index, o FollowOptions) *Follower {
	o.Interval = cmp.Or(o.Interval, DefaultFollowInterval)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Follower{store: s, index: index, o: o}
}

// Block is the last block that the Index has all of; ok is false before the
// first Step has succeeded, when the Index has nothing.
func (f *Follower) Block() (block uint64, ok bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.block, f.begun
}

// Err is why the last Step failed, nil if it did not.
func (f *Follower) Err() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.err
}

// Run follows until ctx ends. While the database is away the Index stays as it
// is, and Err says why.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(f.o.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		before := f.Err()
		switch err := f.Step(ctx); {
		case ctx.Err() != nil:
		case err != nil && before == nil:
			f.o.Logger.Warn("the catalogue's database can not be read; answers are of the catalogue as it was", "error", err)
		case err == nil && before != nil:
			f.o.Logger.Info("the catalogue's database can be read again")
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Step reads what is new. The first one, and one after everything was
// replaced, reads all there is. It is not called while Run runs.
func (f *Follower) Step(ctx context.Context) error {
	block, err := f.step(ctx)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.err = err; err == nil {
		f.block, f.begun = block, true
	}
	return err
}

func (f *Follower) step(ctx context.Context) (uint64, error) {
	at, err := f.store.progress(ctx)
	if err != nil {
		return 0, err
	}
	last, begun := f.Block()
	switch {
	case !begun || at.epoch != f.epoch || at.block < last || at.pruned > last:
		err = f.load(ctx, at)
	case at.block > last || f.Err() != nil:
		err = f.catchUp(ctx)
	}
	return at.block, err
}

// load reads everything. What is written meanwhile has a block after at's, and
// is read again by the next step.
func (f *Follower) load(ctx context.Context, at progress) error {
	var items []*event.Item
	var users []*event.User
	err := errors.Join(
		f.store.EachItem(ctx, func(item *event.Item) error { items = append(items, item); return nil }),
		f.store.EachUser(ctx, func(user *event.User) error {
			if user.Age != 0 || user.Gender != "" || len(user.Labels) > 0 {
				users = append(users, user)
			}
			return nil
		}))
	if err != nil {
		return err
	}
	f.index.Load(slices.Values(items), slices.Values(users))
	next := place{block: at.block + 1}
	f.epoch, f.items, f.users, f.deletedItems, f.deletedUsers = at.epoch, next, next, next, next
	return nil
}

// catchUp reads what has changed. Deletions come first, because a row that was
// made again after its deletion is read as it is.
func (f *Follower) catchUp(ctx context.Context) error {
	err := followDeletions(ctx, &f.store.items, &f.deletedItems, f.index.Items(), func(id string, row *event.Item) {
		f.index.Apply(event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: id}})
		if row != nil {
			f.index.Apply(event.Change{Kind: event.PutItem, Item: row})
		}
	})
	if err == nil {
		err = followDeletions(ctx, &f.store.users, &f.deletedUsers, f.index.Users(), func(id string, row *event.User) {
			f.index.Apply(event.Change{Kind: event.DeleteUser, User: &event.User{ID: id}})
			if row != nil {
				f.index.Apply(event.Change{Kind: event.PutUser, User: row})
			}
		})
	}
	if err == nil {
		err = followRows(ctx, &f.store.items, &f.items, func(row *event.Item) {
			f.index.Apply(event.Change{Kind: event.PutItem, Item: row})
		})
	}
	if err == nil {
		err = followRows(ctx, &f.store.users, &f.users, func(row *event.User) {
			f.index.Apply(event.Change{Kind: event.PutUser, User: row})
		})
	}
	f.index.TakeDirty() // nobody makes checkpoints of it
	return err
}

// followRows applies the rows of a table that have changed.
func followRows[R any](ctx context.Context, t *table[R], at *place, apply func(*R)) error {
	for {
		n := 0
		err := query(ctx, t.timeout, t.changed, at, func(scan func(...any) error) error {
			var block int64
			row, err := t.scan(func(dst ...any) error { return scan(append(dst, &block)...) })
			if err != nil {
				return err
			}
			apply(row)
			*at = place{uint64(block), t.id(row)}
			n++
			return nil
		})
		if err != nil || n < pageRows {
			return err
		}
	}
}

// followDeletions finds which of the rows that are known were deleted, and
// applies that, each with its row where it was made again.
func followDeletions[R any](ctx context.Context, t *table[R], at *place, known iter.Seq[*R], apply func(id string, row *R)) error {
	hashes, next, err := t.deletions(ctx, *at)
	if err != nil || len(hashes) == 0 {
		return err
	}
	var ids []string
	for row := range known {
		if id := t.id(row); hashes[grave(id)] {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		row, err := t.one(ctx, id)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		apply(id, row)
	}
	*at = next
	return nil
}

// deletions are the hashes of what was deleted after a place.
func (t *table[R]) deletions(ctx context.Context, at place) (hashes map[string]bool, next place, err error) {
	hashes = map[string]bool{}
	for {
		n := 0
		err := query(ctx, t.timeout, t.buried, &at, func(scan func(...any) error) error {
			var hash string
			var block int64
			if err := scan(&hash, &block); err != nil {
				return err
			}
			hashes[hash] = true
			at = place{uint64(block), hash}
			n++
			return nil
		})
		if err != nil || n < pageRows {
			return hashes, at, err
		}
	}
}

// query calls fn with a page of the rows after a place.
func query(ctx context.Context, timeout time.Duration, stmt *sql.Stmt, at *place, fn func(scan func(...any) error) error) (err error) {
	ctx, cancel := bounded(ctx, timeout)
	defer cancel()
	block := int64(at.block)
	rows, err := stmt.QueryContext(ctx, block, block, at.id, pageRows)
	if err != nil {
		return fmt.Errorf("reading what has changed: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return fmt.Errorf("reading what has changed: %w", err)
		}
	}
	return rows.Err()
}
