package savepoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"millrace/eventlog"
	savepoints "millrace/savepoint"
	"millrace/state"
)

// Recovery goes on from a stored checkpoint or savepoint where the state of a
// data directory is damaged.
type Recovery struct {
	Program Program
	Store   *savepoints.Store
	Data    string
	Log     *eventlog.Log // of the data directory, open
	Logger  *slog.Logger
}

// CanRecover says whether an error of opening state is one that another state
// helps against: it is damaged, or is gone and the log does not go back to the
// beginning.
func CanRecover(err error) bool {
	return errors.Is(err, state.ErrCorrupt) || errors.Is(err, eventlog.ErrBeforeStart)
}

// Run replaces the state, which must be closed, by the newest one in the store
// that is whole, that the program can load and that the log can bring up to
// date. The damaged one is kept beside it until Settled. It returns what it went
// on from, or the cause, with why nothing helps against it.
func (r *Recovery) Run(ctx context.Context, cause error) (*savepoints.Manifest, error) {
	logger := quiet(r.Logger)
	m, skipped, err := r.Store.FetchNewest(ctx, filepath.Join(r.Data, incomingFolder), func(m *savepoints.Manifest) error {
		if _, err := r.Program.check(m, false); err != nil {
			return err
		}
		return checkLog(m, r.Log)
	})
	for _, s := range skipped {
		logger.Error("a checkpoint can not be used", "id", s.ID, "error", s.Err)
	}
	if err != nil {
		return nil, r.hopeless(cause, err, skipped)
	}
	if err := rename(r.Data, incomingFolder, restoredFolder); err != nil {
		return nil, errors.Join(cause, err)
	}
	if err := setAside(r.Data, damagedFolder); err != nil {
		return nil, errors.Join(cause, err)
	}
	if err := Finish(r.Data); err != nil {
		return nil, errors.Join(cause, err)
	}
	logger.Error("the state directory is damaged; going on from a stored checkpoint, and the log after it",
		"error", cause, "id", m.ID, "block", m.Block, "store", r.Store, "blocks_to_replay", r.Log.Last()-m.Block)
	return m, nil
}

// hopeless says why there is nothing to go on from, and what can be done.
func (r *Recovery) hopeless(cause, err error, skipped []savepoints.Skipped) error {
	var why []string
	for _, s := range skipped {
		why = append(why, s.Err.Error())
	}
	text := "there is none"
	if len(why) > 0 {
		text = strings.Join(why, "; ")
	}
	if !errors.Is(err, savepoints.ErrNone) {
		text = err.Error()
	}
	advice := "restore a savepoint into an empty directory, see millrace savepoint restore --help"
	if r.Log.Start().Block == 0 {
		advice = "the log goes back to the beginning: move " + filepath.Join(r.Data, StateFolder) + " away, and the next start makes the state anew from it"
	}
	return fmt.Errorf("%w; no checkpoint in %s can be gone on from: %s; %s", cause, r.Store, text, advice)
}

// Settled is to be called once the state of a data directory has been loaded and
// brought up to date: what it has replaced, damaged or not, is removed.
func Settled(data string) error {
	return errors.Join(os.RemoveAll(filepath.Join(data, damagedFolder)), os.RemoveAll(filepath.Join(data, replacedFolder)))
}
