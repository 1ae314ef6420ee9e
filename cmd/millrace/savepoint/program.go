// Package savepoint is what the command line and the server do with savepoints:
// take them of a running server or of a data directory, restore them into
// another one, and go on from one where a state directory is damaged.
package savepoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/objectstore/byurl"
	savepoints "millrace/savepoint"
	"millrace/state"
	"millrace/state/pebble"
)

// The parts of a data directory.
const (
	LogFolder   = "log"
	StateFolder = "state"
	CatalogFile = "catalog.db"
	// StoreFolder is where savepoints are kept unless the configuration says
	// otherwise.
	StoreFolder = "savepoints"

	snapshotsFolder = "snapshots"      // of state that is being stored
	incomingFolder  = "state.incoming" // state that is being fetched
	restoredFolder  = "state.restored" // whole, about to become the state
	replacedFolder  = "state.replaced" // by a restore, until what was restored has been opened
	damagedFolder   = "state.damaged"  // until the state that replaces it has proved good
)

// Program is the product that state belongs to.
type Program struct {
	// Build makes the program of a configuration record.
	Build func(config []byte) (*embedded.Program, error)
	// Duplicates is as in embedded.Options.
	Duplicates embedded.Duplicates
	// Release is the version of the product.
	Release string
}

// OpenStore opens the object store at an address, or that of the data directory
// if it is empty.
func OpenStore(address, data string) (*savepoints.Store, error) {
	if address == "" {
		address = filepath.Join(data, StoreFolder)
	}
	objects, err := byurl.Open(address)
	if err != nil {
		return nil, err
	}
	return savepoints.New(objects), nil
}

// source is where savepoints are taken of.
type source struct {
	program   Program
	state     state.Backend
	log       *eventlog.Log
	snapshots string // the folder for snapshots
}

// take stores the latest checkpoint under an id.
func (s *source) take(ctx context.Context, store *savepoints.Store, kind savepoints.Kind, id string) (m *savepoints.Manifest, err error) {
	if err := os.MkdirAll(s.snapshots, 0o755); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.snapshots, id)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := snapshot(s.state, dir); err != nil {
		return nil, err
	}
	contents, err := s.describe(dir)
	if err != nil {
		return nil, err
	}
	return store.Create(ctx, kind, id, dir, contents)
}

// describe reads a snapshot. That also shows that it can be read.
func (s *source) describe(dir string) (c savepoints.Contents, err error) {
	backend, err := pebble.Open(dir, pebble.Options{ReadOnly: true})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	d, err := embedded.Describe(backend, s.program.Build)
	if err != nil {
		return c, err
	}
	at, err := blockTime(s.log, d.Block)
	return savepoints.Contents{
		Block: d.Block, BlockTime: at, StreamTime: d.StreamTime, Watermark: d.Watermark, Events: d.Events,
		Release: s.program.Release, Config: d.Config, Stages: stages(d.Stages),
	}, err
}

// blockTime is the time of a block of the log, or of the one that it begins
// after.
func blockTime(log *eventlog.Log, number uint64) (event.Time, error) {
	if start := log.Start(); number == start.Block {
		return start.Time, nil
	}
	b, err := log.Read(number)
	if err != nil {
		return 0, err
	}
	return b.Time, nil
}

func stages(list []embedded.StageState) []savepoints.Stage {
	out := make([]savepoints.Stage, len(list))
	for i, s := range list {
		out[i] = savepoints.Stage(s)
	}
	return out
}

// check says whether the program can take over what is stored, and which
// stages would be lost.
func (p *Program) check(m *savepoints.Manifest, allowMissing bool) (lost []string, err error) {
	own, err := embedded.Stages(p.Build, m.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", m.ID, ErrConfiguration, err)
	}
	if lost, err = savepoints.CheckStages(m.Stages, stages(own), allowMissing); err != nil {
		return nil, fmt.Errorf("%s: %w", m.ID, err)
	}
	return lost, nil
}

// quiet is a logger for what nobody is to be told of.
func quiet(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// isUnreadable says whether what is stored is there but can not be read.
func isUnreadable(err error) bool {
	return errors.Is(err, state.ErrCorrupt) || errors.Is(err, state.ErrNewer)
}
