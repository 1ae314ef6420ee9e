package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"millrace/engine/checkpoint"
	"millrace/engine/eventclock"
	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/operator/publish"
	"millrace/operator/watermark"
	sinkmemory "millrace/sink/memory"
	"millrace/state"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// The simulation runs the engine over a log and a state backend that live in
// memory, with a clock and background work that the simulation moves itself,
// and crashes it at any point: everything that was not durable is gone. After
// every recovery, and at the end, all state and all answers must equal those
// of a clean replay of the durable blocks with another number of shards, and
// what was published must be what that publishes, each record once, in the order
// of its key: transactions happen at any time, and fail before or after they
// have taken place.
// Everything follows from the seed, which a failure prints.

// simulationRounds is how many scenarios `make test` runs; `make soak` more.
func simulationRounds(t *testing.T) int {
	if testing.Short() {
		return 200
	}
	if os.Getenv("MILLRACE_SOAK") != "" {
		return 20000
	}
	return 600
}

func TestSimulationSurvivesCrashes(t *testing.T) {
	if seed := os.Getenv("MILLRACE_SEED"); seed != "" {
		n, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		simulate(t, n)
		return
	}
	crashes, checkpoints := 0, 0
	for seed := range uint64(simulationRounds(t)) {
		s := simulate(t, seed+1)
		crashes += s.crashes
		checkpoints += s.state.commits
		if t.Failed() {
			t.Fatalf("failed with seed %d: repeat with MILLRACE_SEED=%d go test -run Simulation ./engine/embedded", seed+1, seed+1)
		}
	}
	t.Logf("%d crashes, %d checkpoints", crashes, checkpoints)
	if crashes == 0 || checkpoints == 0 {
		t.Error("the simulation never crashed or never took a checkpoint: it tests nothing")
	}
}

// simulation is one scenario.
type simulation struct {
	t       *testing.T
	random  *rand.Rand
	seed    uint64
	clock   time.Time
	log     *simulatedLog
	state   *simulatedState
	work    []func() // commits that were started and have not run
	engine  *Engine
	crashes int
	users   int

	topics       *sinkmemory.Topics
	publications *steppedPublications
}

// simulatedLog holds the durable blocks.
type simulatedLog struct{ blocks []*eventlog.Block }

func (l *simulatedLog) Scan(from uint64, fn func(*eventlog.Block) error) error {
	for _, b := range l.blocks[from-1:] {
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

// simulatedState is a backend whose commits sometimes fail.
type simulatedState struct {
	state.Backend
	commits int
}

func (s *simulatedState) Commit(c *state.Checkpoint) (int64, error) {
	s.commits++
	return s.Backend.Commit(c)
}

func simulate(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), clock: time.UnixMilli(1_700_000_000_000),
		log: &simulatedLog{}, state: &simulatedState{Backend: statememory.New()},
	}
	s.topics = s.newTopics()
	s.users = 1 + s.random.IntN(12)
	s.log.blocks = append(s.log.blocks, s.block(eventlog.Config, 1, []byte("1")))
	s.start()
	for range 5 + s.random.IntN(40) {
		s.step()
	}
	s.crash()
	s.check("at the end")
	return s
}

func (s *simulation) options(shards int) Options {
	return Options{
		Build: simulationProgram, Shards: shards, Log: s.log, State: s.state, Views: viewmemory.New(),
		Checkpoints: checkpoint.Policy{Interval: time.Second}, Now: s.now,
		Duplicates: Duplicates{Stage: "first", Port: "repeats", Row: func(r any) int { return r.(*repeat).row }},
		Logger:     slog.New(slog.DiscardHandler),
	}
}

// now is the clock. It creeps, so that a checkpoint is encoded in parts, with
// blocks in between.
func (s *simulation) now() time.Time {
	s.clock = s.clock.Add(time.Duration(s.random.IntN(1000)) * time.Microsecond)
	return s.clock
}

