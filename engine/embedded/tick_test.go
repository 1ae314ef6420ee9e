package embedded

import (
	"log/slog"
	"testing"
	"time"

	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/operator"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// alarm answers once a second of processing time has passed after an event.
type alarm struct {
	view *operator.ViewPort[bytesValue]
}

func (*alarm) Fold(c *operator.Context, _ string, s *int64, _ *event.Enriched) {
	c.SetProcessingTimer(c.ProcessingTime() + 1000)
}

func (*alarm) Timer(*operator.Context, string, *int64, event.Time) {}

func (*alarm) ProcessingTimer(_ *operator.Context, _ string, s *int64, at event.Time) { *s = int64(at) }

func (*alarm) Append(dst []byte, s *int64) []byte { return wire.AppendVarint(dst, *s) }

func (*alarm) Load(_ uint8, src []byte, s *int64) error {
	r := wire.NewReader(src)
	*s = r.Varint()
	return r.Err()
}

func (o *alarm) Answer(key string, s *int64) {
	if s == nil || *s == 0 {
		o.view.Delete(key)
		return
	}
	o.view.Put(key, wire.AppendVarint(nil, *s))
}

// When something is due in processing time and nothing arrives, the engine asks
// for a block without records, once, and with it the timer fires; a replay of
// the blocks comes to the same.
func TestTicks(t *testing.T) {
	log := &simulatedLog{}
	clock := time.UnixMilli(1_700_000_000_000)
	add := func(kind eventlog.Kind, payload []byte) *eventlog.Block {
		b := &eventlog.Block{Number: uint64(len(log.blocks)) + 1, Kind: kind, Time: event.FromGo(clock), Count: 1, Payload: payload}
		if kind == eventlog.Tick {
			b.Count = 0
		}
		log.blocks = append(log.blocks, b)
		return b
	}
	add(eventlog.Config, []byte("1"))
	asked := 0
	o := Options{
		Build: func([]byte) (*Program, error) {
			topology, source := operator.NewTopology[event.Enriched]()
			operator.Add(source, operator.Stage[string, int64, event.Enriched]{
				Name: "alarm", Version: 1, Key: func(e *event.Enriched) string { return e.User },
				New: func(p *operator.Ports) operator.Operator[string, int64, event.Enriched] {
					return &alarm{operator.View[bytesValue](p, "alarms")}
				},
			})
			return &Program{Topology: topology, Types: event.DefaultTypes(), Watermarks: watermarks}, topology.Err()
		},
		Shards: 2, Log: log, State: statememory.New(), Views: viewmemory.New(), Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return clock }, Tick: func() { asked++ },
	}
	e, err := open(o, func(f func()) { f() })
	if err != nil {
		t.Fatal(err)
	}
	process := func(b *eventlog.Block) {
		t.Helper()
		if err := e.process(b, false); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(e *Engine) bool {
		s := e.options.Views.Snapshot()
		defer s.Close()
		_, ok := s.Get("alarms", "ann")
		return ok
	}
	process(add(eventlog.Events, event.AppendEvent(nil, &event.Event{User: "ann", Item: "i", Type: event.TypeView, Time: 1_700_000_000_000})))
	for range 3 {
		if e.tick(); asked > 0 {
			t.Fatal("it asks before anything is due")
		}
	}
	clock = clock.Add(1500 * time.Millisecond)
	e.tick()
	e.tick()
	if asked != 1 || answered(e) {
		t.Fatalf("it asked %d times, and has answered: %v", asked, answered(e))
	}
	process(add(eventlog.Tick, nil))
	clock = clock.Add(time.Hour)
	if e.tick(); asked != 1 || !answered(e) {
		t.Fatalf("after the tick it asked %d times, and has answered: %v", asked, answered(e))
	}
	o.State, o.Views = statememory.New(), viewmemory.New()
	replayed, err := open(o, func(f func()) { f() })
	if err != nil || !answered(replayed) {
		t.Fatalf("the replay has answered: %v, %v", answered(replayed), err)
	}
}
