package reader

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/view/redis"
)

// Catalogue is the engine's catalogue in memory, read from Redis and kept up to
// date. Its readers take no lock.
type Catalogue struct {
	reader *Reader
	log    *slog.Logger
	index  atomic.Pointer[catalog.Index] // nil before the first was read
	empty  *catalog.Index

	// Of the goroutine that follows.
	epoch   uint64
	place   string
	number  uint64 // of the last change that was applied
	failing bool

	applied atomic.Uint64 // number, for those who wait
	mutex   sync.Mutex
	changed chan struct{} // closed when something was applied

	stop context.CancelFunc
	done chan struct{}
	wake chan struct{}
}

// followEvery is how often changes are looked for when nobody waits for one.
const followEvery = 100 * time.Millisecond

// NewCatalogue begins to read the catalogue. It is closed after use.
func NewCatalogue(r *Reader, log *slog.Logger) *Catalogue {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Catalogue{
		reader: r, log: log, empty: catalog.NewIndex(), stop: stop,
		changed: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	go c.run(ctx)
	return c
}

// Close stops following.
func (c *Catalogue) Close() {
	c.stop()
	<-c.done
}

// Loaded reports whether there is a catalogue yet.
func (c *Catalogue) Loaded() bool { return c.index.Load() != nil }

func (c *Catalogue) now() *catalog.Index {
	if x := c.index.Load(); x != nil {
		return x
	}
	return c.empty
}

// Item is the item of that id, nil where it is not known.
func (c *Catalogue) Item(id string) *event.Item { return c.now().Item(id) }

// HashedItem is Item for whoever knows event.HashID of the id.
func (c *Catalogue) HashedItem(id string, hash uint64) *event.Item {
	return c.now().HashedItem(id, hash)
}

// User is the user of that id, nil where nothing is known but, perhaps, that
// there is one.
func (c *Catalogue) User(id string) *event.User { return c.now().User(id) }

// Newest are the newest items of a category, as catalog.Index has them.
func (c *Catalogue) Newest(category string, n int) []*event.Item { return c.now().Newest(category, n) }

func (c *Catalogue) run(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		more, err := c.turn(ctx)
		if err != nil && ctx.Err() == nil && !c.failing {
			c.log.Error("the catalogue in redis can not be followed", "because", redis.Cause(err), "error", err)
		}
		c.failing = err != nil
		if more && err == nil {
			continue
		}
		timer := time.NewTimer(followEvery)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// errGap says that changes are missing between those that were applied and
// those that are kept.
var errGap = errors.New("changes of the catalogue are missing")

// turn applies what has changed, or reads all of it: at first, where an engine
// has written everything again, or where this one was too slow.
func (c *Catalogue) turn(ctx context.Context) (more bool, err error) {
	state := c.reader.State()
	if !c.reader.answers() || state.Epoch == 0 {
		return false, nil
	}
	if !c.Loaded() || state.Epoch != c.epoch && state.Phase == redis.Live {
		return true, c.load(ctx, state)
	}
	list, place, err := c.reader.client.Changes(ctx, c.place)
	if err != nil {
		return false, err
	}
	index := c.index.Load()
	for _, change := range list {
		if change.Number != c.number+1 {
			c.log.Warn("the catalogue is read anew", "because", errGap)
			return true, c.load(ctx, state)
		}
		index.Apply(change.Change)
		c.number = change.Number
	}
	if c.place = place; len(list) > 0 {
		c.announce()
	}
	return len(list) > 0, nil
}

// load reads the whole catalogue, and then goes on with the changes since it
// began: applied again to what has them already they change nothing.
func (c *Catalogue) load(ctx context.Context, state redis.State) error {
	began := time.Now()
	place, number, err := c.reader.client.LastChange(ctx)
	if err != nil {
		return err
	}
	items, users := map[string]*event.Item{}, map[string]*event.User{}
	err = c.reader.client.EachEntry(ctx, func(e redis.Entry, _ redis.Order) error {
		switch { // an entry may come twice, the newer one last
		case e.Item != nil:
			items[e.ID] = e.Item
		case e.User != nil:
			users[e.ID] = e.User
		case e.IsUser:
			delete(users, e.ID)
		default:
			delete(items, e.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	index := catalog.NewIndex()
	index.Load(maps.Values(items), maps.Values(users))
	c.index.Store(index)
	c.epoch, c.place, c.number = state.Epoch, place, number
	if state.Phase != redis.Live {
		c.epoch = 0 // some entries may be old yet: it is read again when none is
	}
	c.announce()
	c.log.Info("the catalogue was read", "items", len(items), "users", len(users), "took", time.Since(began))
	return nil
}

// announce tells those who wait how far it is.
func (c *Catalogue) announce() {
	c.applied.Store(c.number)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Wait returns once the change of a number has been applied, or with ctx's
// error.
func (c *Catalogue) Wait(ctx context.Context, number uint64) error {
	for {
		c.mutex.Lock()
		changed := c.changed
		c.mutex.Unlock()
		if c.applied.Load() >= number {
			return nil
		}
		select {
		case c.wake <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
