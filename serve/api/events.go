package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"millrace/event"
	"millrace/serve/problem"
	"millrace/serve/strict"
)

// EventsInput is the request of POST /v1/events. Its body is read by the
// handler.
type EventsInput struct {
	HTTP
	Wait     string                  `query:"wait" enum:"durable,applied" default:"durable" doc:"When to answer: when the events are durable, or when they are visible too. The answer about events with an event_id always comes when they are visible, as it says which of them were repeats." example:"applied"`
	Source   string                  `query:"source" doc:"Names an import, whose position is stored with the events." example:"ratings.dat"`
	Position strict.Optional[uint64] `query:"position" minimum:"0" maximum:"9007199254740991" doc:"The first record of the source that comes after these events; with source." example:"4096"`
	After    strict.Optional[uint64] `query:"after" minimum:"0" maximum:"9007199254740991" doc:"The position that the batch before these events had, 0 for the first; with source. A batch that does not follow on what was taken is a conflict; one that was taken already is acknowledged and ignored." example:"0"`
}

// EventsAnswer is the answer of POST /v1/events.
type EventsAnswer struct {
	Accepted   int                `json:"accepted" doc:"Events that count."`
	Duplicates int                `json:"duplicates" doc:"Events that were acknowledged and ignored, as the same user sent one with the same event_id within 24 hours of stream time."`
	Errors     []event.FieldError `json:"errors" doc:"Events that were refused, and kept as dead letters."`
}

// EventsOutput is the answer of POST /v1/events.
type EventsOutput struct{ Body EventsAnswer }

// postEvents makes the good events of a request durable and keeps the bad
// ones as dead letters.
func (a *API) postEvents(ctx context.Context, in *EventsInput) (*EventsOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := a.writable(); err != nil {
		return nil, err
	}
	body, err := a.intake.Read(in.request)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	now := a.parts.Now()
	parsed := event.ParseBody(body.Bytes, in.request.Header.Get("Content-Type"),
		event.Options{Types: a.parts.Types(), Now: event.FromGo(now)})
	ctx, cancel := context.WithTimeout(ctx, a.parts.MaxWait)
	defer cancel()
	var sent []receipt
	repeated := false
	if in.Source != "" && len(parsed.Events) > 0 {
		sent, repeated, err = a.submitImport(ctx, parsed.Events, in)
	} else {
		sent, err = a.submit(ctx, parsed.Events, "", 0)
	}
	if err != nil {
		return nil, fmt.Errorf("store events: %w", err)
	}
	if repeated {
		return a.repeatedImport(ctx, sent, len(parsed.Events))
	}
	if err := a.reject(parsed.Bad, now); err != nil {
		return nil, err
	}
	body.Release() // what follows is waiting
	if len(sent) == 0 {
		return nil, allBad(parsed.Errors)
	}
	answer := &EventsOutput{EventsAnswer{Accepted: len(parsed.Events), Errors: parsed.Errors}}
	if answer.Body.Errors == nil {
		answer.Body.Errors = []event.FieldError{}
	}
	user := parsed.Events[len(parsed.Events)-1].User
	identified := !a.parts.RepeatsUnknown && slices.ContainsFunc(parsed.Events, func(e event.Event) bool { return e.ID != "" })
	if answer.Body.Duplicates, err = a.acknowledge(ctx, sent, identified, in.Wait); err != nil {
		return nil, err
	}
	answer.Body.Accepted -= answer.Body.Duplicates
	a.active.add(user)
	a.parts.Meter.Received(answer.Body.Accepted, answer.Body.Duplicates)
	return answer, nil
}

// repeatedImport acknowledges a batch of an import that was taken before, once
// that is durable.
func (a *API) repeatedImport(ctx context.Context, sent []receipt, events int) (*EventsOutput, error) {
	if _, err := a.acknowledge(ctx, sent, false, ""); err != nil {
		return nil, err
	}
	a.parts.Meter.Received(0, events)
	return &EventsOutput{EventsAnswer{Duplicates: events, Errors: []event.FieldError{}}}, nil
}

// allBad is the problem of a request in which nothing is good.
func allBad(errs []event.FieldError) error {
	if len(errs) == 0 {
		return problem.BadField("", "at least one element", "an empty list")
	}
	return problem.BadFields(problem.FromEvents(errs)...)
}

// check looks at what the parameters say together.
func (in *EventsInput) check() error {
	if err := strict.CheckOptional("source", in.Source); err != nil {
		return err
	}
	if in.After.Set && in.Source == "" {
		return problem.BadField("after", "source and position with it", in.request.URL.RawQuery)
	}
	if (in.Source != "") != in.Position.Set {
		return problem.BadField("position", "source and position together, or neither", in.request.URL.RawQuery)
	}
	if in.After.Set && in.Position.Value <= in.After.Value {
		return problem.BadField("position", "more than after, as events come between the two", in.request.URL.RawQuery)
	}
	return nil
}

