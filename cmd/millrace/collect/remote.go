package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"millrace/cmd/millrace/client"
	"millrace/event"
	"millrace/serve/api"
	"millrace/source"
)

// Remote collects into a running server, over its HTTP API.
type Remote struct {
	server *client.Server
	logger *slog.Logger

	mutex  sync.Mutex
	stored map[string]uint64 // position of the last batch, by source
	told   time.Time         // when it was last logged that the server is away
	away   error             // why the server is waited for; nil if it is not
}

const (
	// maxAnswer bounds an answer that is read, in bytes.
	maxAnswer = 32 << 20
	// firstPause and longestPause are before a server that is away is asked
	// again.
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// complainEvery is how often it is logged that it is away.
	complainEvery = time.Minute
)

// NewRemote makes the target of a server at an address; key may be empty.
func NewRemote(address, key string, logger *slog.Logger) (*Remote, error) {
	server, err := client.New(client.Options{Address: address, Flag: "--to", Key: key, MaxAnswer: maxAnswer})
	if err != nil {
		return nil, err
	}
	return &Remote{server: server, logger: logger, stored: map[string]uint64{}}, nil
}

// Close closes the connections.
func (r *Remote) Close() { r.server.Close() }

// Position implements Target.
func (r *Remote) Position(ctx context.Context, source string) (next uint64, known bool, err error) {
	var answer struct {
		Next uint64 `json:"next"`
	}
	status, err := r.do(ctx, client.Request{Method: http.MethodGet, Path: "/v1/sources/" + url.PathEscape(source)}, &answer)
	if status == http.StatusNotFound {
		answer.Next, err = 0, nil
	} else if err == nil {
		known = true
	}
	if err == nil {
		r.remember(source, answer.Next)
	}
	return answer.Next, known, err
}

func (r *Remote) remember(source string, next uint64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.stored[source] = next
}

// after is the position of the batch before.
func (r *Remote) after(source string) uint64 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.stored[source]
}

// Put implements Target. The server knows a batch by its positions, so that one
// that is sent again is stored once. A position without events can not be sent:
// the next events have it with them.
func (r *Remote) Put(ctx context.Context, b Batch) error {
	if b.Count == 0 {
		return nil
	}
	body, err := event.JSONLines(b.Payload, b.Count)
	if err != nil {
		return err
	}
	path := "/v1/events?source=" + url.QueryEscape(b.Source) + "&position=" + strconv.FormatUint(b.Next, 10) +
		"&after=" + strconv.FormatUint(r.after(b.Source), 10)
	status, err := r.do(ctx, client.Request{Method: http.MethodPost, Path: path, Type: "application/x-ndjson", Body: body}, nil)
	switch {
	case status == http.StatusConflict:
		return ErrUnsure
	case status == http.StatusBadRequest:
		r.logger.Warn("the server refused all events of a batch, and keeps them as dead letters", "error", err)
		return nil
	case err == nil:
		r.remember(b.Source, b.Next)
	}
	return err
}

const (
	// maxLetters is how many letters a server takes together.
	maxLetters = 1000
	// maxLetterBytes bounds the letters of one request: far below what a server
	// takes.
	maxLetterBytes = 4 << 20
)

// Reject implements Target.
func (r *Remote) Reject(ctx context.Context, list []Letter) error {
	var body api.DeadLettersBody
	bytes := 0
	for i := range list {
		letter := api.DeadLetterBody{Raw: string(list[i].Line), Error: list[i].Text()}
		body.Letters = append(body.Letters, letter)
		bytes += len(letter.Raw) + len(letter.Error)
		if i < len(list)-1 && len(body.Letters) < maxLetters && bytes < maxLetterBytes {
			continue
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		if _, err := r.do(ctx, client.Request{Method: http.MethodPost, Path: "/v1/deadletters", Type: "application/json", Body: text}, nil); err != nil {
			return err
		}
		body.Letters, bytes = body.Letters[:0], 0
	}
	return nil
}

// do sends a request, again while the server is overloaded or away.
func (r *Remote) do(ctx context.Context, request client.Request, answer any) (int, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		status, err := r.server.Do(ctx, request, answer)
		switch {
		case err == nil:
			r.answered(nil)
			return status, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case status != 0 && status != http.StatusTooManyRequests && status/100 != 5:
			r.answered(nil)
			var refused *client.Refusal
			if errors.As(err, &refused) {
				err = fmt.Errorf("%s %s: %w", request.Method, r.server.Address(), err)
			}
			return status, err
		}
		r.answered(err)
		if err := source.Sleep(ctx, pause); err != nil {
			return status, err
		}
	}
}

// Err implements Target.
func (r *Remote) Err() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.away
}

// answered takes up whether the server answers; that it is waited for is logged
// now and then.
func (r *Remote) answered(err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.away = err; err == nil {
		return
	}
	if now := time.Now(); now.Sub(r.told) >= complainEvery {
		r.told = now
		r.logger.Warn("waiting for the server; nothing is lost meanwhile", "error", err)
	}
}
