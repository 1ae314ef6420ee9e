// Package servetest is a small world behind the HTTP API, for tests: a log of
// nothing but counters, an engine that applies at once, and views that a test
// fills by hand. Everything can be made to fail.
package servetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/serve/api"
	"millrace/view"
	"millrace/view/memory"
)

// Now is the wall clock of a World.
var Now = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// World is what an API under test is wired to. The fields that fail something
// are set before the request.
type World struct {
	Index *catalog.Index
	Views *memory.Store

	SubmitErr  error // of Ingest.Submit
	DurableErr error // of every Ticket
	WaitErr    error // of Engine.Wait and WaitCatalog
	EngineErr  error // of Engine.Err
	LogErr     error // of Ingest.Err
	SavingErr  error // of Engine.CheckpointErr
	SQLErr     error // of Engine.CatalogErr
	CatalogErr error // of Catalog.User
	LettersErr error // of DeadLetters.Append and Purge
	RedactErr  error // of Redactor.Redact
	RankErr    error // of Recommender.Recommend
	RankPanic  bool  // Recommender.Recommend panics
	StoreErr   error // of Savepoints
	// Full says whether there is no room for the try so many, from 1, to hand
	// over a batch; nil: there always is.
	Full func(try int) bool
	// Forgetful stores nothing: for benchmarks.
	Forgetful bool
	// Stuck makes no batch durable until it is closed. Held gets a value for
	// each batch that waits for it.
	Stuck chan struct{}
	Held  chan struct{}

	// Saved is what Engine.Checkpoints gives.
	Saved api.Checkpoints

	mutex      sync.Mutex
	block      uint64
	events     []event.Event
	streamTime event.Time
	users      map[string]*event.User
	seen       map[string]bool // user and event_id
	duplicates map[uint64][]int
	positions  map[string]uint64
	asked      []api.Request
	tries      int
	refused    []api.DeadLetter
	redacted   []string
	purged     []string
	savepoints []api.Savepoint
	restores   []api.Restore
}

// New makes an empty World.
func New() *World {
	return &World{
		Index: catalog.NewIndex(), Views: memory.New(), streamTime: event.MinTime, Held: make(chan struct{}, 16),
		users: map[string]*event.User{}, seen: map[string]bool{},
		duplicates: map[uint64][]int{}, positions: map[string]uint64{},
	}
}

// Parts wires an API to the World.
func (w *World) Parts() api.Parts {
	return api.Parts{
		Ingest: ingest{w}, Engine: engine{w}, Views: w.Views, Catalog: sql{w}, Index: w.Index,
		DeadLetters: letters{w}, Redactor: redactor{w}, Recommender: recommender{w}, Savepoints: savepoints{w},
		Now: func() time.Time { return Now }, Version: "test",
	}
}

// Publish puts values into the views.
func (w *World) Publish(writes ...operator.ViewWrite) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.publish(writes)
}

func (w *World) publish(writes []operator.ViewWrite) {
	if err := w.Views.Publish(w.block, w.streamTime, writes); err != nil {
		panic(err) // blocks only grow here
	}
}

// Put adds items to the catalogue.
func (w *World) Put(items ...*event.Item) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, item := range items {
		w.Index.Apply(event.Change{Kind: event.PutItem, Item: item})
	}
}

// Events are the events that were stored, in order, repeats too.
func (w *World) Events() []event.Event {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.events)
}

// Letters are the dead letters.
func (w *World) Letters() []api.DeadLetter {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.refused)
}

// Forgotten are the users whose events were redacted and whose dead letters
// were purged.
func (w *World) Forgotten() (redacted, purged []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.redacted), slices.Clone(w.purged)
}

type ingest struct{ *World }

// Err is LogErr.
func (w ingest) Err() error { return w.LogErr }

// Submit implements api.Ingest: the batch becomes a block and visible at once.
func (w ingest) Submit(b api.Batch) (api.Ticket, error) {
	if w.SubmitErr != nil {
		return nil, w.SubmitErr
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.tries++; w.Full != nil && w.Full(w.tries) {
		return nil, api.ErrOverloaded
	}
	t := &ticket{done: make(chan struct{}), err: w.DurableErr}
	if w.Stuck != nil {
		t.done = w.Stuck
		select {
		case w.Held <- struct{}{}:
		default: // nobody has asked for so many
		}
		return t, nil
	}
	close(t.done)
	if t.err != nil {
		return t, nil
	}
	w.block++
	t.block = w.block
	if w.Forgetful {
		return t, nil
	}
	r := wire.NewReader(b.Payload)
	for row := range b.Count {
		switch b.Kind {
		case api.Events:
			w.applyEvent(r, row)
		case api.Changes:
			w.applyChange(r)
		}
	}
	if r.Err() != nil || r.Len() > 0 {
		return nil, fmt.Errorf("payload of %d records: %w", b.Count, r.Err())
	}
	if b.Source != "" {
		w.positions[b.Source] = b.Next
	}
	w.publish(nil)
	return t, nil
}

func (w *World) applyEvent(r *wire.Reader, row int) {
	var e event.Event
	event.ReadEvent(r, &e, nil)
	w.events = append(w.events, e)
	w.streamTime = max(w.streamTime, e.Time)
	w.Index.Apply(event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: e.Item, Created: e.Time}})
	if _, ok := w.users[e.User]; !ok {
		w.users[e.User] = &event.User{ID: e.User}
	}
	if e.ID == "" {
		return
	}
	if key := e.User + "\x00" + e.ID; w.seen[key] {
		w.duplicates[w.block] = append(w.duplicates[w.block], row)
	} else {
		w.seen[key] = true
	}
}