func (s *simulation) start() {
	s.work = nil
	o := s.options(1 + s.random.IntN(4))
	s.publications = s.newPublications()
	o.Publications = s.publications
	e, err := open(o, func(f func()) { s.work = append(s.work, f) })
	if err != nil {
		s.t.Fatalf("seed %d: recovery: %v", s.seed, err)
	}
	s.engine = e
	for s.engine.core.block < uint64(len(s.log.blocks)) {
		s.t.Fatalf("seed %d: recovered to block %d of %d", s.seed, s.engine.core.block, len(s.log.blocks))
	}
}

// crash loses everything but the durable blocks and the committed checkpoints.
func (s *simulation) crash() {
	s.crashes++
	s.start()
}

func (s *simulation) step() {
	s.clock = s.clock.Add(time.Duration(s.random.IntN(1500)) * time.Millisecond)
	switch n := s.random.IntN(26); {
	case n < 10:
		s.append(s.events())
	case n == 10:
		s.append(s.catalogue())
	case n == 20:
		s.append(s.block(eventlog.Tick, 0, nil))
	case n == 11:
		s.append(s.block(eventlog.Config, 1, []byte(strconv.Itoa(1+s.random.IntN(4)))))
	case n == 12:
		s.crash()
		s.check("after a crash")
	case n == 13:
		s.settle()
		s.check("while it runs")
	case n >= 22:
		s.publications.Step(context.Background())
	case n < 16 && len(s.work) > 0:
		s.work[0]()
		s.work = s.work[1:]
	default:
		s.engine.checkpoint(false)
	}
}

// settle publishes what waits to be, as the engine does before anything that
// its queue does not hurry.
func (s *simulation) settle() {
	if err := s.engine.publish(); err != nil {
		s.t.Fatalf("seed %d: publish: %v", s.seed, err)
	}
}

// append makes a block durable and lets the engine process it, or crashes
// between the two.
func (s *simulation) append(b *eventlog.Block) {
	s.log.blocks = append(s.log.blocks, b)
	if s.random.IntN(15) == 0 {
		s.crash()
		return
	}
	more := s.random.IntN(3) == 0 // then its answers may come later
	if err := s.engine.process(b, more); err != nil {
		s.t.Fatalf("seed %d: block %d: %v", s.seed, b.Number, err)
	}
}

func (s *simulation) block(kind eventlog.Kind, count int, payload []byte) *eventlog.Block {
	return &eventlog.Block{
		Number: uint64(len(s.log.blocks)) + 1, Kind: kind, Time: event.FromGo(s.clock), Count: count, Payload: payload,
		Positions: []eventlog.Position{{Source: "simulation", Next: uint64(len(s.log.blocks))}},
	}
}

func (s *simulation) user() string { return fmt.Sprint("u", s.random.IntN(s.users)) }

func (s *simulation) events() *eventlog.Block {
	n := 1 + s.random.IntN(30)
	var payload []byte
	for range n {
		e := event.Event{
			User: s.user(), Item: fmt.Sprint("i", s.random.IntN(8)), Type: event.TypeView,
			Time: event.FromGo(s.clock) - event.Time(s.random.IntN(9000)),
		}
		if s.random.IntN(3) == 0 {
			e.ID = fmt.Sprint("e", s.random.IntN(5))
		}
		payload = event.AppendEvent(payload, &e)
	}
	b := s.block(eventlog.Events, n, payload)
	if s.random.IntN(3) > 0 {
		b.Runs = s.runs(n)
	}
	return b
}

// runs say that records came from partitions, some of which have none yet.
func (s *simulation) runs(n int) (runs []eventlog.Run) {
	for {
		run := eventlog.Run{Partition: []string{"", "a", "b", "c"}[s.random.IntN(4)], Count: s.random.IntN(n + 1)}
		if runs = append(runs, run); n == run.Count {
			return runs
		}
		n -= run.Count
	}
}