// writable is nil while events can be processed.
func (a *API) writable() error {
	if err := a.parts.Engine.Err(); err != nil {
		return fmt.Errorf("%w: %s; /v1/stats says which", ErrUnavailable, engineStopped)
	}
	return nil
}

// engineStopped is what everybody may know of an engine that has failed.
const engineStopped = "the engine has stopped because of an error"

// receipt is a batch of events on its way.
type receipt struct {
	ticket Ticket
	count  int
}

// maxBatchEvents bounds the events of one batch, which becomes a part of one
// block: all who wait for a block wait for all of it.
const maxBatchEvents = 16_384

// retryPause is when to try again to hand over the rest of a request.
const retryPause = 5 * time.Millisecond

// submit hands events over in their order. If there is no room for the first
// batch, nothing was taken; the rest of a request that was begun is tried
// again until ctx ends, as what was taken can not be given back.
func (a *API) submit(ctx context.Context, events []event.Event, source string, next uint64) ([]receipt, error) {
	buffer := a.payloads.Get().(*[]byte)
	defer a.payloads.Put(buffer)
	var sent []receipt
	for len(events) > 0 {
		n := min(len(events), maxBatchEvents)
		batch := Batch{Kind: Events, Payload: (*buffer)[:0], Count: n}
		for i := range events[:n] {
			batch.Payload = event.AppendEvent(batch.Payload, &events[i])
		}
		if cap(batch.Payload) <= maxPooledPayload {
			*buffer = batch.Payload
		}
		if events = events[n:]; len(events) == 0 {
			batch.Source, batch.Next = source, next
		}
		ticket, err := a.parts.Ingest.Submit(batch)
		for errors.Is(err, ErrOverloaded) && len(sent) > 0 {
			select {
			case <-time.After(retryPause):
				ticket, err = a.parts.Ingest.Submit(batch)
			case <-ctx.Done():
				return nil, fmt.Errorf("a part of them: %w", ctx.Err())
			}
		}
		if err != nil {
			return nil, err
		}
		sent = append(sent, receipt{ticket, n})
	}
	return sent, nil
}

// maxPooledPayload is the size up to which a buffer is used again.
const maxPooledPayload = 1 << 20

// acknowledge waits until batches are durable, and until they are visible if
// that is asked for, or if events have an id, as only then it is known which
// of them were repeats.
func (a *API) acknowledge(ctx context.Context, sent []receipt, identified bool, wait string) (duplicates int, err error) {
	for _, r := range sent {
		if err := durable(ctx, r.ticket); err != nil {
			return 0, fmt.Errorf("store events: %w", err)
		}
	}
	if !identified && wait != waitApplied {
		return 0, nil
	}
	for _, r := range sent {
		if err := a.parts.Engine.Wait(ctx, r.ticket.Block()); err != nil {
			return 0, fmt.Errorf("the events are durable, but not visible: %w", err)
		}
		if identified {
			duplicates += a.parts.Engine.Duplicates(r.ticket.Block(), r.ticket.First(), r.count)
		}
	}
	return duplicates, nil
}

const waitApplied = "applied"

