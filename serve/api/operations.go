package api

import (
	"context"
	"encoding/json"
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

// SavepointStageRecord is what a savepoint holds of a stage.
type SavepointStageRecord struct {
	Name         string `json:"name"`
	StateVersion int    `json:"state_version" doc:"Of the format; an older release than the one that writes it can not restore it."`
	Keys         uint64 `json:"keys"`
	Bytes        uint64 `json:"bytes" doc:"Of keys and values, before any compression."`
}

// SavepointRecord is a savepoint. What is not known yet is left out.
type SavepointRecord struct {
	ID            string                 `json:"id"`
	Kind          string                 `json:"kind" enum:"savepoint,checkpoint" doc:"A checkpoint is a copy of a periodic one, and removed when there are newer ones."`
	State         string                 `json:"state" enum:"in_progress,completed,failed"`
	Reason        string                 `json:"reason,omitempty" doc:"Why it failed."`
	Asked         string                 `json:"asked,omitempty" format:"date-time" doc:"When this server was asked for it; only while it is in progress or has failed."`
	Created       string                 `json:"created,omitempty" format:"date-time"`
	Block         uint64                 `json:"block,omitempty" doc:"It holds the state after this block."`
	StreamTime    string                 `json:"stream_time,omitempty" format:"date-time" doc:"The largest event time in it."`
	Watermark     string                 `json:"watermark,omitempty" format:"date-time"`
	Events        uint64                 `json:"events,omitempty" doc:"That count."`
	Release       string                 `json:"release,omitempty" doc:"That made it."`
	Files         int                    `json:"files,omitempty"`
	Bytes         int64                  `json:"bytes,omitempty" doc:"Of the files; those that others have too are stored once."`
	Stages        []SavepointStageRecord `json:"stages,omitempty"`
	Configuration map[string]any         `json:"configuration,omitempty" doc:"What it was computed with."`
}

// Record is the savepoint as it is sent; brief leaves out stages and
// configuration.
func (s *Savepoint) Record(brief bool) SavepointRecord {
	r := SavepointRecord{ID: s.ID, Kind: s.Kind, State: s.State, Reason: s.Reason}
	if !s.Asked.IsZero() {
		r.Asked = event.FromGo(s.Asked).String()
	}
	if s.Created.IsZero() {
		return r
	}
	r.Created, r.Block, r.Events, r.Release = event.FromGo(s.Created).String(), s.Block, s.Events, s.Release
	r.Files, r.Bytes = s.Files, s.Bytes
	if s.StreamTime != event.MinTime {
		r.StreamTime = s.StreamTime.String()
	}
	if s.Watermark != event.MinTime {
		r.Watermark = s.Watermark.String()
	}
	if brief {
		return r
	}
	for _, stage := range s.Stages {
		r.Stages = append(r.Stages, SavepointStageRecord{stage.Name, int(stage.Version), stage.Keys, stage.Bytes})
	}
	if json.Unmarshal(s.Config, &r.Configuration) != nil {
		r.Configuration = nil // none, or nothing that JSON can show
	}
	return r
}

// SavepointBody is the body of POST /v1/savepoints, which may be left out.
type SavepointBody struct {
	Name string `json:"name,omitempty" maxLength:"64" doc:"1 to 64 of a-z, 0-9 and . _ -; the server makes one up if there is none."`
}

// SavepointsInput is the request of POST /v1/savepoints.
type SavepointsInput struct{ HTTP }

// SavepointInput is a request about one savepoint.
type SavepointInput struct {
	ID string `path:"id" doc:"The id that POST /v1/savepoints answered with." example:"before-upgrade"`
}

// SavepointOutput is one savepoint.
type SavepointOutput struct{ Body SavepointRecord }

// SavepointsOutput is the answer of GET /v1/savepoints.
type SavepointsOutput struct {
	Body struct {
		Savepoints []SavepointRecord `json:"savepoints" doc:"Oldest block first, then those in progress and those that failed, of which the latest are remembered until a restart."`
	}
}

// SavepointDeletion is the answer of DELETE /v1/savepoints/{id}.
type SavepointDeletion struct {
	Body struct {
		ID string `json:"id"`
	}
}

func (a *API) postSavepoint(ctx context.Context, in *SavepointsInput) (*SavepointOutput, error) {
	body, err := a.intake.Read(in.request)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	var asked SavepointBody
	if len(body.Bytes) > 0 {
		if err := strict.JSON(body.Bytes, &asked); err != nil {
			return nil, err
		}
	}
	s, err := a.parts.Savepoints.Create(ctx, asked.Name)
	if errors.Is(err, ErrSavepointName) {
		return nil, problem.BadField("name", savepointNames, asked.Name)
	}
	if err != nil {
		return nil, err
	}
	return &SavepointOutput{s.Record(false)}, nil
}

// savepointNames says what a savepoint can be called.
const savepointNames = "1 to 64 of a-z, 0-9 and . _ -, with a letter or digit at both ends"

func (a *API) savepoints(ctx context.Context, _ *Empty) (*SavepointsOutput, error) {
	list, err := a.parts.Savepoints.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &SavepointsOutput{}
	out.Body.Savepoints = make([]SavepointRecord, len(list))
	for i := range list {
		out.Body.Savepoints[i] = list[i].Record(true)
	}
	return out, nil
}

func (a *API) savepoint(ctx context.Context, in *SavepointInput) (*SavepointOutput, error) {
	s, err := a.parts.Savepoints.Get(ctx, in.ID)
	if errors.Is(err, ErrSavepointName) {
		return nil, problem.BadField("id", savepointNames, in.ID)
	}
	if err != nil {
		return nil, err
	}
	return &SavepointOutput{s.Record(false)}, nil
}

func (a *API) deleteSavepoint(ctx context.Context, in *SavepointInput) (*SavepointDeletion, error) {
	err := a.parts.Savepoints.Dispose(ctx, in.ID)
	if errors.Is(err, ErrSavepointName) {
		return nil, problem.BadField("id", savepointNames, in.ID)
	}
	if err != nil {
		return nil, err
	}
	out := &SavepointDeletion{}
	out.Body.ID = in.ID
	return out, nil
}