func (s *simulation) catalogue() *eventlog.Block {
	item, user := &event.Item{ID: fmt.Sprint("i", s.random.IntN(8))}, &event.User{ID: s.user(), Age: s.random.IntN(80)}
	c := event.Change{Kind: event.ChangeKind(1 + s.random.IntN(4)), Item: item, User: user}
	switch c.Kind {
	case event.PutItem, event.DeleteItem:
		c.User = nil
	default:
		c.Item = nil
	}
	return s.block(eventlog.Catalogue, 1, event.AppendChange(nil, &c))
}

// check compares the engine with a clean replay of the log.
func (s *simulation) check(when string) {
	o := s.options(1 + s.random.IntN(5))
	o.State = statememory.New()
	all := &allPublications{}
	o.Publications = all
	clean, err := open(o, func(f func()) { f() })
	if err != nil {
		s.t.Fatalf("seed %d: clean replay: %v", s.seed, err)
	}
	if s.topics != nil { // else nothing of it is published
		s.checkPublications(when, all)
	}
	differences, err := Compare(s.engine, clean, 5)
	if err != nil {
		s.t.Fatalf("seed %d: compare: %v", s.seed, err)
	}
	for _, d := range differences {
		s.t.Errorf("seed %d: %s: differs from a clean replay: %+v", s.seed, when, d)
	}
	if a, b := s.engine.core.meta(), clean.core.meta(); !bytes.Equal(a, b) {
		s.t.Errorf("seed %d: %s: watermark, positions or counters differ from a clean replay", s.seed, when)
	}
}

// The program of the simulation: a first stage by user with timers, which
// drops repeats, and a second one by item behind an exchange.

type repeat struct{ row int }

type hop struct {
	Item string
	Pane event.Time
}

type firstState struct {
	Count int64
	Last  event.Time
	IDs   []string
}

// poison is an item on which the first stage panics.
const poison = "poison"

type first struct {
	records *operator.Output[publish.Record]
	hops    *operator.Output[hop]
	repeats *operator.Output[repeat]
	view    *operator.ViewPort[bytesValue]
}

type bytesValue []byte

func (b bytesValue) AppendBinary(dst []byte) ([]byte, error) { return append(dst, b...), nil }

func (f *first) Fold(c *operator.Context, user string, s *firstState, in *event.Enriched) {
	if in.Item == poison {
		s.Count = -1 // what a panic leaves behind is not to be trusted
		panic("it is poison")
	}
	for _, id := range s.IDs {
		if in.ID != "" && id == in.ID {
			f.repeats.Emit(c.Time, repeat{in.Row})
			c.Unchanged()
			return
		}
	}
	if in.ID != "" {
		s.IDs = append(s.IDs, in.ID)
	}
	s.Count++
	if in.UserInfo != nil {
		s.Count += int64(in.UserInfo.Age) * 1000
	}
	if s.Last != 0 {
		c.DeleteTimer(s.Last + 4000)
	}
	s.Last = max(s.Last, c.Time)
	c.SetTimer(s.Last + 4000)
	f.hops.Emit(c.Time, hop{in.Item, event.WindowStart(c.Effective(), 3000)})
	f.records.Emit(c.Time, publish.Record{Topic: "seen", Key: user, Value: fmt.Appendf(nil, "%d %s", s.Count, in.Item)})
}

func (f *first) Timer(c *operator.Context, _ string, s *firstState, at event.Time) {
	if s.Count%3 == 0 {
		c.Forget()
		return
	}
	s.IDs = nil
	f.hops.Emit(at, hop{"quiet", event.WindowStart(at, 3000)})
}

func (f *first) Append(dst []byte, s *firstState) []byte {
	dst = wire.AppendVarint(wire.AppendVarint(dst, s.Count), int64(s.Last))
	return wire.AppendStrings(dst, s.IDs)
}

