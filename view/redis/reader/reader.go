// Package reader reads views from Redis for processes that serve beside an
// engine: snapshots that cost few round trips, and a catalogue that follows the
// engine's. The README of package redis says what readers may rely on.
package reader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
	"millrace/view/redis"
)

// Options are what a Reader is made of.
type Options struct {
	Client *redis.Client
	// Eager are the views that are read anew for every snapshot. What was read
	// of the others may be used again for as long as the configuration says.
	Eager  map[string]bool
	Logger *slog.Logger
}

// Reader makes snapshots of views in Redis.
type Reader struct {
	client  *redis.Client
	eager   map[string]bool
	cluster bool
	timeout time.Duration
	cache   *cache
	watch   *watch
}

// New makes a Reader and begins to watch Redis. It is closed after use.
func New(o Options) *Reader {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	config := o.Client.Config()
	r := &Reader{
		client: o.Client, eager: o.Eager, cluster: config.Cluster, timeout: 2*config.Timeout + config.DialTimeout,
		cache: newCache(config.Cache, config.CacheEntries), watch: newWatch(o.Client, o.Logger),
	}
	return r
}

// Close stops watching. It does not close the client.
func (r *Reader) Close() { r.watch.close() }

// Err is why nothing can be read at present, a view.ErrUnavailable, or nil.
func (r *Reader) Err() error { return r.watch.err() }

// answers reports whether Redis does: why it does not has been logged.
func (r *Reader) answers() bool { return r.Err() == nil }

// Stale says why answers may be older than they should be, "" if they are not.
func (r *Reader) Stale() string { return r.watch.stale() }

// State is how far the engine has come, as far as is known.
func (r *Reader) State() redis.State { return r.watch.current().state }

// Len is how many keys a view has, as the engine last told.
func (r *Reader) Len(name string) int {
	n, _ := strconv.Atoi(r.watch.current().figures[redis.KeysFigure(name)])
	return n
}

// Figure is a figure that the engine told last, 0 if it did not.
func (r *Reader) Figure(name string) uint64 {
	n, _ := strconv.ParseUint(r.watch.current().figures[name], 10, 64)
	return n
}

// Wait returns once the state is as wanted, or with ctx's error.
func (r *Reader) Wait(ctx context.Context, as func(redis.State) bool) error {
	return r.watch.wait(ctx, as)
}

// WaitPositions returns once the answers that are a user's own are as of the
// given positions of sources, or with ctx's error.
func (r *Reader) WaitPositions(ctx context.Context, want map[string]uint64) error {
	return r.watch.waitPositions(ctx, want)
}

// Snapshot is the views as they are when they are first read, key by key:
// nothing is read before it is asked for. It answers the same again.
func (r *Reader) Snapshot() view.Snapshot {
	return &snapshot{reader: r, err: r.watch.err()}
}

// snapshot is what was read.
type snapshot struct {
	reader *Reader
	mutex  sync.Mutex
	err    error
	state  redis.State
	known  bool // the state
	values map[view.Key]operator.Value
	closed bool
}

// Prefetch implements view.Prefetcher.
func (s *snapshot) Prefetch(keys ...view.Key) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.fetch(keys)
}

// fetch reads what is not known yet, with one round trip. In a cluster the
// state is read before anything else: nodes do not answer in any order.
func (s *snapshot) fetch(keys []view.Key) {
	r := s.reader
	if s.err != nil {
		return
	}
	if r.cluster && !s.known && keys != nil {
		if s.fetch(nil); s.err != nil {
			return
		}
	}
	if s.values == nil {
		s.values = make(map[view.Key]operator.Value, 32)
	}
	missing := make([]view.Key, 0, len(keys))
	for _, k := range keys {
		if _, ok := s.values[k]; ok {
			continue
		}
		if !r.eager[k.View] {
			if v, ok := r.cache.get(k); ok {
				s.values[k] = v
				continue
			}
		}
		s.values[k] = nil // once, if it is named twice
		missing = append(missing, k)
	}
	if len(missing) == 0 && s.known {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	list, state, found, err := r.client.Fetch(ctx, missing, !s.known)
	if err == nil && !s.known {
		err = readable(state, found)
		s.state, s.known = state, true
	}
	if err != nil {
		s.err = r.watch.failed(err)
		return
	}
	r.watch.succeeded()
	for i, k := range missing {
		s.values[k] = list[i].Value
		if !r.eager[k.View] {
			r.cache.put(k, list[i].Value)
		}
	}
}

var (
	errNothing  = fmt.Errorf("%w: no engine has written any to redis", view.ErrUnavailable)
	errBuilding = fmt.Errorf("%w: redis has lost them, and the engine is writing them again", view.ErrUnavailable)
)

// readable is why nothing is answered from a state, nil if it is.
func readable(s redis.State, found bool) error {
	switch {
	case !found:
		return errNothing
	case s.Phase == redis.Building:
		return errBuilding
	}
	return nil
}

// unavailable words an error for clients.
func unavailable(err error) error {
	if err == nil || errors.Is(err, view.ErrUnavailable) {
		return err
	}
	return &outage{redis.Cause(err), err}
}

// outage is an error in words that clients may read.
type outage struct {
	words string
	err   error
}

// Error is what clients are told.
func (o *outage) Error() string { return view.ErrUnavailable.Error() + ": " + o.words }

// Unwrap gives what is wrong as well.
func (o *outage) Unwrap() []error { return []error{view.ErrUnavailable, o.err} }

// Get implements view.Reader.
func (s *snapshot) Get(name, key string) (operator.Value, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.closed {
		panic("view: snapshot used after it was closed")
	}
	k := view.Key{View: name, Key: key}
	v, ok := s.values[k]
	if !ok {
		s.fetch([]view.Key{k})
		v = s.values[k]
	}
	return v, v != nil && s.err == nil
}

// read reads the state if it is not known.
func (s *snapshot) read() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.known {
		s.fetch(nil)
	}
}

// Block implements view.Snapshot: all answers that are a user's own are as of
// this block, or newer.
func (s *snapshot) Block() uint64 {
	s.read()
	return s.state.Block
}

// StreamTime implements view.Snapshot.
func (s *snapshot) StreamTime() event.Time {
	if s.read(); !s.known {
		return event.MinTime
	}
	return s.state.StreamTime
}

// Err is why answers are missing, a view.ErrUnavailable, or nil.
func (s *snapshot) Err() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.err
}

// Close implements view.Snapshot.
func (s *snapshot) Close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.closed = true
}
