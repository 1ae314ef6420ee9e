package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/state"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// skippingLog is a log in memory that can skip records.
type skippingLog struct {
	simulatedLog
	skipped map[uint64][]int
	letters []eventlog.DeadLetter
}

func (l *skippingLog) Scan(from uint64, fn func(*eventlog.Block) error) error {
	return l.simulatedLog.Scan(from, func(b *eventlog.Block) error {
		c := *b
		c.Skipped = l.skipped[b.Number]
		return fn(&c)
	})
}

func (l *skippingLog) skip(block uint64, row int, letter eventlog.DeadLetter) error {
	l.skipped[block] = append(l.skipped[block], row)
	l.letters = append(l.letters, letter)
	return nil
}

func (l *skippingLog) add(kind eventlog.Kind, items ...string) *eventlog.Block {
	b := &eventlog.Block{Number: uint64(len(l.blocks)) + 1, Kind: kind, Time: 1_700_000_000_000, Count: 1, Payload: []byte("1")}
	if kind == eventlog.Events {
		b.Count, b.Payload = len(items), nil
		for i, item := range items {
			b.Payload = event.AppendEvent(b.Payload, &event.Event{
				User: fmt.Sprint("u", i%3), Item: item, Type: event.TypeView, Time: b.Time + event.Time(i), Value: 2.5, HasValue: true,
			})
		}
	}
	l.blocks = append(l.blocks, b)
	return b
}

func failuresOptions(l *skippingLog, f Failures) Options {
	return Options{
		Build: simulationProgram, Shards: 2, Log: l, State: statememory.New(), Views: viewmemory.New(),
		Logger: slog.New(slog.DiscardHandler), Failures: f,
	}
}

