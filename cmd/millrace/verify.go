package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"millrace/catalog/database"
	"millrace/cmd/millrace/savepoint"
	"millrace/cmd/millrace/sqldata"
	"millrace/engine/embedded"
	"millrace/eventlog"
	"millrace/operator"
	"millrace/state"
	statememory "millrace/state/memory"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

// mostDifferences is how many differences verify lists.
const mostDifferences = 100

// verifyResult is what millrace verify --json prints.
type verifyResult struct {
	Equal       bool                  `json:"equal"`
	Events      uint64                `json:"events"`     // that count
	Duplicates  uint64                `json:"duplicates"` // that were ignored
	Blocks      uint64                `json:"blocks"`
	Checkpoint  uint64                `json:"checkpoint_block"`
	Shards      int                   `json:"shards"`
	Differences []embedded.Difference `json:"differences"`
	Notes       []string              `json:"notes,omitempty"` // on operators that the checkpoint has nothing of
}

func newVerify() *cobra.Command {
	var data, path, base, store string
	var shards int
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the stored events give the stored state and answers, bit for bit",
		Long: `Verify recovers the data directory as the server would (checkpoint, then the
blocks after it), replays the whole log into a fresh engine with another number
of shards, and compares every state of every operator, every answer of every
view and the catalogue. It exits 0 only if all are equal. The server must be
stopped.

The log of a directory that a savepoint was restored into begins after it: there the
replay begins with that savepoint, --savepoint ID.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if shards < 1 || shards > operator.KeyGroups {
				return fmt.Errorf("--shards %d: want 1 to %d", shards, operator.KeyGroups)
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if !c.Flags().Changed("data") {
				data = cfg.Data
			}
			begin, done, err := replayBase(c.Context(), base, cmp.Or(store, cfg.CheckpointStore), data)
			if err != nil {
				return err
			}
			result, err := verifyCatalogue(c.Context(), cfg.Catalog, data, shards, begin)
			err = errors.Join(err, done())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), result)
			} else {
				err = result.print(c)
			}
			if err == nil && !result.Equal {
				return exitCode(1)
			}
			return err
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file, for where the data is")
	c.Flags().StringVar(&data, "data", defaultConfig().Data, "data directory")
	c.Flags().IntVar(&shards, "shards", 3, "number of shards of the fresh engine")
	c.Flags().StringVar(&base, "savepoint", "", "savepoint to begin the replay with, in place of the beginning")
	c.Flags().StringVar(&store, "to", "", "where that savepoint is kept (default as millrace savepoint has it)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON line")
	return c
}

func (r verifyResult) print(c *cobra.Command) error {
	for _, d := range r.Differences {
		fmt.Fprintf(c.OutOrStdout(), "%s %s, key %q: %s\n", d.Kind, d.Name, d.Key, d.Detail)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(c.OutOrStdout(), "%s\n", note)
	}
	word := "equal"
	if !r.Equal {
		word = "NOT EQUAL"
	}
	repeats := ""
	if r.Duplicates > 0 {
		repeats = " and " + counted(int(r.Duplicates), "ignored repeat", "ignored repeats")
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %d events%s in %d blocks, checkpoint at block %d, replayed with %d shards\n",
		word, r.Events, repeats, r.Blocks, r.Checkpoint, r.Shards)
	return err
}

// openStored opens the log of a data directory that should be there, to be read.
func openStored(data string) (*eventlog.Log, error) {
	return openLog(data, eventlog.Options{ReadOnly: true})
}

// openLog opens the log of a data directory that should be there.
func openLog(data string, o eventlog.Options) (*eventlog.Log, error) {
	if err := checkData(data); err != nil {
		return nil, err
	}
	if _, err := os.Stat(data); err != nil {
		return nil, fmt.Errorf("--data %s: no such directory; give the one of millrace serve or millrace replay", data)
	}
	log, err := eventlog.Open(filepath.Join(data, logFolder), o)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		return nil, fmt.Errorf("--data %s: holds no event log; give the directory of millrace serve or millrace replay", data)
	case errors.Is(err, eventlog.ErrInUse):
		return nil, fmt.Errorf("%w; stop the server first", err)
	}
	return log, err
}

// replayBase is the state that a replay begins with: none, or that of a
// savepoint, which is fetched. done removes it.
func replayBase(ctx context.Context, id, address, data string) (base state.Backend, done func() error, err error) {
	if id == "" {
		return statememory.New(), func() error { return nil }, nil
	}
	store, err := savepoint.OpenStore(address, data)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "millrace-verify-*")
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	if _, err := store.Fetch(ctx, id, filepath.Join(dir, stateFolder)); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	backend, err := pebble.Open(filepath.Join(dir, stateFolder), pebble.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return backend, func() error { return errors.Join(backend.Close(), remove()) }, nil
}

// verify is verifyCatalogue of a data directory that has its catalogue in it.
func verify(ctx context.Context, data string, shards int, base state.Backend) (verifyResult, error) {
	return verifyCatalogue(ctx, database.Default(), data, shards, base)
}

// verifyCatalogue compares what a data directory recovers to with a clean
// replay, which begins with the state base.
func verifyCatalogue(ctx context.Context, c database.Config, data string, shards int, base state.Backend) (result verifyResult, err error) {
	log, err := openStored(data)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	store, err := savepoint.OpenState(data, "", log, nil)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	held := &keyCounter{Backend: store, keys: map[string]int{}}
	stored := embedded.Options{Build: buildProgram, Log: log, State: held, Views: viewmemory.New(), Duplicates: duplicates()}
	sql, err := sqldata.OpenStored(ctx, c, data)
	if err != nil {
		return result, err
	}
	if sql != nil {
		defer func() { err = errors.Join(err, sql.Close()) }()
		stored.Catalog = sql
	}
	live, err := embedded.Inspect(stored)
	if err != nil {
		return result, fmt.Errorf("recover %s: %w", data, err)
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	fresh, err := embedded.Inspect(embedded.Options{
		Build: buildProgram, Log: log, State: base, Views: viewmemory.New(), Duplicates: duplicates(), Shards: shards,
	})
	if errors.Is(err, eventlog.ErrBeforeStart) {
		return result, fmt.Errorf("%s was restored from a savepoint, and its log begins with block %d: give that savepoint with --savepoint ID --to STORE",
			data, log.Start().Block+1)
	}
	if err != nil {
		return result, fmt.Errorf("replay %s: %w", data, err)
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()

	differences, err := embedded.Compare(live, fresh, mostDifferences)
	stats := fresh.Stats()
	result = verifyResult{
		Equal: len(differences) == 0, Events: stats.Events, Duplicates: stats.Duplicates, Blocks: stats.Block, Checkpoint: live.RecoveredFrom(),
		Shards: shards, Differences: append([]embedded.Difference{}, differences...),
	}
	result.Notes = held.notes(&result)
	return result, err
}

// keyCounter is a state backend that counts the keys of each stage that are
// loaded.
type keyCounter struct {
	state.Backend
	keys map[string]int
}

// Load implements state.Backend.
func (k *keyCounter) Load(fn func(stage string, key, value []byte) error) error {
	return k.Backend.Load(func(stage string, key, value []byte) error {
		k.keys[stage]++
		return fn(stage, key, value)
	})
}

// notes says which operators that differ the checkpoint has nothing of: one that
// is newer than the checkpoint began empty there.
func (k *keyCounter) notes(r *verifyResult) []string {
	if r.Checkpoint == 0 {
		return nil
	}
	var notes []string
	told := map[string]bool{}
	for _, d := range r.Differences {
		if d.Kind != "operator" || k.keys[d.Name] > 0 || told[d.Name] {
			continue
		}
		told[d.Name] = true
		notes = append(notes, fmt.Sprintf("operator %s: the checkpoint at block %d has nothing of it; an operator that is newer than the checkpoint begins empty there, so it differs from the replay, which has it from the beginning",
			d.Name, r.Checkpoint))
	}
	return notes
}
