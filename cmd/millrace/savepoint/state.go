package savepoint

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"millrace/eventlog"
	"millrace/state"
	"millrace/state/kind"
	"millrace/state/pebble"
)

// ErrUseless is the error of keeping state in memory where that loses
// something.
var ErrUseless = errors.New("state: memory is not possible here")

// OpenState opens the state of a data directory, whose log is open. The
// backend is called name; empty means the one that has written it, and memory if
// none has. State of another backend is converted first, so that any savepoint
// can be restored, and the setting changed.
func OpenState(data, name string, log *eventlog.Log, logger *slog.Logger) (state.Backend, error) {
	dir := filepath.Join(data, StateFolder)
	have, err := kind.Of(dir)
	if err != nil {
		return nil, err
	}
	name = cmp.Or(name, have, kind.Memory)
	switch {
	case name == kind.Memory && log.Start().Block > 0:
		return nil, fmt.Errorf("%w: %s was restored from a savepoint, so its log begins with block %d and what is before it is only in %s: choose pebble or file",
			ErrUseless, data, log.Start().Block+1, dir)
	case name == kind.Memory && have != "":
		return nil, fmt.Errorf("%w: %s has checkpoints, which would grow old, with what users have deleted since: remove it, as the log has everything, "+
			"or choose pebble or file", ErrUseless, dir)
	case have != "" && have != name:
		if err := convert(data, have, name, quiet(logger)); err != nil {
			return nil, fmt.Errorf("convert the state from %s to %s: %w", have, name, err)
		}
	}
	b, err := kind.Open(name, dir, kind.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	if err := checkFallback(b, log); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// checkFallback refuses an older checkpoint than the newest if the log can not
// bring it up to date. Whether it reaches back to it, the engine sees.
func checkFallback(b state.Backend, log *eventlog.Log) error {
	if kind.Skipped(b) == 0 {
		return nil
	}
	latest, err := b.Latest()
	if err != nil {
		return err
	}
	deletion, err := log.DeletionAfter(latest.Block)
	if err != nil {
		return err
	}
	if deletion > 0 {
		return fmt.Errorf("%w: the newest checkpoint, and the one before it, of block %d, can not be gone on from: block %d deletes a user, who would be back",
			state.ErrCorrupt, latest.Block, deletion)
	}
	return nil
}

// convert replaces the state of a data directory by the same in another
// backend. A process that ends meanwhile leaves the one or the other, whole, and
// what Finish removes.
func convert(data, from, to string, logger *slog.Logger) (err error) {
	old, err := kind.Open(from, filepath.Join(data, StateFolder), kind.Options{Logger: logger})
	if err != nil {
		return err
	}
	incoming := filepath.Join(data, incomingFolder)
	err = errors.Join(os.RemoveAll(incoming), copyState(old, to, incoming))
	if err = errors.Join(err, old.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(incoming))
	}
	if err := rename(data, incomingFolder, restoredFolder); err != nil {
		return err
	}
	logger.Info("the state was converted", "from", from, "to", to)
	return Finish(data)
}

// copyState makes a backend in a directory that has the latest checkpoint of
// another one, if there is one.
func copyState(from state.Backend, to, dir string) (err error) {
	b, err := kind.Open(to, dir, kind.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := kind.Copy(from, b); !errors.Is(err, state.ErrNone) {
		return err
	}
	return nil
}

// snapshot puts the latest checkpoint of a backend into a directory that is not
// there yet, as a Pebble database, whatever the backend is.
func snapshot(b state.Backend, dir string) (err error) {
	if own, ok := b.(*pebble.Backend); ok {
		_, err := own.Snapshot(dir)
		return err
	}
	if _, err := b.Latest(); err != nil {
		return err
	}
	whole := dir + ".copy"
	defer func() { err = errors.Join(err, os.RemoveAll(whole)) }()
	if err := copyState(b, kind.Pebble, whole); err != nil {
		return err
	}
	copied, err := pebble.Open(whole, pebble.Options{})
	if err != nil {
		return err
	}
	_, err = copied.Snapshot(dir)
	return errors.Join(err, copied.Close())
}
