package savepoint

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"millrace/cmd/millrace/client"
	"millrace/serve/api"
	sources "millrace/source"
)

const (
	// pollEvery is how often a server is asked whether a savepoint is made.
	pollEvery = 200 * time.Millisecond
	// awayFor is how long a server that restores may give no answer at all.
	awayFor = time.Minute
	// maxAnswer bounds an answer that is read.
	maxAnswer = 64 << 20
)

// now is the clock of the commands.
var now = time.Now

// server is a running server, asked over its HTTP API.
type server struct{ *client.Server }

// Ask gets the answer of a running server to GET path, with its key if it has
// any.
func Ask(ctx context.Context, address, key, path string, answer any) error {
	s, err := newServer(address, key)
	if err != nil {
		return err
	}
	return s.do(ctx, http.MethodGet, path, nil, answer)
}

func newServer(address, key string) (*server, error) {
	s, err := client.New(client.Options{Address: address, Flag: "--url", Key: key, MaxAnswer: maxAnswer})
	if err != nil {
		return nil, err
	}
	return &server{s}, nil
}

// create asks for a savepoint and waits until it is made.
func (s *server) create(ctx context.Context, name string) (api.SavepointRecord, error) {
	var r api.SavepointRecord
	body, err := json.Marshal(api.SavepointBody{Name: name})
	if err != nil {
		return r, err
	}
	if err := s.do(ctx, http.MethodPost, "/v1/savepoints", body, &r); err != nil {
		return r, err
	}
	for r.State == string(InProgress) {
		if err := sources.Sleep(ctx, pollEvery); err != nil {
			return r, err
		}
		if r, err = s.get(ctx, r.ID); err != nil {
			return r, err
		}
	}
	if r.State == string(Failed) {
		return r, fmt.Errorf("%s was not made: %s", r.ID, r.Reason)
	}
	return r, nil
}

func (s *server) get(ctx context.Context, id string) (r api.SavepointRecord, err error) {
	err = s.do(ctx, http.MethodGet, "/v1/savepoints/"+url.PathEscape(id), nil, &r)
	return r, err
}

func (s *server) list(ctx context.Context) ([]api.SavepointRecord, error) {
	var answer struct {
		Savepoints []api.SavepointRecord `json:"savepoints"`
	}
	err := s.do(ctx, http.MethodGet, "/v1/savepoints", nil, &answer)
	return answer.Savepoints, err
}

func (s *server) dispose(ctx context.Context, id string) error {
	return s.do(ctx, http.MethodDelete, "/v1/savepoints/"+url.PathEscape(id), nil, &struct{}{})
}

// restore asks for a savepoint to be restored and waits until the server answers
// with it, or says that it did not succeed. Meanwhile it starts again.
func (s *server) restore(ctx context.Context, id string, allow bool) (r api.RestoreRecord, err error) {
	body, err := json.Marshal(api.RestoreBody{AllowNonRestoredState: allow})
	if err != nil {
		return r, err
	}
	if err := s.do(ctx, http.MethodPost, "/v1/savepoints/"+url.PathEscape(id)+"/restore", body, &r); err != nil {
		return r, err
	}
	path, answered := "/v1/restores/"+url.PathEscape(r.ID), time.Now()
	for r.State == string(InProgress) {
		if err := sources.Sleep(ctx, pollEvery); err != nil {
			return r, err
		}
		status, err := s.Do(ctx, client.Request{Method: http.MethodGet, Path: path}, &r)
		switch {
		case err == nil || status == http.StatusServiceUnavailable: // it is starting
			answered = time.Now()
		case status == http.StatusNotFound:
			return r, fmt.Errorf("the process of the server ended while it restored %s, and another one answers: its log says which state it has", id)
		case status > 0 || time.Since(answered) > awayFor || ctx.Err() != nil:
			return r, err
		}
	}
	if r.State == string(Failed) {
		return r, fmt.Errorf("%s was not restored, the server has the state from before: %s", id, r.Reason)
	}
	return r, nil
}

// do sends a request and reads its answer.
func (s *server) do(ctx context.Context, method, path string, body []byte, answer any) error {
	_, err := s.Do(ctx, client.Request{Method: method, Path: path, Body: body}, answer)
	return err
}
