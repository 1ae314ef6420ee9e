package savepoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"millrace/engine/embedded"
	"millrace/engine/pipeline"
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

// Restore begins to restore one.
func (a API) Restore(ctx context.Context, id string, allowNonRestoredState bool) (api.Restore, error) {
	r, err := a.Service.Restore(ctx, id, allowNonRestoredState)
	if err != nil {
		return api.Restore{}, worded(err)
	}
	return r.api(), nil
}

// Restores are the latest restores.
func (a API) Restores() []api.Restore {
	list := a.Service.options.Restores.List()
	out := make([]api.Restore, len(list))
	for i := range list {
		out[i] = list[i].api()
	}
	return out
}

// GetRestore is one of them.
func (a API) GetRestore(id string) (api.Restore, error) {
	for _, r := range a.Restores() {
		if r.ID == id {
			return r, nil
		}
	}
	return api.Restore{}, fmt.Errorf("%w; a server remembers the latest until its process ends", api.ErrRestoreUnknown)
}

// api is the status in the API's words.
func (r *RestoreStatus) api() api.Restore {
	out := api.Restore{ID: r.ID, Savepoint: r.Savepoint, State: string(r.Progress), Asked: r.Asked, Finished: r.Finished}
	if r.Err != nil {
		out.Reason = reason(r.Err)
		if errors.Is(r.Err, ErrUndone) {
			out.Reason = ErrUndone.Error() + ": " + out.Reason
		}
	}
	out.Block, out.Events, out.Keys, out.Replayed, out.Lost = r.Block, r.Events, uint64(r.Keys), r.Replayed, r.Lost
	return out
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
	if errors.Is(err, ErrNotItsLog) { // which names blocks only
		text, _, _ := strings.Cut(err.Error(), "\n")
		return text
	}
	for _, c := range []struct {
		is   error
		text string
	}{
		{state.ErrNone, "there is no checkpoint yet: nothing was ever sent"},
		{state.ErrCorrupt, "what is stored is damaged"},
		{state.ErrNewer, "it was made by a later release"},
		{savepoints.ErrExists, "there is one of that name already"},
		{savepoints.ErrNotFound, "there is no such savepoint any more"},
		{context.Canceled, "the server was stopped"},
		{embedded.ErrClosed, "the server was stopped"},
		{pipeline.ErrOperator, "an operator failed on the log after it"},
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
	case errors.Is(err, ErrBusy) || errors.Is(err, ErrRestoring):
		kind, text = api.ErrSavepointConflict, err.Error()
	case errors.Is(err, ErrInMemory) || errors.Is(err, state.ErrNewer) || errors.Is(err, ErrNotItsLog) || errors.Is(err, ErrConfiguration):
		kind, text = api.ErrSavepointRefused, err.Error()
	case errors.Is(err, state.ErrStageMissing):
		kind, text = api.ErrSavepointRefused, err.Error()+"; allow_non_restored_state drops it"
	case errors.Is(err, state.ErrCorrupt):
		kind = api.ErrSavepointRefused
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
