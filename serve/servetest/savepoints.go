package servetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/event"
	"millrace/serve/api"
	"millrace/serve/problem"
)

type savepoints struct{ *World }

// Create implements api.Savepoints, as do the methods below: the first one
// stays in progress, and what is called "doomed" fails.
func (w savepoints) Create(_ context.Context, name string) (api.Savepoint, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	s := api.Savepoint{ID: cmp.Or(name, fmt.Sprint("savepoint-", len(w.savepoints)+1)), Kind: "savepoint", State: "completed", Asked: Now}
	switch {
	case w.StoreErr != nil:
		return s, w.StoreErr
	case strings.Trim(s.ID, "abcdefghijklmnopqrstuvwxyz-0123456789") != "":
		return s, fmt.Errorf("%w: %q", api.ErrSavepointName, s.ID)
	case w.find(s.ID) >= 0:
		return s, fmt.Errorf("%w: there is a savepoint %s already", api.ErrSavepointConflict, s.ID)
	case s.ID == "doomed":
		s.State, s.Reason = "failed", "the disk is full"
	case len(w.savepoints) == 0:
		s.State = "in_progress"
	default:
		s.Asked, s.Created, s.Block, s.StreamTime, s.Watermark = time.Time{}, Now, w.block, w.streamTime, event.MinTime
		s.Events, s.Release, s.Files, s.Bytes = 7, "test", 3, 1000
		s.Stages, s.Config = []api.SavepointStage{{Name: "activity", Version: 2, Keys: 5, Bytes: 500}}, []byte(`{"version":1}`)
	}
	w.savepoints = append(w.savepoints, s)
	return s, nil
}

func (w savepoints) find(id string) int {
	return slices.IndexFunc(w.savepoints, func(s api.Savepoint) bool { return s.ID == id })
}

// List is what was created.
func (w savepoints) List(context.Context) ([]api.Savepoint, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.savepoints), w.StoreErr
}

// Get is one of them.
func (w savepoints) Get(_ context.Context, id string) (api.Savepoint, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	at := w.find(id)
	switch {
	case w.StoreErr != nil:
		return api.Savepoint{}, w.StoreErr
	case strings.Contains(id, "/"):
		return api.Savepoint{}, fmt.Errorf("%w: %q", api.ErrSavepointName, id)
	case at < 0:
		return api.Savepoint{}, fmt.Errorf("%w: %s", api.ErrSavepointUnknown, problem.Excerpt(id))
	}
	return w.savepoints[at], nil
}

// Dispose removes one that is not in progress.
func (w savepoints) Dispose(ctx context.Context, id string) error {
	s, err := w.Get(ctx, id)
	if err != nil {
		return err
	}
	if s.State == "in_progress" {
		return fmt.Errorf("%w: %s is being made", api.ErrSavepointConflict, id)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.savepoints = slices.Delete(w.savepoints, w.find(id), w.find(id)+1)
	return nil
}

// Restore begins to restore one that is completed: the first one stays in
// progress, and of what is called "of-another-log" it is refused.
func (w savepoints) Restore(ctx context.Context, id string, allow bool) (api.Restore, error) {
	s, err := w.Get(ctx, id)
	if err != nil {
		return api.Restore{}, err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	r := api.Restore{ID: fmt.Sprint("restore-", len(w.restores)+1), Savepoint: id, State: "in_progress", Asked: Now}
	switch {
	case s.State == "in_progress":
		return r, fmt.Errorf("%w: %s is being made", api.ErrSavepointConflict, id)
	case id == "of-another-log":
		return r, fmt.Errorf("%w: the event log is another one", api.ErrSavepointRefused)
	case allow:
		r.State, r.Finished, r.Block, r.Events, r.Keys, r.Replayed = "completed", Now.Add(time.Second), 4, 7, 5, 0
		r.Lost = []string{"of-another-release"}
	case len(w.restores) > 0:
		r.State, r.Finished, r.Reason = "failed", Now.Add(time.Second), "what is stored is damaged"
	}
	w.restores = append(w.restores, r)
	return r, nil
}

// Restores are those that were begun.
func (w savepoints) Restores() []api.Restore {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.restores)
}

// GetRestore is one of them.
func (w savepoints) GetRestore(id string) (api.Restore, error) {
	for _, r := range w.Restores() {
		if r.ID == id {
			return r, nil
		}
	}
	return api.Restore{}, fmt.Errorf("%w: %s", api.ErrRestoreUnknown, problem.Excerpt(id))
}
