package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Target is another system that entries are taken to. It remembers itself how
// far it has got, in the same step in which it takes the entries, or knows those
// again that it has taken. Its methods are called one at a time.
type Target interface {
	// Name is what it is called in logs and in health.
	Name() string
	// Open connects, and tells the position of the last entry that it has. It is
	// called again after every error.
	Open(ctx context.Context) (position uint64, err error)
	// Position is the position of the last entry that it has, which can be before
	// one that it had: it has lost some then, and gets them again.
	Position(ctx context.Context) (uint64, error)
	// Take takes entries, the ones after Position, all or a beginning of them. It
	// returns when they are there to stay.
	Take(ctx context.Context, entries []Entry) error
	// Close lets go of what Open has connected.
	Close()
}

// Options are what a Projector is made of.
type Options struct {
	Store *Store
	// Shared are targets that all processes have in common: only the one that
	// has the lease writes to them. Local are this process's own.
	Shared, Local []Target
	// Interval is how often it is looked for what other processes have put, and
	// Lease after how long another process takes over from one that has gone; 0
	// means DefaultInterval and DefaultLease.
	Interval, Lease time.Duration
	Logger          *slog.Logger // takes what an operator of the service should know; nil drops it
}

// The defaults of Options.
const (
	DefaultInterval = 100 * time.Millisecond
	DefaultLease    = 10 * time.Second
)

const (
	// batch is how many entries are taken at a time.
	batch = 500
	// checkEvery is how often an idle target is asked whether it has lost some.
	checkEvery = time.Second
	// pause is how long a target is left alone after an error.
	pause = 500 * time.Millisecond
)

// Projector takes reactions to other systems, each in its own time: one that is
// away holds up no other and gets what it has missed when it is back, as the
// table keeps everything. It needs no memory for that.
type Projector struct {
	o      Options
	holder string

	placed *news // entries that were

	mutex sync.Mutex
	errs  map[string]error
	at    map[string]uint64
}

// NewProjector makes a Projector; Run runs it.
func NewProjector(o Options) *Projector {
	o.Interval, o.Lease = cmp.Or(o.Interval, DefaultInterval), cmp.Or(o.Lease, DefaultLease)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Projector{o: o, holder: rand.Text(), placed: newNews(), errs: map[string]error{}, at: map[string]uint64{}}
}

// Failing are the names of what does not work at present, in order: targets, and
// the database. A process that has not the lease knows nothing of shared targets.
func (p *Projector) Failing() []string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Sorted(maps.Keys(p.errs))
}

// Position is how far a target has got, as far as this process knows.
func (p *Projector) Position(name string) uint64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.at[name]
}

// Run takes reactions to the targets until ctx ends.
func (p *Projector) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { p.place(ctx) })
	for _, t := range p.o.Local {
		running.Go(func() { p.follow(ctx, t) })
	}
	p.lead(ctx)
	running.Wait()
}

// databaseName is what the database is called in Err.
const databaseName = "database"

// place gives reactions their places.
func (p *Projector) place(ctx context.Context) {
	for ctx.Err() == nil {
		arrived := p.o.Store.Arrived() // before it is looked, so that none is missed
		n, err := p.o.Store.Place(ctx, batch)
		if ctx.Err() != nil {
			return
		}
		p.note(databaseName, err)
		switch {
		case err != nil:
			sleep(ctx, pause)
		case n > 0:
			p.placed.tell()
		default:
			p.await(ctx, arrived)
		}
	}
}

// await waits until something is told, or the interval is over.
func (p *Projector) await(ctx context.Context, told <-chan struct{}) {
	timer := time.NewTimer(p.o.Interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-told:
	case <-timer.C:
	}
}

// lead follows with the shared targets while this process has the lease.
func (p *Projector) lead(ctx context.Context) {
	if len(p.o.Shared) == 0 {
		return
	}
	for ctx.Err() == nil {
		began := time.Now()
		held, err := p.o.Store.Lease(ctx, p.holder, p.o.Lease)
		if err == nil && held {
			p.hold(ctx, began)
		}
		sleep(ctx, p.o.Lease/3)
	}
}

// hold runs the shared targets until the lease can not be renewed any more. One
// that is held up longer than the lease writes nothing twice all the same: each
// target sees to that.
func (p *Projector) hold(ctx context.Context, renewed time.Time) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, t := range p.o.Shared {
		running.Go(func() { p.follow(ctx, t) })
	}
	for ctx.Err() == nil {
		sleep(ctx, p.o.Lease/4)
		began := time.Now()
		held, err := p.o.Store.Lease(ctx, p.holder, p.o.Lease)
		switch {
		case err == nil && held:
			renewed = began
		case err == nil || time.Since(renewed) > p.o.Lease*3/4:
			cancel()
		}
	}
	cancel()
	running.Wait()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, t := range p.o.Shared {
		delete(p.errs, t.Name()) // another process's matter now
	}
}

// follow takes entries to a target until ctx ends.
func (p *Projector) follow(ctx context.Context, t Target) {
	defer t.Close()
	for ctx.Err() == nil {
		err := p.project(ctx, t)
		if ctx.Err() != nil {
			return
		}
		p.note(t.Name(), err)
		t.Close()
		sleep(ctx, pause)
	}
}

// project takes entries to a target until an error.
func (p *Projector) project(ctx context.Context, t Target) error {
	at, err := t.Open(ctx)
	if err != nil {
		return err
	}
	checked := time.Now()
	for {
		placed := p.placed.coming()
		list, err := p.o.Store.After(ctx, at, batch)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			if err := t.Take(ctx, list); err != nil {
				return err
			}
			at = list[len(list)-1].Position
		}
		p.reached(t.Name(), at)
		if len(list) == batch {
			continue
		}
		if time.Since(checked) > checkEvery {
			checked = time.Now()
			has, err := t.Position(ctx)
			if err != nil {
				return err
			}
			if has < at {
				p.o.Logger.Warn("what was counted is lost there, and is counted again", "target", t.Name(), "has", has, "had", at)
				at = has
				continue
			}
		}
		if len(list) == 0 {
			p.await(ctx, placed)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// reached notes that a target works, and how far it has got.
func (p *Projector) reached(name string, at uint64) {
	p.note(name, nil)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.at[name] = at
}

// note notes how things stand, and logs when that changes.
func (p *Projector) note(name string, err error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_, before := p.errs[name]
	switch {
	case err != nil && !before:
		p.o.Logger.Error("likes do not get on; they are stored, and taken there when it works again", "target", name, "error", err)
	case err == nil && before:
		p.o.Logger.Info("likes get on again", "target", name)
	}
	if delete(p.errs, name); err != nil {
		p.errs[name] = err
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
