package front

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/catalog"
	"millrace/catalog/database"
	"millrace/catalog/opener"
	"millrace/catalog/sqlstore"
	"millrace/event"
	"millrace/recommend/activity"
	"millrace/recommend/rank"
	"millrace/serve/api"
	"millrace/view"
	"millrace/view/redis"
	"millrace/view/redis/reader"
)

// Catalogue is what a front knows of items and users.
type Catalogue interface {
	rank.Catalogue
	// Loaded reports whether it has been read yet.
	Loaded() bool
	// Wait returns once it has what the engine had applied at a state, or with
	// ctx's error.
	Wait(ctx context.Context, s redis.State) error
	// Known is a user of whom perhaps nothing is known but that there is one. The
	// errors are catalog.ErrNotFound, api.ErrUnavailable and view.ErrUnavailable.
	Known(ctx context.Context, id string) (*event.User, error)
	// Err is why it is not kept up to date, in words, or nil.
	Err() error
	Close() error
}

// openCatalogue reads the catalogue from SQL where that is on a server, and
// else from Redis.
func (f *front) openCatalogue(ctx context.Context) (Catalogue, error) {
	c := f.options.Catalog
	if c.Driver == "" || c.Driver == database.SQLite {
		return inRedis{reader.NewCatalogue(f.reader, f.options.Logger), f.reader}, nil
	}
	store, err := opener.Open(ctx, c, "")
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	index := catalog.NewIndex()
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &inSQL{
		Index: index, store: store, stop: stop, done: make(chan struct{}),
		follower: store.Follow(index, sqlstore.FollowOptions{Interval: sqlInterval, Logger: f.options.Logger}),
	}
	go func() {
		defer close(s.done)
		s.follower.Run(following)
	}()
	if c.Shared {
		f.shared = &sharedCatalogue{inSQL: s, deletions: f.topic.topic}
		if err := store.Share(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("catalogue: %w", err), s.Close())
		}
	}
	return s, nil
}

// inRedis is the catalogue that the engine keeps in Redis.
type inRedis struct {
	*reader.Catalogue
	reader *reader.Reader
}

// Wait returns once the changes are applied that had been passed on.
func (c inRedis) Wait(ctx context.Context, s redis.State) error {
	return c.Catalogue.Wait(ctx, s.Changes)
}

// Known is a user of whom there are answers: they have sent events, and nobody
// has described them.
func (c inRedis) Known(_ context.Context, id string) (*event.User, error) {
	s := c.reader.Snapshot()
	defer s.Close()
	_, known := s.Get(activity.ViewName, id)
	if err := view.Err(s); err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("user %q: %w", id, catalog.ErrNotFound)
	}
	return &event.User{ID: id}, nil
}

// Err is nil: where Redis does not work, that says so itself.
func (inRedis) Err() error { return nil }

// Close stops following.
func (c inRedis) Close() error {
	c.Catalogue.Close()
	return nil
}

// sqlInterval is how often the database is asked what is new.
const sqlInterval = 100 * time.Millisecond

// inSQL is a catalogue in MySQL or PostgreSQL that the engine writes.
type inSQL struct {
	*catalog.Index
	store    *sqlstore.Store
	follower *sqlstore.Follower
	stop     context.CancelFunc
	done     chan struct{}
}

// Loaded reports whether all of it has been read once.
func (s *inSQL) Loaded() bool {
	_, ok := s.follower.Block()
	return ok
}

// sqlLook is how often it is looked whether a block has been read.
const sqlLook = 10 * time.Millisecond

// Wait returns once the catalogue that is in the database now has been read: the
// engine answers a write of the catalogue when it is there.
func (s *inSQL) Wait(ctx context.Context, _ redis.State) error {
	applied, err := s.store.Applied(ctx)
	if err != nil {
		return fmt.Errorf("catalogue: %w", err)
	}
	return s.waitBlock(ctx, applied)
}

// Known is a user of the database.
func (s *inSQL) Known(ctx context.Context, id string) (*event.User, error) {
	user, err := s.store.User(ctx, id)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return nil, fmt.Errorf("%w: reading the catalogue's database does not work at present", api.ErrUnavailable)
	}
	return user, err
}

// errDatabase is what health tells.
var errDatabase = errors.New("the catalogue's database can not be read; answers are of the catalogue as it was")

// Err says that the database can not be read.
func (s *inSQL) Err() error {
	if s.follower.Err() != nil {
		return errDatabase
	}
	return nil
}

// Close stops following.
func (s *inSQL) Close() error {
	s.stop()
	<-s.done
	return s.store.Close()
}
