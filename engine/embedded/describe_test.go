package embedded

import (
	"errors"
	"slices"
	"testing"

	"millrace/event"
	"millrace/eventlog"
	"millrace/state"
	statememory "millrace/state/memory"
	viewmemory "millrace/view/memory"
)

// What a checkpoint says of itself is what the engine that took it knows.
func TestDescribe(t *testing.T) {
	log, backend := &simulatedLog{}, statememory.New()
	if _, err := Describe(backend, simulationProgram); !errors.Is(err, state.ErrNone) {
		t.Errorf("before the first checkpoint: %v, want ErrNone", err)
	}
	var payload []byte
	for _, user := range []string{"u", "v", "w"} {
		payload = event.AppendEvent(payload, &event.Event{User: user, Item: "i", Type: event.TypeView, Time: 1_700_000_000_000})
	}
	log.blocks = []*eventlog.Block{
		{Number: 1, Kind: eventlog.Config, Time: 1, Count: 1, Payload: []byte("1")},
		{Number: 2, Kind: eventlog.Events, Time: 2, Count: 3, Payload: payload},
	}
	e, err := Open(Options{Build: simulationProgram, Shards: 2, Log: log, State: backend, Views: viewmemory.New()})
	if err != nil {
		t.Fatal(err)
	}
	stats := e.Stats()
	if err := errors.Join(e.Checkpoint(t.Context(), 2), e.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := Describe(backend, simulationProgram)
	if err != nil {
		t.Fatal(err)
	}
	if d.Block != 2 || d.Events != 3 || string(d.Config) != "1" || d.StreamTime != stats.StreamTime || d.Watermark != stats.Watermark ||
		d.Time == 0 || d.Watermark == event.MinTime {
		t.Errorf("%+v, want what the engine says: %+v", d, stats)
	}
	own, err := Stages(simulationProgram, []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Stages {
		at := slices.IndexFunc(own, func(o StageState) bool { return o.Name == s.Name })
		if at < 0 || own[at].Version != s.Version || s.Keys == 0 || s.Bytes < s.Keys {
			t.Errorf("%+v is not among the program's stages: %+v", s, own)
		}
		if n, ok := stats.Keys[s.Name]; ok && uint64(n) != s.Keys {
			t.Errorf("%s: %d keys, the engine says %d", s.Name, s.Keys, n)
		}
	}
	if len(d.Stages) < 2 {
		t.Errorf("stages: %+v", d.Stages)
	}
}