// An operator that panics stops the engine with words that name the stage, the
// key and the panic. Opened again, the engine finds the event, tries it as
// often as it is told, skips it, and comes to what it would have come to
// without it.
func TestAnEventOnWhichAnOperatorFailsIsSkipped(t *testing.T) {
	l := &skippingLog{skipped: map[uint64][]int{}}
	l.add(eventlog.Config)
	l.add(eventlog.Events, "a", "b")
	e, err := Open(failuresOptions(l, Failures{}))
	if err != nil {
		t.Fatal(err)
	}
	bad := l.add(eventlog.Events, "a", poison, "b", "c")
	e.Deliver(bad)
	err = e.Wait(t.Context(), bad.Number)
	var failed *pipeline.OperatorError
	if !errors.Is(err, ErrFailed) || !errors.As(err, &failed) || failed.Stage != "first" || failed.Key != "u1" || failed.Timer {
		t.Fatalf("got %v", err)
	}
	l.add(eventlog.Events, "d")
	if err := e.Close(); !errors.Is(err, pipeline.ErrOperator) {
		t.Errorf("close: %v", err)
	}

	if _, err := Open(failuresOptions(l, Failures{})); !errors.Is(err, pipeline.ErrOperator) || len(l.letters) > 0 {
		t.Fatalf("without a policy the engine opens: %v", err)
	}
	refusal := errors.New("the disk is full")
	refuse := func(uint64, int, eventlog.DeadLetter) error { return refusal }
	if _, err := Open(failuresOptions(l, Failures{Tries: 1, Skip: refuse})); !errors.Is(err, refusal) {
		t.Fatalf("an event that could not be skipped: %v", err)
	}
	e, err = Open(failuresOptions(l, Failures{Tries: 3, Skip: l.skip}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	if len(l.letters) != 1 || len(l.skipped[bad.Number]) != 1 || l.skipped[bad.Number][0] != 1 {
		t.Fatalf("skipped %v, dead letters %v", l.skipped, l.letters)
	}
	letter := l.letters[0]
	for _, want := range []string{"stage first failed on it 3 times", `key "u1"`, "it is poison"} {
		if !strings.Contains(letter.Error, want) {
			t.Errorf("the dead letter says %q, not %q", letter.Error, want)
		}
	}
	if want := `{"user_id":"u1","item_id":"poison","event_type":"view","value":2.5,"timestamp":1700000000001}`; string(letter.Raw) != want {
		t.Errorf("the dead letter has %s, want %s", letter.Raw, want)
	}
	if s := e.Stats(); s.Failures["first"] != 4 || s.Skipped != 1 {
		t.Errorf("failures %v, %d events skipped", s.Failures, s.Skipped)
	}
	if letter.User != "u1" || e.Stats().Events != 6 || e.Applied() != 4 {
		t.Errorf("user %q, %d events, block %d", letter.User, e.Stats().Events, e.Applied())
	}
	sameWithout(t, e)
}

// sameWithout compares an engine with one that has never had the event.
func sameWithout(t *testing.T, e *Engine) {
	t.Helper()
	without := &skippingLog{}
	without.add(eventlog.Config)
	without.add(eventlog.Events, "a", "b")
	without.add(eventlog.Events, "a", "b", "c").Payload = func() (p []byte) {
		for i, item := range []string{"a", "", "b", "c"} {
			if item != "" {
				p = event.AppendEvent(p, &event.Event{User: fmt.Sprint("u", i%3), Item: item, Type: event.TypeView, Time: 1_700_000_000_000 + event.Time(i)})
			}
		}
		return p
	}()
	without.add(eventlog.Events, "d")
	clean, err := Open(failuresOptions(without, Failures{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = clean.Close() }()
	differences, err := Compare(e, clean, 5)
	if err != nil || len(differences) > 0 {
		t.Errorf("differs from a run without the event: %v, %v", differences, err)
	}
}

// However often an operator fails on an event, in one engine after the other, its
// stack is logged once, and each failure is counted and is a short line.
func TestFailuresAreCountedAndLoggedBriefly(t *testing.T) {
	l := &skippingLog{skipped: map[uint64][]int{}}
	l.add(eventlog.Config)
	var out bytes.Buffer
	o := failuresOptions(l, Failures{Tries: 3, Skip: l.skip, Record: &FailureRecord{}})
	o.Logger = slog.New(slog.NewTextHandler(&out, nil))
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	bad := l.add(eventlog.Events, "a", poison)
	bad.Payload = event.AppendEvent(nil, &event.Event{User: "u0", Item: "a", Type: event.TypeView, Time: bad.Time})
	bad.Payload = event.AppendEvent(bad.Payload, &event.Event{ID: "its-own", User: "u1", Item: poison, Type: event.TypeView, Time: bad.Time})
	e.Deliver(bad)
	if err := e.Wait(t.Context(), bad.Number); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if s := e.Stats(); s.Failures["first"] != 1 || s.Skipped != 0 {
		t.Errorf("of the engine that fails: %v, %d", s.Failures, s.Skipped)
	}
	_ = e.Close()
	o.State, o.Views = statememory.New(), viewmemory.New()
	if e, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	s := e.Stats()
	if second, known := s.Failures["second"]; s.Failures["first"] != 5 || s.Skipped != 1 || second != 0 || !known {
		t.Errorf("of the one that goes on: %v, %d", s.Failures, s.Skipped)
	}
	log := out.String()
	if strings.Count(log, "stack=") != 1 || strings.Contains(log, "goroutine") || !strings.Contains(log, "simulation_test.go:") || strings.Contains(log, "pipeline.go") {
		t.Errorf("where it failed is not said once, briefly:\n%s", log)
	}
	for line := range strings.Lines(log) {
		if len(line) > 500 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
	for try := 1; try <= 3; try++ {
		if want := fmt.Sprint(`event=1 event_id=its-own user=u1 item=poison try=`, try); !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// Where many events fail it is not the events: the engine does not throw them
// all away, also where each is a block of its own.
func TestNotEverythingIsSkipped(t *testing.T) {
	var items []string
	for range mostSkipped + 1 {
		items = append(items, poison)
	}
	for blocks, each := range map[string]int{"one block": len(items), "a block each": 1} {
		t.Run(blocks, func(t *testing.T) { notEverythingIsSkipped(t, slices.Collect(slices.Chunk(items, each))) })
	}
}

func notEverythingIsSkipped(t *testing.T, blocks [][]string) {
	l := &skippingLog{skipped: map[uint64][]int{}}
	l.add(eventlog.Config)
	for _, items := range blocks {
		l.add(eventlog.Events, items...)
	}
	if _, err := Open(failuresOptions(l, Failures{Tries: 1, Skip: l.skip})); err == nil || len(l.letters) != mostSkipped {
		t.Errorf("%d events were skipped: %v", len(l.letters), err)
	}
}

// A program without a stage that the checkpoint has state of is refused, or
// drops that state for good: a later program with the stage begins empty.
func TestStateOfAStageThatIsGone(t *testing.T) {
	l := &skippingLog{skipped: map[uint64][]int{}}
	l.add(eventlog.Config)
	l.add(eventlog.Events, "a", "b")
	o := failuresOptions(l, Failures{})
	run := func(build func([]byte) (*Program, error), allow bool) error {
		o.Build, o.AllowNonRestoredState, o.Views = build, allow, viewmemory.New()
		e, err := Open(o)
		if err != nil {
			return err
		}
		return e.Close()
	}
	without := func([]byte) (*Program, error) {
		topology, source := operator.NewTopology[event.Enriched]()
		operator.Add(source, operator.Stage[string, int64, event.Enriched]{
			Name: "other", Version: 1, Key: func(e *event.Enriched) string { return e.User },
			New: func(p *operator.Ports) operator.Operator[string, int64, event.Enriched] {
				return &alarm{operator.View[bytesValue](p, "alarms")}
			},
		})
		return &Program{Topology: topology, Types: event.DefaultTypes(), Watermarks: watermarks}, topology.Err()
	}
	if err := run(simulationProgram, false); err != nil {
		t.Fatal(err)
	}
	if err := run(without, false); !errors.Is(err, state.ErrStageMissing) || !strings.Contains(err.Error(), "first (keys: ") {
		t.Errorf("stages are gone: got %v", err)
	}
	if err := run(simulationProgram, false); err != nil {
		t.Errorf("they are there again: %v", err)
	}
	for range 2 { // dropped once
		if err := run(without, true); err != nil {
			t.Error(err)
		}
	}
	if err := run(without, false); err != nil {
		t.Errorf("what was dropped is missed: %v", err)
	}
	err := o.State.Load(func(stage string, _, _ []byte) error {
		if stage == "first" {
			t.Errorf("there is state of stage %s", stage)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