// durable waits until a batch is durable.
func durable(ctx context.Context, t Ticket) error {
	select {
	case <-t.Done():
		return t.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reject keeps refused events as dead letters and counts them.
func (a *API) reject(bad []event.BadInput, now time.Time) error {
	if len(bad) == 0 {
		return nil
	}
	letters := make([]DeadLetter, 0, len(bad))
	for i := range bad {
		a.parts.Meter.Rejected(reason(bad[i].Error.Field))
		if len(bad[i].Raw) > 0 { // of an empty body there is nothing to keep
			letters = append(letters, DeadLetter{Time: event.FromGo(now), Raw: bad[i].Raw, Error: bad[i].Error.Error()})
		}
	}
	if err := a.parts.DeadLetters.Append(letters); err != nil {
		return fmt.Errorf("store dead letters: %w", err)
	}
	return nil
}

// DeadLettersBody is the body of POST /v1/deadletters.
type DeadLettersBody struct {
	Letters []DeadLetterBody `json:"deadletters" minItems:"1" maxItems:"1000"`
}

// DeadLetterBody is an input of which a client could make no event.
type DeadLetterBody struct {
	Raw   string `json:"raw" doc:"As it was read: a line of a log, a row of a file. It is kept up to 4 KiB."`
	Error string `json:"error" minLength:"1" doc:"Where it was, what was expected and what was there. It is kept up to 1 KiB."`
}

// PostDeadLettersInput is the request of POST /v1/deadletters.
type PostDeadLettersInput struct{ HTTP }

// PostDeadLettersOutput is the answer of POST /v1/deadletters.
type PostDeadLettersOutput struct {
	Body struct {
		Accepted int `json:"accepted" doc:"Letters that are stored, each as one more dead letter; where events go to a topic, in the topic for them, if there is one."`
	}
}

// maxSentLetters bounds the letters of one request.
const maxSentLetters = 1000

// reasonClient is the label under which letters are counted that a client sent.
const reasonClient = "client"

// postDeadLetters keeps what clients refused that make events of something
// else, with their reasons.
func (a *API) postDeadLetters(_ context.Context, in *PostDeadLettersInput) (*PostDeadLettersOutput, error) {
	var sent DeadLettersBody
	if err := a.readJSON(in.HTTP, &sent); err != nil {
		return nil, err
	}
	if n := len(sent.Letters); n == 0 || n > maxSentLetters {
		return nil, problem.BadField("deadletters", fmt.Sprintf("1 to %d letters", maxSentLetters), strconv.Itoa(n))
	}
	letters := make([]DeadLetter, len(sent.Letters))
	now := event.FromGo(a.parts.Now())
	for i, l := range sent.Letters {
		if l.Error == "" {
			return nil, problem.BadField(fmt.Sprintf("deadletters.%d.error", i), "what is wrong with it", "nothing")
		}
		letters[i] = DeadLetter{Time: now, Raw: []byte(l.Raw), Error: l.Error}
	}
	if err := a.parts.DeadLetters.Append(letters); err != nil {
		return nil, fmt.Errorf("store dead letters: %w", err)
	}
	for range letters {
		a.parts.Meter.Rejected(reasonClient)
	}
	out := &PostDeadLettersOutput{}
	out.Body.Accepted = len(letters)
	return out, nil
}

// reason is the label under which a refused event is counted: the field, if
// it is one, so that no client can make up labels.
func reason(field string) string {
	switch field {
	case "":
		return "syntax"
	case "event_id", "user_id", "item_id", "event_type", "value", "timestamp", "session_id", "request_id", "metadata":
		return field
	}
	return "unknown_field"
}

// imports keeps the batches of each source in line: one at a time, and none
// twice. A client that was killed may have a request on its way that is
// stored after the next client has asked for the position; what lies before
// the position that was taken is then a repeat, whichever of them sends it.
type imports struct {
	mutex sync.Mutex
	lines map[string]*line
}

// line is one source's import.
type line struct {
	mutex sync.Mutex
	taken uint64    // the position of the last batch that was handed over
	sent  []receipt // that batch
}

// failed says whether the last batch did not become durable.
func (l *line) failed() bool {
	return slices.ContainsFunc(l.sent, func(r receipt) bool {
		select {
		case <-r.ticket.Done():
			return r.ticket.Err() != nil
		default:
			return false
		}
	})
}

func (m *imports) line(source string) *line {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.lines == nil {
		m.lines = map[string]*line{}
	}
	l := m.lines[source]
	if l == nil {
		l = &line{}
		m.lines[source] = l
	}
	return l
}

// submitImport is submit for a batch of an import. It reports repeated for
// one that was taken before; that batch is what sent waits for then. A batch
// that overlaps what was taken, or leaves a gap, is a conflict: two clients
// import the same source.
func (a *API) submitImport(ctx context.Context, events []event.Event, in *EventsInput) (sent []receipt, repeated bool, err error) {
	l := a.imports.line(in.Source)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.failed() {
		// Whether it is stored all the same is known once batches are taken
		// again, and not before: then all that is stored is visible.
		if err := a.parts.Ingest.Err(); err != nil {
			return nil, false, err
		}
		l.taken, l.sent = 0, nil
	}
	stored, _ := a.parts.Engine.Position(in.Source)
	taken := max(stored, l.taken)
	next := in.Position.Value
	switch {
	case next <= taken:
		return l.sent, true, nil
	case in.After.Set && in.After.Value != taken:
		return nil, false, problem.New(http.StatusConflict,
			"the import of %q stands at %d and this batch follows %d: is another client importing it? start again from the position of GET /v1/sources",
			in.Source, taken, in.After.Value)
	}
	if sent, err = a.submit(ctx, events, in.Source, next); err != nil {
		return nil, false, err
	}
	l.taken, l.sent = next, sent
	return sent, false, nil
}
