// Package client asks a running server over its HTTP API, for the commands that
// can.
package client

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
)

// requestTimeout bounds one request.
const requestTimeout = time.Minute

// Options say which server is asked.
type Options struct {
	// Address is where it is, such as http://127.0.0.1:8080, or without http://.
	Address string
	// Flag is the flag that the address was given with, for the error if it is
	// none.
	Flag string
	Key  string // of the API; empty if the server asks for none
	// MaxAnswer bounds an answer that is read, in bytes.
	MaxAnswer int64
}

// Server is a running server.
type Server struct {
	base      string
	key       string
	maxAnswer int64
	client    *http.Client
}

// Refusal is the error of a server that did not do what it was asked for.
type Refusal struct {
	Status int
	// Says is its answer: the status in words, and the reason.
	Says string
}

// Error implements error.
func (r *Refusal) Error() string { return "the server refused: " + r.Says }

// Request is what is asked.
type Request struct {
	Method string
	Path   string // with the query
	Type   string // the media type of the body; empty if it goes without saying
	Body   []byte
}

// New makes a client of a server; it does not ask it anything.
func New(o Options) (*Server, error) {
	address := o.Address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%s %q: want the address of a server, such as http://127.0.0.1:8080", o.Flag, o.Address)
	}
	return &Server{
		base: strings.TrimRight(address, "/"), key: o.Key, maxAnswer: o.MaxAnswer,
		client: &http.Client{Timeout: requestTimeout},
	}, nil
}

// Address is where the server is, as a URL.
func (s *Server) Address() string { return s.base }

// Close closes the connections that are not in use.
func (s *Server) Close() { s.client.CloseIdleConnections() }

// Do sends a request once and reads its answer, of which nothing is wanted if
// it is nil. The status is 0 if there was no answer; a server that answers with
// anything but success is a *Refusal.
func (s *Server) Do(ctx context.Context, r Request, answer any) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, r.Method, s.base+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return 0, err
	}
	if r.Type != "" {
		request.Header.Set("Content-Type", r.Type)
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
		return 0, fmt.Errorf("no answer from %s: %w", s.base, err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, s.maxAnswer))
	if err != nil {
		return 0, err
	}
	if response.StatusCode/100 != 2 {
		return response.StatusCode, refusal(response, b)
	}
	if answer == nil {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.Unmarshal(b, answer)
}

func refusal(response *http.Response, answer []byte) *Refusal {
	says := response.Status + ": " + reason(answer)
	if response.StatusCode == http.StatusUnauthorized {
		says += "; give the key with --key"
	}
	return &Refusal{response.StatusCode, says}
}

// reason is why the server refused a request: what the problem in its answer
// says, or the answer itself if it is no problem.
func reason(answer []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
		return problem.Detail
	}
	return fmt.Sprintf("%.300s", bytes.TrimSpace(answer))
}
