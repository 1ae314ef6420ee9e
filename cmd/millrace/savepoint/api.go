package savepoint

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/objectstore"
	savepoints "millrace/savepoint"
	"millrace/serve/api"
	"millrace/state"
)

// API is a Service in the words of the HTTP API, which tell nobody a path or
// an address of the server's.
type API struct{ Service *Service }

// Create implements api.Savepoints, as do the methods below.
func (a API) Create(ctx context.Context, name string) (api.Savepoint, error) {
	s, err := a.Service.Create(ctx, name)
	if err != nil {
		return api.Savepoint{}, worded(err)
	}
	return s.api(), nil
}

// List is what is stored and what is being made.
func (a API) List(ctx context.Context) ([]api.Savepoint, error) {
	list, err := a.Service.List(ctx)
	if err != nil {
		return nil, worded(err)
	}
	out := make([]api.Savepoint, len(list))
	for i, s := range list {
		out[i] = s.api()
	}
	return out, nil
}

// Get is one of them.
func (a API) Get(ctx context.Context, id string) (api.Savepoint, error) {
	s, err := a.Service.Get(ctx, id)
	if err != nil {
		return api.Savepoint{}, worded(err)
	}
	return s.api(), nil
}

// Dispose removes one.
func (a API) Dispose(ctx context.Context, id string) error {
	return worded(a.Service.Dispose(ctx, id))
}

// api is the status in the API's words.
func (s *Status) api() api.Savepoint {
	out := api.Savepoint{ID: s.ID, Kind: string(s.Kind), State: string(s.Progress), Asked: s.Started}
	if s.Err != nil {
		out.Reason = reason(s.Err)
	}
	m := s.Manifest
	if m == nil {
		return out
	}
	out.Created, out.Block, out.StreamTime, out.Watermark, out.Events = m.Created, m.Block, m.StreamTime, m.Watermark, m.Events
	out.Release, out.Files, out.Bytes, out.Config = m.Release, len(m.Files), m.Bytes(), m.Config
	for _, stage := range m.Stages {
		out.Stages = append(out.Stages, api.SavepointStage(stage))
	}
	return out
}

// reason says why something failed, without paths and addresses. The error
// itself is in the server's log.
func reason(err error) string {
	for _, c := range []struct {
		is   error
		text string
	}{
		{state.ErrNone, "there is no checkpoint yet: nothing was ever sent"},
		{state.ErrCorrupt, "what is stored is damaged"},
		{state.ErrNewer, "it was made by a later release"},
		{savepoints.ErrExists, "there is one of that name already"},
		{context.Canceled, "the server was stopped"},
		{embedded.ErrClosed, "the server was stopped"},
		{embedded.ErrFailed, "the engine has stopped because of an error"},
		{syscall.ENOSPC, "the disk is full"},
		{objectstore.ErrDenied, "the object store denies access"},
		{objectstore.ErrUnavailable, "the object store does not work at present"},
		{eventlog.ErrUnavailable, "the event log does not work at present"},
	} {
		if errors.Is(err, c.is) {
			return c.text
		}
	}
	return "the server's log says why"
}

// worded is an error as one of the API's.
func worded(err error) error {
	if err == nil {
		return nil
	}
	kind, text := api.ErrUnavailable, reason(err)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, savepoints.ErrID):
		kind = api.ErrSavepointName
	case errors.Is(err, savepoints.ErrNotFound):
		return fmt.Errorf("%w", api.ErrSavepointUnknown)
	case errors.Is(err, savepoints.ErrExists):
		kind = api.ErrSavepointConflict
	case errors.Is(err, ErrBusy):
		kind, text = api.ErrSavepointConflict, err.Error()
	}
	return &told{fmt.Sprintf("%v: %s", kind, text), kind, err}
}

// told is an error of which clients are told other words than its own.
type told struct {
	words string
	kind  error
	err   error
}

// Error is what clients are told.
func (t *told) Error() string { return t.words }

// Unwrap gives what is wrong as well.
func (t *told) Unwrap() []error { return []error{t.kind, t.err} }
