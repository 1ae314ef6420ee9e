package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"millrace/event"
	"millrace/serve/problem"
	"millrace/serve/strict"
)

// CheckpointRecord is one finished checkpoint.
type CheckpointRecord struct {
	Block      uint64  `json:"block" doc:"It holds the state after this block."`
	Started    string  `json:"started" format:"date-time"`
	DurationMs float64 `json:"duration_ms" doc:"Until it was durable."`
	StallMs    float64 `json:"stall_ms" doc:"The longest time that a block waited for it."`
	Bytes      int64   `json:"bytes" doc:"Written: what changed since the one before."`
	Keys       int     `json:"keys"`
}

// Spread is how a figure varies.
type Spread struct {
	Average float64 `json:"average"`
	Maximum float64 `json:"maximum"`
	Minimum float64 `json:"minimum"`
}

// CheckpointsOutput is the answer of GET /v1/checkpoints.
type CheckpointsOutput struct {
	Body struct {
		Checkpoints     []CheckpointRecord `json:"checkpoints" doc:"The latest ones, oldest first."`
		DurationMs      Spread             `json:"duration_ms"`
		Bytes           Spread             `json:"bytes"`
		Recommendations []string           `json:"recommendations" doc:"What could be changed, in words."`
	}
}

func (a *API) checkpoints(context.Context, *Empty) (*CheckpointsOutput, error) {
	history := a.parts.Engine.Checkpoints()
	out := &CheckpointsOutput{}
	out.Body.Checkpoints = make([]CheckpointRecord, len(history))
	durations, sizes := make([]float64, len(history)), make([]float64, len(history))
	for i, c := range history {
		out.Body.Checkpoints[i] = CheckpointRecord{
			Block: c.Block, Started: event.FromGo(c.Started).String(), DurationMs: millis(c.Duration),
			StallMs: millis(c.Stall), Bytes: c.Bytes, Keys: c.Keys,
		}
		durations[i], sizes[i] = millis(c.Duration), float64(c.Bytes)
	}
	out.Body.DurationMs, out.Body.Bytes = spread(durations), spread(sizes)
	out.Body.Recommendations = advise(history)
	return out, nil
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := Spread{Maximum: values[0], Minimum: values[0]}
	sum := 0.0
	for _, v := range values {
		sum += v
		s.Maximum, s.Minimum = max(s.Maximum, v), min(s.Minimum, v)
	}
	s.Average = sum / float64(len(values))
	return s
}

// The limits beyond which checkpoints are worth a word.
const (
	adviseStall = 5 * time.Millisecond // a checkpoint is to stall no block for longer
	adviseShare = 0.5                  // of the time spent on checkpoints
	adviseBytes = 1 << 30
)

// advise says what the history of checkpoints suggests.
func advise(history []Checkpoint) []string {
	advice := []string{}
	if len(history) == 0 {
		return append(advice, "no checkpoint has finished yet: after a crash the whole log is replayed")
	}
	var busy, stall time.Duration
	var largest int64
	for _, c := range history {
		busy += c.Duration
		stall, largest = max(stall, c.Stall), max(largest, c.Bytes)
	}
	first, last := history[0], history[len(history)-1]
	if span := last.Started.Sub(first.Started) + last.Duration; len(history) > 1 && float64(busy) > adviseShare*float64(span) {
		advice = append(advice, fmt.Sprintf(
			"a checkpoint is being written %.0f %% of the time: lengthen the interval, or use a faster disk", 100*float64(busy)/float64(span)))
	}
	if stall > adviseStall {
		advice = append(advice, fmt.Sprintf(
			"a block waited %.1f ms for a checkpoint: give the process more memory or more cores", millis(stall)))
	}
	if largest > adviseBytes {
		advice = append(advice, fmt.Sprintf(
			"a checkpoint wrote %.1f GiB: shorten the interval, so that less changes in between", float64(largest)/(1<<30)))
	}
	return advice
}

// DeadLettersInput is the request of GET /v1/deadletters.
type DeadLettersInput struct {
	Cursor string `query:"cursor" doc:"Where to go on, from the answer before; the oldest one if it is not given."`
	N      int    `query:"n" minimum:"1" maximum:"1000" default:"100" doc:"How many at most."`
}

// DeadLettersOutput is the answer of GET /v1/deadletters.
type DeadLettersOutput struct {
	Body struct {
		Cursor  string             `json:"cursor" doc:"What comes after these, also later."`
		Letters []DeadLetterRecord `json:"deadletters" doc:"Oldest first."`
	}
}

// DeadLetterRecord is one refused input.
type DeadLetterRecord struct {
	Time  string `json:"time" format:"date-time" doc:"When it was refused."`
	Raw   string `json:"raw" doc:"As it came, perhaps cut; what is not UTF-8 is replaced."`
	Error string `json:"error" doc:"What was expected and what came."`
}

func (a *API) deadLetters(_ context.Context, in *DeadLettersInput) (*DeadLettersOutput, error) {
	letters, next, err := a.parts.DeadLetters.List(in.Cursor, in.N)
	switch {
	case errors.Is(err, ErrCursor):
		return nil, problem.BadField("cursor", "the cursor of an answer before", in.Cursor)
	case err != nil:
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	out := &DeadLettersOutput{}
	out.Body.Cursor = next
	out.Body.Letters = make([]DeadLetterRecord, len(letters))
	for i, l := range letters {
		out.Body.Letters[i] = DeadLetterRecord{Time: l.Time.String(), Raw: string(l.Raw), Error: l.Error}
	}
	return out, nil
}

// SourceInput is the request of GET /v1/sources/{name}.
type SourceInput struct {
	Name string `path:"name" doc:"The name that the import gave as source, percent-encoded." example:"ratings.dat"`
}

// SourceOutput is the answer of GET /v1/sources/{name}.
type SourceOutput struct {
	Body struct {
		Source string `json:"source"`
		Next   uint64 `json:"next" doc:"The first record that is not stored."`
	}
}

func (a *API) source(_ context.Context, in *SourceInput) (*SourceOutput, error) {
	if err := strict.CheckID("name", in.Name); err != nil {
		return nil, err
	}
	next, known := a.parts.Engine.Position(in.Name)
	if !known {
		return nil, problem.New(http.StatusNotFound, "nothing has been imported from a source %q", in.Name)
	}
	out := &SourceOutput{}
	out.Body.Source, out.Body.Next = in.Name, next
	return out, nil
}
