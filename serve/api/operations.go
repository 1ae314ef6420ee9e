package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"millrace/event"
	"millrace/serve/problem"
	"millrace/serve/strict"
)

// CheckpointRecord is one checkpoint.
type CheckpointRecord struct {
	Block      uint64  `json:"block" doc:"It holds the state after this block."`
	Started    string  `json:"started" format:"date-time"`
	DurationMs float64 `json:"duration_ms" doc:"Until it was durable; of one that failed, until then."`
	StallMs    float64 `json:"stall_ms" doc:"The longest time that a block waited for it."`
	Bytes      int64   `json:"bytes" doc:"Written: what changed since the one before."`
	Keys       int     `json:"keys"`
	TotalBytes int64   `json:"total_bytes,omitempty" doc:"What all state takes afterwards, on disk or in memory."`
	Failure    string  `json:"failure,omitempty" enum:"timeout,storage" doc:"Why it failed. After a timeout it was stored all the same if it has bytes."`
	Failures   int     `json:"failures,omitempty" doc:"Tries that did not succeed."`
}

// Spread is how a figure varies.
type Spread struct {
	Average float64 `json:"average"`
	Maximum float64 `json:"maximum"`
	Minimum float64 `json:"minimum"`
}

// CheckpointRange is how a figure varies, in a CheckpointSummary.
type CheckpointRange struct {
	Average float64 `json:"average"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
}

// CheckpointSummary is what the latest checkpoints come to.
type CheckpointSummary struct {
	Count      int             `json:"count" doc:"Checkpoints in the list, of which the ranges are, but for those that failed."`
	Completed  int             `json:"completed" doc:"Since the start of the server."`
	Failed     int             `json:"failed" doc:"Since the start of the server; each try counts."`
	DurationMs CheckpointRange `json:"duration_ms"`
	Bytes      CheckpointRange `json:"bytes"`
	StallMs    CheckpointRange `json:"stall_ms"`
	PauseMs    CheckpointRange `json:"pause_ms" doc:"From the end of one to the start of the next."`
}

// CheckpointProgressRecord is the checkpoint under way.
type CheckpointProgressRecord struct {
	Block     uint64  `json:"block"`
	Started   string  `json:"started" format:"date-time"`
	RunningMs float64 `json:"running_ms"`
	Phase     string  `json:"phase" enum:"encoding,storing" doc:"Encoding is done in between blocks, storing beside them."`
	Failures  int     `json:"failures" doc:"Tries that did not succeed."`
}

// CheckpointPolicyRecord says when checkpoints are taken.
type CheckpointPolicyRecord struct {
	IntervalMs        float64 `json:"interval_ms" doc:"checkpoint_interval"`
	MinPauseMs        float64 `json:"min_pause_ms" doc:"checkpoint_min_pause"`
	TimeoutMs         float64 `json:"timeout_ms" doc:"checkpoint_timeout; 0 is none."`
	ToleratedFailures int     `json:"tolerated_failures" doc:"checkpoint_tolerated_failures; -1 is any number."`
}

// CheckpointFailureRecord is the last failure.
type CheckpointFailureRecord struct {
	Block   uint64 `json:"block"`
	Time    string `json:"time" format:"date-time"`
	Failure string `json:"failure" enum:"timeout,storage"`
	Reason  string `json:"reason" doc:"In words; the server's log has more."`
}

// CheckpointAdviceRecord is what one figure suggests.
type CheckpointAdviceRecord struct {
	Level     string  `json:"level" enum:"info,warning,critical"`
	Code      string  `json:"code" doc:"Which one it is; well if there is nothing to say. The documentation lists them, with their thresholds."`
	Value     float64 `json:"value" doc:"What was measured, in the unit."`
	Threshold float64 `json:"threshold" doc:"What it may be."`
	Unit      string  `json:"unit" doc:"ms, bytes, %, times or checkpoints; empty if there is no value."`
	Text      string  `json:"text" doc:"What is wrong, and what to do."`
}

// CheckpointsBody is the body of the answer of GET /v1/checkpoints.
type CheckpointsBody struct {
	Checkpoints     []CheckpointRecord        `json:"checkpoints" doc:"The latest ones, oldest first, also those of earlier starts."`
	DurationMs      Spread                    `json:"duration_ms" doc:"As in summary."`
	Bytes           Spread                    `json:"bytes" doc:"As in summary."`
	Recommendations []string                  `json:"recommendations" doc:"The texts of advice; none if all is well."`
	Summary         CheckpointSummary         `json:"summary"`
	InProgress      *CheckpointProgressRecord `json:"in_progress,omitempty" doc:"Left out if there is none."`
	Policy          CheckpointPolicyRecord    `json:"policy"`
	Advice          []CheckpointAdviceRecord  `json:"advice" doc:"The most urgent first."`
	LastFailure     *CheckpointFailureRecord  `json:"last_failure,omitempty" doc:"Left out if there was none."`
}

// CheckpointsOutput is the answer of GET /v1/checkpoints.
type CheckpointsOutput struct{ Body CheckpointsBody }

func (a *API) checkpoints(context.Context, *Empty) (*CheckpointsOutput, error) {
	c := a.parts.Engine.Checkpoints()
	return &CheckpointsOutput{c.Record()}, nil
}

// adviceWell is the code of the advice that there is none.
const adviceWell = "well"

// Record is what is known as it is sent.
func (c *Checkpoints) Record() CheckpointsBody {
	b := CheckpointsBody{
		Checkpoints: make([]CheckpointRecord, len(c.History)), Recommendations: []string{}, Advice: make([]CheckpointAdviceRecord, len(c.Advice)),
		Policy: CheckpointPolicyRecord{millis(c.Policy.Interval), millis(c.Policy.MinPause), millis(c.Policy.Timeout), max(-1, c.Policy.Tolerated)},
	}
	for i, h := range c.History {
		b.Checkpoints[i] = CheckpointRecord{
			Block: h.Block, Started: event.FromGo(h.Started).String(), DurationMs: millis(h.Duration), StallMs: millis(h.Stall),
			Bytes: h.Bytes, Keys: h.Keys, TotalBytes: h.TotalBytes, Failure: h.Failure, Failures: h.Failures,
		}
	}
	b.Summary = CheckpointSummary{
		Count: len(c.History), Completed: c.Completed, Failed: c.Failed,
		DurationMs: rangeOf(c.Duration, millis), Bytes: rangeOf(c.Bytes, func(n int64) float64 { return float64(n) }),
		StallMs: rangeOf(c.Stall, millis), PauseMs: rangeOf(c.Pause, millis),
	}
	b.DurationMs, b.Bytes = b.Summary.DurationMs.spread(), b.Summary.Bytes.spread()
	for i, advice := range c.Advice {
		b.Advice[i] = CheckpointAdviceRecord(advice)
		if advice.Code != adviceWell {
			b.Recommendations = append(b.Recommendations, advice.Text)
		}
	}
	if p := c.InProgress; p != nil {
		b.InProgress = &CheckpointProgressRecord{p.Block, event.FromGo(p.Started).String(), millis(p.Running), "encoding", p.Failures}
		if p.Storing {
			b.InProgress.Phase = "storing"
		}
	}
	if f := c.LastFailure; f != nil {
		b.LastFailure = &CheckpointFailureRecord{f.Block, event.FromGo(f.Time).String(), f.Failure, f.Reason}
	}
	return b
}

func rangeOf[T ~int64](e Extent[T], in func(T) float64) CheckpointRange {
	return CheckpointRange{in(e.Average), in(e.Min), in(e.Max)}
}

func (r CheckpointRange) spread() Spread { return Spread{r.Average, r.Max, r.Min} }

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

// RestoreBody is the body of POST /v1/savepoints/{id}/restore, which may be left
// out.
type RestoreBody struct {
	AllowNonRestoredState bool `json:"allow_non_restored_state,omitempty" doc:"Drop the state of stages that this release does not have, instead of refusing."`
}

// RestoreInput is the request of POST /v1/savepoints/{id}/restore.
type RestoreInput struct {
	SavepointInput
	HTTP
}

// RestoreIDInput is a request about one restore.
type RestoreIDInput struct {
	ID string `path:"restore_id" doc:"The restore_id that POST /v1/savepoints/{id}/restore answered with." example:"restore-20240301t120000z-k3v9qd"`
}

// RestoreRecord is a restore. What is not known yet is left out.
type RestoreRecord struct {
	ID        string   `json:"restore_id"`
	Savepoint string   `json:"savepoint_id"`
	State     string   `json:"state" enum:"in_progress,completed,failed" doc:"After a failure the state is the one from before."`
	Reason    string   `json:"reason,omitempty" doc:"Why it failed."`
	Asked     string   `json:"asked" format:"date-time"`
	Finished  string   `json:"finished,omitempty" format:"date-time"`
	Block     uint64   `json:"block,omitempty" doc:"The savepoint's: it held the state after this block."`
	Events    uint64   `json:"events,omitempty" doc:"That counted in it."`
	Keys      uint64   `json:"keys,omitempty" doc:"That were loaded."`
	Replayed  *uint64  `json:"blocks_replayed,omitempty" doc:"Blocks of the log after the savepoint's; of one that is completed."`
	Lost      []string `json:"non_restored_stages,omitempty" doc:"Stages whose state was dropped."`
}

// Record is the restore as it is sent.
func (r *Restore) Record() RestoreRecord {
	out := RestoreRecord{ID: r.ID, Savepoint: r.Savepoint, State: r.State, Reason: r.Reason, Asked: event.FromGo(r.Asked).String()}
	if r.Finished.IsZero() {
		return out
	}
	out.Finished = event.FromGo(r.Finished).String()
	if r.Block > 0 {
		out.Block, out.Events, out.Keys, out.Replayed, out.Lost = r.Block, r.Events, r.Keys, &r.Replayed, r.Lost
	}
	return out
}

// RestoreOutput is one restore.
type RestoreOutput struct{ Body RestoreRecord }

// RestoresOutput is the answer of GET /v1/restores.
type RestoresOutput struct {
	Body struct {
		Restores []RestoreRecord `json:"restores" doc:"The latest, oldest first; remembered until the process ends."`
	}
}

func (a *API) postRestore(ctx context.Context, in *RestoreInput) (*RestoreOutput, error) {
	body, err := a.intake.Read(in.request)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	var asked RestoreBody
	if len(body.Bytes) > 0 {
		if err := strict.JSON(body.Bytes, &asked); err != nil {
			return nil, err
		}
	}
	r, err := a.parts.Savepoints.Restore(ctx, in.ID, asked.AllowNonRestoredState)
	if errors.Is(err, ErrSavepointName) {
		return nil, problem.BadField("id", savepointNames, in.ID)
	}
	if err != nil {
		return nil, err
	}
	return &RestoreOutput{r.Record()}, nil
}

func (a *API) restores(context.Context, *Empty) (*RestoresOutput, error) {
	list := a.parts.Savepoints.Restores()
	out := &RestoresOutput{}
	out.Body.Restores = make([]RestoreRecord, len(list))
	for i := range list {
		out.Body.Restores[i] = list[i].Record()
	}
	return out, nil
}

func (a *API) restore(_ context.Context, in *RestoreIDInput) (*RestoreOutput, error) {
	r, err := a.parts.Savepoints.GetRestore(in.ID)
	if err != nil {
		return nil, err
	}
	return &RestoreOutput{r.Record()}, nil
}