func (f *first) Load(_ uint8, src []byte, s *firstState) error {
	r := wire.NewReader(src)
	s.Count, s.Last, s.IDs = r.Varint(), event.Time(r.Varint()), r.Strings()
	return r.Err()
}

func (f *first) Answer(key string, s *firstState) {
	if s == nil {
		f.view.Delete(key)
		return
	}
	f.view.Put(key, f.Append(nil, s))
}

// second counts hops by pane and folds a pane when it closes.
type secondState struct {
	Closed int64
	Open   map[event.Time]int64
}

type second struct {
	records *operator.Output[publish.Record]
	view    *operator.ViewPort[bytesValue]
}

func (*second) Fold(c *operator.Context, _ string, s *secondState, in *hop) {
	if s.Open == nil {
		s.Open = map[event.Time]int64{}
	}
	s.Open[in.Pane]++
	c.SetTimer(in.Pane + 2999)
}

func (o *second) Timer(_ *operator.Context, item string, s *secondState, at event.Time) {
	s.Closed = s.Closed*3 + s.Open[at-2999]
	delete(s.Open, at-2999)
	o.records.Emit(at, publish.Record{Topic: "closed", Key: item, Value: fmt.Append(nil, s.Closed)})
}

func (*second) Append(dst []byte, s *secondState) []byte {
	dst = wire.AppendVarint(dst, s.Closed)
	dst = wire.AppendUvarint(dst, uint64(len(s.Open)))
	for pane := event.Time(0); len(s.Open) > 0; {
		next := event.MaxTime
		for p := range s.Open {
			if p > pane {
				next = min(next, p)
			}
		}
		if next == event.MaxTime {
			break
		}
		dst = wire.AppendVarint(wire.AppendVarint(dst, int64(next)), s.Open[next])
		pane = next
	}
	return dst
}

func (*second) Load(_ uint8, src []byte, s *secondState) error {
	r := wire.NewReader(src)
	s.Closed = r.Varint()
	s.Open = map[event.Time]int64{}
	for range r.Count() {
		pane := event.Time(r.Varint())
		s.Open[pane] = r.Varint()
	}
	return r.Err()
}

func (o *second) Answer(key string, s *secondState) {
	if s == nil {
		o.view.Delete(key)
		return
	}
	o.view.Put(key, o.Append(nil, s))
}

// simulationProgram has the second stage only in configuration 1, so that
// configuration records change the topology.
func simulationProgram(config []byte) (*Program, error) {
	t, source := operator.NewTopology[event.Enriched]()
	h := operator.Add(source, operator.Stage[string, firstState, event.Enriched]{
		Name: "first", Subject: operator.SubjectUser, Version: 1,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, firstState, event.Enriched] {
			return &first{operator.Out[publish.Record](p, "records"), operator.Out[hop](p, "hops"), operator.Out[repeat](p, "repeats"), operator.View[bytesValue](p, "users")}
		},
	})
	if string(config) != "2" {
		operator.Add(operator.From[hop](h, "hops"), operator.Stage[string, secondState, hop]{
			Name: "second", Subject: operator.SubjectItem, Version: 1,
			Key: func(h *hop) string { return h.Item },
			New: func(p *operator.Ports) operator.Operator[string, secondState, hop] {
				return &second{operator.Out[publish.Record](p, "closed"), operator.View[bytesValue](p, "items")}
			},
		})
	}
	p := &Program{Topology: t, Types: event.DefaultTypes(), Watermarks: watermarks}
	if string(config) >= "3" {
		p.Partitions = &eventclock.Partitions{
			Idle: 3 * event.Second, Apart: string(config) == "3",
			Strategy: func(string) watermark.Strategy { return watermark.NewBoundedOutOfOrderness(event.Second) },
		}
	}
	return p, t.Err()
}

func watermarks() watermark.Strategy { return watermark.NewBoundedOutOfOrderness(2 * event.Second) }
