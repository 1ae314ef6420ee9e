package savepoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"millrace/serve/api"
)

// errServer is the error of a server that refused a request.
var errServer = errors.New("the server refused")

const (
	// pollEvery is how often a server is asked whether a savepoint is made.
	pollEvery = 200 * time.Millisecond
	// requestTimeout bounds one request.
	requestTimeout = time.Minute
	// maxAnswer bounds an answer that is read.
	maxAnswer = 64 << 20
)

// now is the clock of the commands.
var now = time.Now

// server is a running server, asked over its HTTP API.
type server struct {
	base   string
	key    string
	client *http.Client
}

// Ask gets the answer of a running server to GET path, with its key if it has
// any.
func Ask(ctx context.Context, address, key, path string, answer any) error {
	s, err := newServer(address, key)
	if err != nil {
		return err
	}
	return s.do(ctx, http.MethodGet, path, nil, answer)
}

func newServer(base, key string) (*server, error) {
	address := base
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("--url %q: want the address of a server, such as http://127.0.0.1:8080", base)
	}
	return &server{base: strings.TrimRight(address, "/"), key: key, client: &http.Client{Timeout: requestTimeout}}, nil
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
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return r, ctx.Err()
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

// do sends a request and reads its answer.
func (s *server) do(ctx context.Context, method, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if s.key != "" {
		request.Header.Set("X-API-Key", s.key)
	}
	response, err := s.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) && ctx.Err() == nil {
			err = failed.Err
		}
		return fmt.Errorf("no answer from %s: %w", s.base, err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode/100 == 2 {
		return json.Unmarshal(b, answer)
	}
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
		problem.Detail = fmt.Sprintf("%.300s", bytes.TrimSpace(b))
	}
	err = fmt.Errorf("%w: %s: %s", errServer, response.Status, problem.Detail)
	if response.StatusCode == http.StatusUnauthorized {
		err = fmt.Errorf("%w; give the key with --key", err)
	}
	return err
}
