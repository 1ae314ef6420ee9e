package enginetest

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"millrace/catalog"
	"millrace/engine/flink"
	"millrace/engine/flink/flinktest"
	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
	"millrace/operator/operatortest"
	"millrace/operator/watermark"
)

const (
	// flinkPause is after how many records, on average, a checkpoint begins, or
	// all sessions are lost.
	flinkPause = 2000
	// flinkLost is how many of these are losses: one in so many.
	flinkLost = 3
)

// Flink runs the stream on workers of the Flink host: subtasks that interleave at
// random, checkpoints in the middle, and sessions that are lost and restored on
// another number of subtasks, from where the stream is read again.
func Flink(t *testing.T, build Build, stream Stream, subtasks int, seed uint64) Contents {
	t.Helper()
	f := &hosted{t: t, build: build, random: rand.New(rand.NewPCG(seed, 5)), views: operatortest.Views{}, seed: seed, subtasks: subtasks}
	for e, c := range stream { // which are the reader's
		r := sourced{}
		if e != nil {
			copied := *e
			r.event = &copied
		} else {
			copied := event.ReadChange(wire.NewReader(event.AppendChange(nil, c)))
			r.change = &copied
		}
		f.stream = append(f.stream, r)
	}
	f.kept = flinktest.Views(f.views.Put)
	f.begin(nil)
	for f.next < len(f.stream) {
		f.step()
	}
	f.must(f.cluster.Watermark(0, f.strategy.Watermark()))
	f.must(f.cluster.Drain())
	f.must(f.cluster.Checkpoint())
	f.must(f.cluster.Drain())
	all := Contents{}
	for stage, keys := range f.cluster.State() {
		for key, value := range keys {
			all[[3]string{"state", stage, key}] = sha256.Sum256(value)
		}
	}
	for name, keys := range f.views {
		for key, v := range keys {
			f.must(all.answer(name, key, v))
		}
	}
	t.Logf("seed %d: %d losses", seed, f.losses)
	return all
}

// sourced is a record of the stream.
type sourced struct {
	event  *event.Event
	change *event.Change
}

// hosted is a run on the Flink host.
type hosted struct {
	t        *testing.T
	build    Build
	random   *rand.Rand
	seed     uint64
	subtasks int
	stream   []sourced
	views    operatortest.Views
	kept     flink.Views // views, as sessions write them
	cluster  *flinktest.Cluster
	losses   int
	lag      int // after how many records, on average, the stages learn how far time has come

	// Of the source: where it is, and how it was there when the newest checkpoint
	// began.
	next, saved int
	index       *catalog.Index
	strategy    watermark.Strategy
	buf         []byte
}

func (f *hosted) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("Flink host: %v", err)
	}
}

// begin starts the job from a snapshot, at the source's place for it: what the
// source knows there it finds by reading what came before.
func (f *hosted) begin(from flinktest.Snapshot) {
	f.t.Helper()
	program, err := f.build()
	f.must(err)
	f.strategy, f.index = program.Watermarks(), catalog.NewIndex()
	make := func([]byte) (*flink.Program, error) {
		p, err := f.build()
		if err != nil {
			return nil, err
		}
		return &flink.Program{Topology: p.Topology, Views: f.kept, Source: flink.Records[event.Enriched](nil)}, nil
	}
	p, err := make(nil)
	f.must(err)
	plan, err := flink.NewPlan("enginetest", p, nil)
	f.must(err)
	worker := flink.NewWorker(flink.Options{Build: make, MemoryLimit: int64(f.random.IntN(2)) << 20})
	f.cluster, err = flinktest.New(flinktest.Options{
		Plan: plan, Dial: flinktest.Local(worker), Subtasks: f.subtasks, Partitions: 1, Seed: f.random.Uint64(), BatchItems: 1 + f.random.IntN(100),
	}, from)
	f.must(err)
	f.lag = 1 + f.random.IntN(1+f.random.IntN(flinkPause))
	for f.next = 0; f.next < f.saved; f.next++ {
		f.read(f.stream[f.next])
	}
}

// read takes a record into account that the job need not have any more, and says
// what the job is sent if it has to.
func (f *hosted) read(r sourced) (m operator.Meta, e *event.Enriched) {
	if r.change != nil {
		f.index.Apply(*r.change)
		return m, nil
	}
	if f.index.Item(r.event.Item) == nil {
		f.index.Apply(event.Change{Kind: event.EnsureItem, Item: &event.Item{ID: r.event.Item, Created: r.event.Time}})
	}
	m = operator.Stamp(f.strategy, r.event.Time)
	return m, &event.Enriched{Event: *r.event, ItemInfo: f.index.Item(r.event.Item), UserInfo: f.index.User(r.event.User)}
}

// step sends a record, and now and then begins a checkpoint or loses everything.
func (f *hosted) step() {
	r := f.stream[f.next]
	f.next++
	m, e := f.read(r)
	switch {
	case e != nil:
		f.buf = e.AppendRecord(nil)
		f.must(f.cluster.Send(0, m, true, f.buf))
		if f.random.IntN(f.lag) == 0 {
			f.must(f.cluster.Watermark(0, f.strategy.Watermark()))
		}
	case r.change.Kind == event.DeleteUser:
		f.forget(operator.SubjectUser, r.change.User.ID)
	case r.change.Kind == event.DeleteItem:
		f.forget(operator.SubjectItem, r.change.Item.ID)
	}
	if f.random.IntN(flinkPause) != 0 {
		return
	}
	if f.random.IntN(flinkLost) != 0 {
		at := f.next
		f.must(f.cluster.Checkpoint())
		f.must(f.cluster.Drain())
		f.saved = at
		return
	}
	f.losses++
	from, _ := f.cluster.Completed()
	f.cluster.Kill()
	f.subtasks = 1 + f.random.IntN(5)
	f.begin(from)
}

// forget deletes at a moment when nothing is under way and time stands where it
// does for the other engines: what is sent from one key to another is not in
// order with a deletion.
func (f *hosted) forget(subject operator.Subject, key string) {
	f.must(f.cluster.Watermark(0, f.strategy.Watermark()))
	f.must(f.cluster.Drain())
	f.must(f.cluster.Forget(subject, key))
	f.must(f.cluster.Drain())
}