func (w *World) applyChange(r *wire.Reader) {
	c := event.ReadChange(r)
	if r.Err() != nil {
		return
	}
	w.Index.Apply(c)
	switch c.Kind {
	case event.PutUser:
		w.users[c.User.ID] = c.User
	case event.DeleteUser:
		delete(w.users, c.User.ID)
	}
}

type ticket struct {
	done  chan struct{}
	err   error
	block uint64
}

// Done implements api.Ticket, as do the methods below.
func (t *ticket) Done() <-chan struct{} { return t.done }

// Err is DurableErr.
func (t *ticket) Err() error { return t.err }

// Block is a count.
func (t *ticket) Block() uint64 { return t.block }

// First is 0: every batch is a block of its own.
func (t *ticket) First() int { return 0 }

type engine struct{ *World }

// Wait implements api.Engine, as do the methods below: everything is visible
// at once.
func (w engine) Wait(context.Context, uint64) error { return w.WaitErr }

// WaitCatalog is like Wait.
func (w engine) WaitCatalog(context.Context, uint64) error { return w.WaitErr }

// Checkpoints is Saved.
func (w engine) Checkpoints() api.Checkpoints { return w.Saved }

// Err is EngineErr.
func (w engine) Err() error { return w.EngineErr }

// CheckpointErr is SavingErr.
func (w engine) CheckpointErr() error { return w.SavingErr }

// CatalogErr is SQLErr.
func (w engine) CatalogErr() error { return w.SQLErr }

// Duplicates counts repeats of an event_id by the same user.
func (w engine) Duplicates(block uint64, first, count int) int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	n := 0
	for _, row := range w.duplicates[block] {
		if row >= first && row < first+count {
			n++
		}
	}
	return n
}

// Position is that of the last batch of the source.
func (w engine) Position(source string) (uint64, bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	next, ok := w.positions[source]
	return next, ok
}

// Stats counts.
func (w engine) Stats() api.EngineStats {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	repeats := 0
	for _, rows := range w.duplicates {
		repeats += len(rows)
	}
	s := api.EngineStats{
		Block: w.block, Events: uint64(len(w.events) - repeats), Duplicates: uint64(repeats), StreamTime: w.streamTime, Watermark: event.MinTime,
		Shards: 2, Keys: map[string]int{"users": len(w.users)}, Failures: map[string]uint64{"users": 2}, Skipped: 1,
	}
	if w.streamTime != event.MinTime {
		s.Watermark = w.streamTime - 5*event.Second
	}
	return s
}

type sql struct{ *World }

// User implements api.Catalog.
func (w sql) User(_ context.Context, id string) (*event.User, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.CatalogErr != nil {
		return nil, w.CatalogErr
	}
	if u := w.users[id]; u != nil {
		return u, nil
	}
	return nil, catalog.ErrNotFound
}

type letters struct{ *World }

// Append implements api.DeadLetters, as do the methods below.
func (w letters) Append(list []api.DeadLetter) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.LettersErr != nil {
		return w.LettersErr
	}
	for _, l := range list {
		l.Raw = slices.Clone(l.Raw)
		w.refused = append(w.refused, l)
	}
	return nil
}

// List has numbers as cursors.
func (w letters) List(cursor string, n int) ([]api.DeadLetter, string, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	from := 0
	if cursor != "" {
		var err error
		if from, err = strconv.Atoi(cursor); err != nil {
			return nil, "", api.ErrCursor
		}
	}
	all := w.refused
	from = min(max(from, 0), len(all))
	to := min(from+n, len(all))
	return all[from:to], strconv.Itoa(to), nil
}

// Count is how many were appended.
func (w letters) Count() int { return len(w.Letters()) }

// Purge notes the user.
func (w letters) Purge(user string) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.purged = append(w.purged, user)
	return w.LettersErr
}

type redactor struct{ *World }

// Redact implements api.Redactor: it notes the user.
func (w redactor) Redact(_ context.Context, user string, _ uint64) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.redacted = append(w.redacted, user)
	return w.RedactErr
}

type recommender struct{ *World }

func (w *World) ask(q api.Request) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.asked = append(w.asked[:min(len(w.asked), maxAsked-1)], q)
}

// maxAsked bounds what Asked tells.
const maxAsked = 100

// Asked are the first requests that the Recommender got.
func (w *World) Asked() []api.Request {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.asked)
}

// Recommend implements api.Recommender: the newest items.
func (w recommender) Recommend(s view.Snapshot, q api.Request) ([]api.Recommendation, error) {
	w.ask(q)
	switch {
	case w.RankPanic:
		panic("ranking")
	case w.RankErr != nil:
		return nil, w.RankErr
	case q.Recipe != "" && q.Recipe != "default":
		return nil, fmt.Errorf("%w: %q", api.ErrRecipe, q.Recipe)
	}
	newest := w.Index.Newest(q.Category, q.Offset+q.N)
	newest = newest[min(q.Offset, len(newest)):]
	list := make([]api.Recommendation, len(newest))
	for i, item := range newest {
		list[i] = api.Recommendation{
			Item: item.ID, Title: item.Title, Score: 1 / float64(i+1), Reason: "new", Source: "new", Time: s.StreamTime(),
		}
		if q.Explain {
			list[i].Explain = map[string]float64{"new": list[i].Score}
		}
	}
	return list, nil
}
