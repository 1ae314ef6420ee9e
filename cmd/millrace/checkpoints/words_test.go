package checkpoints

import (
	"testing"
	"time"

	"millrace/engine/checkpoint"
	"millrace/serve/api"
)

// What the API says of a history is what the engine says of it, to the last
// digit.
func TestSummary(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	s := checkpoint.Status{History: []checkpoint.Record{
		{Block: 1, Started: at(0), Duration: 2 * time.Second, Stall: 3 * time.Millisecond, Bytes: 10, First: true},
		{Block: 2, Started: at(10), Duration: 5 * time.Second, Stall: 9 * time.Millisecond, Bytes: 41},
		{Block: 3, Started: at(20), Duration: time.Minute, Stall: time.Minute, Bytes: 1000, Failure: "no", Failures: 4},
	}}
	s.Summary = checkpoint.Summarize(s.History)
	words := Words(&s, error.Error)
	body := words.Record()
	want := api.CheckpointSummary{
		Count: 3, Completed: 2, Failed: 4,
		DurationMs: api.CheckpointRange{Average: 3500, Min: 2000, Max: 5000}, Bytes: api.CheckpointRange{Average: 25, Min: 10, Max: 41},
		StallMs: api.CheckpointRange{Average: 6, Min: 3, Max: 9}, PauseMs: api.CheckpointRange{Average: 6500, Min: 5000, Max: 8000},
	}
	if body.Summary != want {
		t.Errorf("%+v, want %+v", body.Summary, want)
	}
	if d, b := body.DurationMs, body.Bytes; d != (api.Spread{Average: 3500, Minimum: 2000, Maximum: 5000}) || b != (api.Spread{Average: 25, Minimum: 10, Maximum: 41}) {
		t.Errorf("spreads %+v %+v", d, b)
	}
}
