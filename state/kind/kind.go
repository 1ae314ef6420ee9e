// Package kind chooses among the state backends by name.
package kind

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"millrace/operator"
	"millrace/state"
	"millrace/state/file"
	"millrace/state/memory"
	"millrace/state/pebble"
)

// The names of the backends.
const (
	Pebble = "pebble" // a database on disk
	File   = "file"   // in memory, its checkpoints in files
	Memory = "memory" // nothing outlives the process
)

// retained is how many checkpoints a backend in files keeps restorable.
const retained = 3

// Options are those of all backends; the zero value is good.
type Options struct {
	Cache    int64        // of pebble
	Logger   *slog.Logger // nil = nowhere
	ReadOnly bool         // of pebble: nothing is changed but the file of its lock
}

// Known reports whether a backend is called so.
func Known(name string) bool { return slices.Contains([]string{Pebble, File, Memory}, name) }

// Open opens the backend of a name in a directory, which Memory has no use for.
func Open(name, dir string, o Options) (state.Backend, error) {
	switch name {
	case Pebble:
		return opened(pebble.Open(dir, pebble.Options{Cache: o.Cache, Logger: o.Logger, ReadOnly: o.ReadOnly}))
	case File:
		return opened(file.Open(dir, file.Options{Retain: retained, Logger: o.Logger}))
	case Memory:
		return memory.New(), nil
	}
	return nil, fmt.Errorf("state backend %q: want %s, %s or %s", name, Pebble, File, Memory)
}

// opened is a backend, or none: a nil pointer in an interface is not nil.
func opened[B state.Backend](b B, err error) (state.Backend, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Of is which backend has written a directory, empty if none has.
func Of(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		if pebble.IsOurs(e.Name()) {
			return Pebble, nil
		}
		if file.IsOurs(e.Name()) {
			return File, nil
		}
	}
	return "", nil
}

// Skipped is how many checkpoints a backend has passed over when it was opened,
// as they were damaged: its state is an older one.
func Skipped(b state.Backend) int {
	if f, ok := b.(*file.Backend); ok {
		return f.Skipped()
	}
	return 0
}

// Copy commits all of the latest checkpoint of a backend to an empty one. What
// is committed to the first meanwhile is not in it; the whole state is in memory
// for a moment. It is state.ErrNone where there is no checkpoint.
func Copy(from, to state.Backend) error {
	for {
		latest, err := from.Latest()
		if err != nil {
			return err
		}
		var again *state.Checkpoint
		if err := from.Load(collect(latest)); err != nil {
			return err
		}
		if again, err = from.Latest(); err != nil {
			return err
		}
		if again.Block != latest.Block || again.Time != latest.Time {
			continue // keys and record may be of two checkpoints
		}
		_, err = to.Commit(latest)
		return err
	}
}

// collect puts what is loaded into the tables of a checkpoint.
func collect(c *state.Checkpoint) func(stage string, key, value []byte) error {
	return func(stage string, key, value []byte) error {
		if n := len(c.Tables); n == 0 || c.Tables[n-1].Stage != stage { // keys come by stage
			c.Tables = append(c.Tables, state.Table{Stage: strings.Clone(stage)})
		}
		t := &c.Tables[len(c.Tables)-1]
		t.Writes = append(t.Writes, write(key, value))
		return nil
	}
}

func write(key, value []byte) operator.StateWrite {
	return operator.StateWrite{Key: slices.Clone(key), Value: append([]byte{}, value...)} // a nil value would delete
}
