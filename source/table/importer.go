package table

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"millrace/event"
	"millrace/source"
)

// Log is where changes go.
type Log interface {
	// Append returns once changes are in the log and applied, with how far a
	// source has got. No changes only note that.
	Append(ctx context.Context, changes []event.Change, source string, next uint64) error
	// Position is how far a source has got; false where nothing is known of it.
	Position(source string) (next uint64, known bool)
	// Reject stores what is no record.
	Reject(ctx context.Context, bad *source.Bad) error
}

// Catalogue is what is known, with all that was appended.
type Catalogue interface {
	Item(id string) *event.Item
	User(id string) *event.User
	Items() iter.Seq[*event.Item]
	Users() iter.Seq[*event.User]
	// Exists says whether there is a user of whom nothing else is known.
	Exists(ctx context.Context, id string) (bool, error)
}

// Options are what an Importer is made of.
type Options struct {
	Config Config
	// DB is the database of the tables, and Placeholder writes the n-th
	// parameter of a statement there.
	DB          *sql.DB
	Placeholder func(n int) string
	Log         Log
	Catalogue   Catalogue
	Logger      *slog.Logger
	// Explain puts words to an error of the database; nil leaves it as it is.
	Explain func(error) error
}

// Importer keeps the catalogue as the tables are.
//
// A row counts by what it says: only one that differs from the catalogue makes a
// change. So a row may be read again any number of times, after a crash or
// because others have committed late, and is in the log once.
type Importer struct {
	o      Options
	tables []*follower

	mutex sync.Mutex
	err   error
}

// follower is a table and how far it was read.
type follower struct {
	table
	source     string
	at         place
	mark       uint64
	known      bool              // mark is that of a row
	seen       map[string]uint64 // by id, of rows that are read again, and of bad ones: the hash of what they said
	marks      map[string]uint64 // of those that are read again
	reconciled time.Time
}

// New makes an Importer; Run runs it.
func New(o Options) *Importer {
	i := &Importer{o: o}
	for _, t := range tables(&i.o) {
		f := &follower{
			table: t,
			// Another query begins anew.
			source: fmt.Sprintf("table:%s:%016x", t.name, xxhash.Sum64String(t.query.Query+"\x00"+t.query.column(fieldUpdated))),
			seen:   map[string]uint64{}, marks: map[string]uint64{},
		}
		f.mark, f.known = o.Log.Position(f.source)
		i.tables = append(i.tables, f)
	}
	return i
}

// tables are those that have a query, items first.
func tables(o *Options) (list []table) {
	for _, t := range []table{{name: "items", query: &o.Config.Items}, {name: "users", query: &o.Config.Users}} {
		if t.query.Query == "" {
			continue
		}
		t.db, t.placeholder, t.timeout, t.pageRows = o.DB, o.Placeholder, o.Config.Timeout, o.Config.PageRows
		list = append(list, t)
	}
	return list
}

// Err is nil while the tables can be read, or says why not.
func (i *Importer) Err() error {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.err
}

