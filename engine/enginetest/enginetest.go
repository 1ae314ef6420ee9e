// Package enginetest proves that engines agree. It runs one stream of records
// through the embedded engine and through the block-less engine of
// operatortest, and demands equal state of every operator and equal answers
// of every view, bit for bit.
package enginetest

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"testing"

	"millrace/catalog"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/operator/operatortest"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// Stream is the records of a test, in order. Exactly one of the two is set.
// It can be read more than once.
type Stream iter.Seq2[*event.Event, *event.Change]

// Build makes the program that is run; its engines must not share anything.
type Build func() (*embedded.Program, error)

// Contents are digests of all that an engine holds, by kind, name and key.
type Contents map[[3]string][sha256.Size]byte

// Embedded runs the stream on the embedded engine, in blocks of random sizes.
func Embedded(t *testing.T, build Build, stream Stream, shards int, seed uint64) Contents {
	t.Helper()
	log := &blocks{random: rand.New(rand.NewPCG(seed, 0))}
	log.append(eventlog.Config, 1, []byte("configuration"))
	for e, c := range stream {
		log.add(e, c)
	}
	log.cut()
	views := viewmemory.New()
	engine, err := embedded.Inspect(embedded.Options{
		Build: func([]byte) (*embedded.Program, error) { return build() }, Shards: shards, Log: log,
		State: statememory.New(), Views: views, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("embedded engine: %v", err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Errorf("embedded engine: %v", err)
		}
	}()
	all := Contents{}
	err = engine.EachState(func(stage, key string, value []byte) error {
		all[[3]string{"state", stage, key}] = sha256.Sum256(value)
		return nil
	})
	if err != nil {
		t.Fatalf("embedded engine: %v", err)
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range program.Topology.Views() {
		err := views.Each(name, func(key string, v operator.Value) error { return all.answer(name, key, v) })
		if err != nil {
			t.Fatalf("embedded engine: %v", err)
		}
	}
	return all
}

// BlockLess runs the stream on the engine of operatortest, which interleaves
// shards at random.
func BlockLess(t *testing.T, build Build, stream Stream, shards int, seed uint64) Contents {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	engine := operatortest.NewWith[event.Enriched](program.Topology, shards, program.Watermarks, seed)
	index := catalog.NewIndex()
	for e, c := range stream {
		if c != nil {
			engine.Drain()
			index.Apply(*c)
			switch c.Kind {
			case event.DeleteUser:
				engine.Forget(operator.SubjectUser, c.User.ID)
			case event.DeleteItem:
				engine.Forget(operator.SubjectItem, c.Item.ID)
			}
			continue
		}
		if index.Item(e.Item) == nil {
			index.Apply(event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: e.Item, Created: e.Time}})
		}
		engine.Send(e.Time, &event.Enriched{Event: *e, ItemInfo: index.Item(e.Item), UserInfo: index.User(e.User)})
	}
	engine.Drain()
	all := Contents{}
	for stage, keys := range engine.State() {
		for key, value := range keys {
			all[[3]string{"state", stage, key}] = sha256.Sum256(value)
		}
	}
	for name, keys := range engine.Views() {
		for key, v := range keys {
			if err := all.answer(name, key, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func (c Contents) answer(view, key string, v operator.Value) error {
	b, err := v.AppendBinary(nil)
	c[[3]string{"view", view, key}] = sha256.Sum256(b)
	return err
}

// mostReported bounds the differences that Equal reports.
const mostReported = 20

// Equal demands that two engines hold the same.
func Equal(t *testing.T, what string, a, b Contents) {
	t.Helper()
	reported := 0
	report := func(at [3]string, how string) {
		if reported++; reported <= mostReported {
			t.Errorf("%s: %s %s, key %q: %s", what, at[0], at[1], at[2], how)
		}
	}
	for at, value := range a {
		if other, ok := b[at]; !ok {
			report(at, "only in the first")
		} else if other != value {
			report(at, "different")
		}
	}
	for at := range b {
		if _, ok := a[at]; !ok {
			report(at, "only in the second")
		}
	}
	if reported > 0 {
		t.Errorf("%s: %d differences in %d and %d entries", what, reported, len(a), len(b))
	}
}

// blocks is a log in memory that cuts its events into blocks of random sizes.
type blocks struct {
	random  *rand.Rand
	list    []*eventlog.Block
	payload []byte
	count   int
	size    int
}

func (l *blocks) add(e *event.Event, c *event.Change) {
	if c != nil {
		l.cut()
		l.append(eventlog.Catalogue, 1, event.AppendChange(nil, c))
		return
	}
	if l.count == 0 {
		l.size = 1 + l.random.IntN(1<<l.random.IntN(13))
	}
	l.payload = event.AppendEvent(l.payload, e)
	if l.count++; l.count == l.size {
		l.cut()
	}
}

func (l *blocks) cut() {
	if l.count > 0 {
		l.append(eventlog.Events, l.count, l.payload)
		l.payload, l.count = nil, 0
	}
}

func (l *blocks) append(kind eventlog.Kind, count int, payload []byte) {
	l.list = append(l.list, &eventlog.Block{Number: uint64(len(l.list) + 1), Kind: kind, Count: count, Payload: payload})
}

// Scan reads the log as the embedded engine does.
func (l *blocks) Scan(from uint64, fn func(*eventlog.Block) error) error {
	for _, b := range l.list[from-1:] {
		if err := fn(b); err != nil {
			return fmt.Errorf("block %d: %w", b.Number, err)
		}
	}
	return nil
}
