package embedded

import (
	"log/slog"
	"testing"

	"millrace/catalog"
	"millrace/event"
	"millrace/event/wire"
	"millrace/eventlog"
	"millrace/state"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// Events that count and repeats are counted apart, and both counts survive a
// restart.
func TestRepeatsAreNoEvents(t *testing.T) {
	log, backend := &simulatedLog{}, statememory.New()
	add := func(kind eventlog.Kind, count int, payload []byte) {
		log.blocks = append(log.blocks, &eventlog.Block{
			Number: uint64(len(log.blocks)) + 1, Kind: kind, Time: 1_700_000_000_000, Count: count, Payload: payload,
		})
	}
	add(eventlog.Config, 1, []byte("1"))
	var payload []byte
	for _, id := range []string{"a", "b", "a", "", ""} {
		payload = event.AppendEvent(payload, &event.Event{ID: id, User: "u", Item: "i", Type: event.TypeView, Time: 1_700_000_000_000})
	}
	o := Options{
		Build: simulationProgram, Shards: 2, Log: log, State: backend, Views: viewmemory.New(), Logger: slog.New(slog.DiscardHandler),
		Duplicates: Duplicates{Stage: "first", Port: "repeats", Row: func(r any) int { return r.(*repeat).row }},
	}
	for round := range 3 { // the block is delivered, in the checkpoint, and replayed
		if round == 2 {
			o.State = statememory.New()
		}
		e, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		observed := 0
		e.Observe(func(b BlockStats) { observed += b.Events })
		if round == 0 {
			add(eventlog.Events, 5, payload)
			e.Deliver(log.blocks[1])
			if err := e.Wait(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		if s := e.Stats(); s.Events != 4 || s.Duplicates != 1 {
			t.Errorf("round %d: %d events and %d repeats, want 4 and 1", round, s.Events, s.Duplicates)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 0 && observed != 4 {
			t.Errorf("the observer was told of %d events, want 4", observed)
		}
		o.Views = viewmemory.New()
	}
}

// A checkpoint of the first format is read; repeats are counted from then on.
func TestCheckpointsOfVersion1AreRead(t *testing.T) {
	meta := []byte{1}
	meta = wire.AppendVarint(meta, 1_700_000_000_000)
	meta = wire.AppendUvarint(meta, 7)
	meta = wire.AppendBytes(meta, []byte("1"))
	meta = wire.AppendUvarint(meta, 1)
	meta = wire.AppendUvarint(wire.AppendString(meta, "import"), 3)
	for version, good := range map[byte]bool{0: false, 1: true, metaVersion + 1: false} {
		backend := statememory.New()
		meta[0] = version
		if _, err := backend.Commit(&state.Checkpoint{Block: 2, Meta: meta}); err != nil {
			t.Fatal(err)
		}
		o := Options{Build: simulationProgram, Shards: 1, State: backend}
		c := newCore(o, catalog.NewIndex())
		if err := c.restore(&o); (err == nil) != good {
			t.Errorf("version %d: %v", version, err)
		}
		if good && (c.events != 7 || c.repeats != 0 || c.positions["import"] != 3 || c.block != 2) {
			t.Errorf("version %d was read as %d events, %d repeats, positions %v, block %d", version, c.events, c.repeats, c.positions, c.block)
		}
	}
}