// Run reads until ctx ends. While the database is away the catalogue stays as it
// is.
func (i *Importer) Run(ctx context.Context) {
	tick := time.NewTicker(i.o.Config.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		err := i.Step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && i.o.Explain != nil {
			err = i.o.Explain(err)
		}
		i.mutex.Lock()
		before := i.err
		i.err = err
		i.mutex.Unlock()
		switch {
		case err != nil && before == nil:
			i.o.Logger.Error("tables are not imported; it is tried again all the time", "error", err)
		case err == nil && before != nil:
			i.o.Logger.Info("tables are imported again")
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Step imports what is new; if it is time to, it reads everything and deletes
// what is gone.
func (i *Importer) Step(ctx context.Context) error {
	for _, f := range i.tables {
		every := i.o.Config.ReconcileInterval
		due := every > 0 && time.Since(f.reconciled) >= every
		var err error
		switch {
		case f.query.column(fieldUpdated) != "":
			err = i.read(ctx, f)
		case !due:
			err = i.readAll(ctx, f, nil)
		}
		if err == nil && due {
			if err = i.reconcile(ctx, f); err == nil {
				f.reconciled = time.Now()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read imports the rows that have changed.
func (i *Importer) read(ctx context.Context, f *follower) error {
	at, err := i.begin(ctx, f)
	if err != nil {
		return err
	}
	for {
		rows, err := f.changed(ctx, at)
		if err != nil || len(rows) == 0 {
			return err
		}
		last := rows[len(rows)-1]
		next, err := mark(last.updated)
		if err != nil {
			return err
		}
		if _, ok := last.updated.(time.Time); ok {
			// A time in the future must not hide what is changed until then.
			next = min(next, uint64(time.Now().UnixMicro()))
		}
		next = max(next, f.mark)
		if err := i.apply(ctx, f, rows, next); err != nil {
			return err
		}
		at = place{last.updated, last.id(f.query)}
		f.at, f.mark, f.known = at, next, true
		f.forget(i.o.Config.Overlap)
		if len(rows) < f.pageRows {
			return nil
		}
	}
}

// begin is the place that reading begins with. After a start it is not known
// what the column holds, times or numbers: its first row tells.
func (i *Importer) begin(ctx context.Context, f *follower) (place, error) {
	if !f.known {
		return place{}, nil
	}
	like := f.at.updated
	if like == nil {
		one := f.table
		one.pageRows = 1
		rows, err := one.changed(ctx, place{})
		if err != nil || len(rows) == 0 {
			return place{}, err
		}
		like = rows[0].updated
	}
	return before(like, f.mark, i.o.Config.Overlap), nil
}

// readAll imports all rows, and notes the ids of those that are there.
func (i *Importer) readAll(ctx context.Context, f *follower, there map[string]bool) error {
	var after any
	for {
		rows, err := f.all(ctx, after)
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := i.apply(ctx, f, rows, f.mark); err != nil {
			return err
		}
		f.forget(i.o.Config.Overlap)
		for n := range rows {
			if there != nil && !rows[n].truth(f.query, fieldDeleted) {
				there[rows[n].text(f.query, fieldID)] = true
			}
		}
		if after = rows[len(rows)-1].id(f.query); len(rows) < f.pageRows {
			return nil
		}
	}
}

var seed = maphash.MakeSeed()

// apply appends what rows change.
func (i *Importer) apply(ctx context.Context, f *follower, rows []row, next uint64) error {
	var changes []event.Change
	for n := range rows {
		r := &rows[n]
		id, hash := r.text(f.query, fieldID), maphash.String(seed, fmt.Sprint(r.values...))
		if old, ok := f.seen[id]; ok && old == hash {
			continue
		}
		change, bad, err := i.change(ctx, f, r, id)
		if err != nil {
			return err
		}
		if bad != nil {
			if err := i.o.Log.Reject(ctx, bad); err != nil {
				return err
			}
		} else if change != nil {
			changes = append(changes, *change)
		}
		f.remember(r, id, hash, bad != nil)
	}
	if len(changes) == 0 && next == f.mark {
		return nil
	}
	if err := i.o.Log.Append(ctx, changes, f.source, next); err != nil {
		clear(f.seen) // they may not be in the log
		clear(f.marks)
		return err
	}
	return nil
}

// remember notes what a row said: one that is read again before long, and a bad
// one until it is another, to be a dead letter once.
func (f *follower) remember(r *row, id string, hash uint64, bad bool) {
	delete(f.seen, id)
	delete(f.marks, id)
	if r.updated != nil && !bad {
		f.seen[id] = hash
		f.marks[id], _ = mark(r.updated) // which was a mark in read
	} else if bad {
		f.seen[id] = hash
	}
}

// forget forgets rows that are not read again.
func (f *follower) forget(overlap time.Duration) {
	from := f.mark
	if _, ok := f.at.updated.(time.Time); ok {
		from -= min(from, uint64(overlap.Microseconds()))
	}
	for id, at := range f.marks {
		if at < from {
			delete(f.seen, id)
			delete(f.marks, id)
		}
	}
}

// change is what a row changes, nil for nothing.
func (i *Importer) change(ctx context.Context, f *follower, r *row, id string) (*event.Change, *source.Bad, error) {
	deleted := r.truth(f.query, fieldDeleted)
	if f.name == "items" {
		known := i.o.Catalogue.Item(id)
		if deleted {
			if known == nil {
				return nil, nil, nil
			}
			return &event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: id}}, nil, nil
		}
		item, bad := r.item(f.query)
		if bad != nil || known != nil && sameItem(known, item) {
			return nil, bad, nil
		}
		return &event.Change{Kind: event.PutItem, Item: item}, nil, nil
	}
	known := i.o.Catalogue.User(id)
	exists, err := known != nil, error(nil)
	if !exists {
		exists, err = i.o.Catalogue.Exists(ctx, id)
	}
	if err != nil {
		return nil, nil, err
	}
	if deleted {
		if !exists {
			return nil, nil, nil
		}
		return &event.Change{Kind: event.DeleteUser, User: &event.User{ID: id}}, nil, nil
	}
	user, bad := r.user(f.query)
	if bad != nil || exists && sameUser(known, user) {
		return nil, bad, nil
	}
	return &event.Change{Kind: event.PutUser, User: user}, nil, nil
}

// sameItem says whether a put would change nothing.
func sameItem(known, item *event.Item) bool {
	return known.Title == item.Title && slices.Equal(known.Categories, item.Categories) && slices.Equal(known.Tags, item.Tags) &&
		known.Hidden == item.Hidden && (item.Created == 0 || known.Created == item.Created) && string(known.Metadata) == string(item.Metadata)
}

// sameUser is sameItem; nil is a user of whom nothing is known.
func sameUser(known, user *event.User) bool {
	if known == nil {
		known = &event.User{}
	}
	return known.Age == user.Age && known.Gender == user.Gender && slices.Equal(known.Labels, user.Labels)
}
