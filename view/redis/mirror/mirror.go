// Package mirror keeps a copy of an engine's views in Redis, for processes that
// serve beside it. The engine publishes to memory and never waits for Redis:
// what it wrote is passed on behind its back. The README of package redis says
// what readers may rely on.
package mirror

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
	"millrace/view/memory"
	"millrace/view/redis"
)

// Catalogue is where items and users are looked up that are passed on.
type Catalogue interface {
	Item(id string) *event.Item
	User(id string) *event.User
	Items() iter.Seq[*event.Item]
	Users() iter.Seq[*event.User]
}

// Options are what a mirror is made of.
type Options struct {
	Client *redis.Client
	Owner  redis.Owner
	// Eager are the views whose answers a reader gets with the block that they
	// are of, as one who has waited for it looks for the own event in them. The
	// others, which all users share, are written every SharedInterval.
	Eager map[string]bool
	// Figures are for people who look at Redis: fields of the state, with
	// values. Nil leaves them out.
	Figures func() []any
	Logger  *slog.Logger
}

// SharedInterval is how long answers that all users share may wait: an event
// changes dozens of trending lists, and the next event most of them again.
const SharedInterval = 50 * time.Millisecond

// Mirror is a view.Store in memory that is copied to Redis.
type Mirror struct {
	*memory.Store
	options Options
	max     int // writes that may wait

	mutex     sync.Mutex // also held while the memory is published to
	staged    staged     // by Follow, until Publish
	eager     []operator.ViewWrite
	shared    []operator.ViewWrite
	changes   []event.Change
	positions map[string]uint64 // of all sources
	moved     map[string]uint64 // those that have not been passed on
	now       point
	live      bool // writes are collected
	overflow  bool // some were dropped

	wake   chan struct{}
	stop   context.CancelFunc
	done   chan struct{}
	status atomic.Pointer[Status]
}

// staged is what Follow has told of the next publication.
type staged struct {
	positions map[string]uint64
	changes   []event.Change
	watermark event.Time
}

// point is where the views stand.
type point struct {
	sequence   uint64 // publications so far
	block      uint64
	streamTime event.Time
	watermark  event.Time
	shared     bool // answers that all users share stand there too
}

// Status is how the copy is.
type Status struct {
	// Err is why Redis has not all that it should have, nil if it has.
	Err error
	// Phase is what readers are told.
	Phase redis.Phase
	// Block is the one up to which Redis has everything, and Behind how many
	// writes wait.
	Block  uint64
	Behind int
	// Rewrites are how often everything was written again, and Keys how many
	// keys have been written, since the start.
	Rewrites, Keys uint64
}

// New makes a mirror that passes nothing on before Start.
func New(o Options) *Mirror {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mirror{
		Store: memory.New(), options: o, max: cmp.Or(o.Client.Config().MaxPending, redis.DefaultConfig().MaxPending),
		positions: map[string]uint64{}, moved: map[string]uint64{}, now: point{streamTime: event.MinTime, watermark: event.MinTime},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	m.staged.positions = map[string]uint64{}
	m.status.Store(&Status{Phase: redis.Building})
	return m
}

// Start begins to pass on what is in memory, and what comes.
func (m *Mirror) Start(c Catalogue) {
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	r := &runner{mirror: m, catalogue: c, log: m.options.Logger, owner: m.options.Owner}
	go func() {
		defer close(m.done)
		r.run(ctx)
	}()
}

var _ view.Follower = (*Mirror)(nil)

// Follow implements view.Follower.
func (m *Mirror) Follow(p view.Progress) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for source, next := range p.Positions {
		m.staged.positions[source] = next
	}
	for _, c := range p.Changes {
		if c.Kind != event.EnsureUser { // of whom nothing is known: fronts ask the views
			m.staged.changes = append(m.staged.changes, c)
		}
	}
	m.staged.watermark = p.Watermark
}

// Publish implements view.Store.
func (m *Mirror) Publish(block uint64, streamTime event.Time, writes ...[]operator.ViewWrite) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if err := m.Store.Publish(block, streamTime, writes...); err != nil {
		return err
	}
	m.now = point{sequence: m.now.sequence + 1, block: block, streamTime: streamTime, watermark: max(m.now.watermark, m.staged.watermark)}
	for source, next := range m.staged.positions {
		m.positions[source], m.moved[source] = next, next
	}
	clear(m.staged.positions)
	if m.live {
		m.collect(writes)
	}
	m.staged.changes = nil
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return nil
}

// collect queues what is to be passed on. If that becomes too much it is
// dropped, and everything is written again later.
func (m *Mirror) collect(writes [][]operator.ViewWrite) {
	for _, list := range writes {
		for i := range list {
			if m.options.Eager[list[i].View] {
				m.eager = append(m.eager, list[i])
			} else {
				m.shared = append(m.shared, list[i])
			}
		}
	}
	m.changes = append(m.changes, m.staged.changes...)
	if len(m.eager) <= m.max && len(m.shared) <= m.max && len(m.changes) <= m.max {
		return
	}
	m.eager, m.shared = coalesce(m.eager), coalesce(m.shared)
	if len(m.eager) > m.max/2 || len(m.shared) > m.max/2 || len(m.changes) > m.max {
		m.drop()
	}
}

// drop gives up what waits; the mutex is held.
func (m *Mirror) drop() {
	m.eager, m.shared, m.changes = nil, nil, nil
	m.live, m.overflow = false, true
}

// coalesce keeps the last write of each key, in the order of the last writes.
func coalesce(writes []operator.ViewWrite) []operator.ViewWrite {
	seen := make(map[view.Key]struct{}, len(writes))
	kept := len(writes)
	for i := len(writes) - 1; i >= 0; i-- {
		key := view.Key{View: writes[i].View, Key: writes[i].Key}
		if _, ok := seen[key]; !ok {
			seen[key] = struct{}{}
			kept--
			writes[kept] = writes[i]
		}
	}
	n := copy(writes, writes[kept:])
	clear(writes[n:])
	return writes[:n]
}

// Status is how the copy is at present.
func (m *Mirror) Status() Status {
	s := *m.status.Load()
	m.mutex.Lock()
	s.Behind = len(m.eager) + len(m.shared)
	m.mutex.Unlock()
	return s
}

// Err is why fronts do not get what they should, nil if they do.
func (m *Mirror) Err() error { return m.status.Load().Err }

// closeTimeout is how long what waits is still written when the mirror is
// closed.
const closeTimeout = 2 * time.Second

// Close passes on what waits, if Redis takes it soon, and stops. Published is
// nothing any more.
func (m *Mirror) Close() error {
	err := m.Store.Close()
	if m.stop != nil {
		m.stop()
		<-m.done
	}
	return err
}
