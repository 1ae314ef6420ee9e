package savepoint

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/eventlog"
	"millrace/operator"
	"millrace/state"
)

// restoreResult is what millrace savepoint restore --json prints.
type restoreResult struct {
	ID       string   `json:"id"`
	Data     string   `json:"data,omitempty"`       // or
	Server   string   `json:"server,omitempty"`     // its address
	Restore  string   `json:"restore_id,omitempty"` // the server's
	Block    uint64   `json:"block"`
	Events   uint64   `json:"events"`
	Keys     int      `json:"keys"`
	Shards   int      `json:"shards"`
	Lost     []string `json:"non_restored_stages"`
	Replay   uint64   `json:"blocks_to_replay"`
	Replayed uint64   `json:"blocks_replayed,omitempty"` // by the server
}

func newRestore(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use:   "restore ID",
		Short: "Make a data directory of a savepoint, or put a directory's or a server's state back",
		Long: `Restore makes a data directory of a savepoint. The directory must not be there, or be
empty (but for savepoints of its own). Its log begins after the savepoint's block:
events from before are not in it, nor are dead letters. The server is started on it
as on any other, with any number of shards.

With --force the directory may hold data, of the log that the savepoint was made
of. Its state is replaced; its log stays as it is, and the next start replays what
comes after the savepoint's block, with the operators of this release. That mends
state, and does not take back events. It is refused if the log is another one, if it
does not reach back to the savepoint or does not reach it, and if it deletes a user
after it: the log names deleted users no more, so they would be back.

State of a stage that this release does not have is an error, unless its loss is
allowed with --allow-non-restored-state. State in a newer format than this release
knows is always one. Stages that are new begin empty.

Everything is verified before the directory is touched: each checksum, and that
this release can load the state. No server may be running on the directory.

With --url a running server does to its own directory what --force does to one
without a server. It refuses at once what it can see to be refused, fetches the
savepoint while it goes on, starts again in the same process, and answers 503
until the log is replayed; what it acknowledges meanwhile is in the log and counts.
If it does not succeed the server has the state from before.`,
		Example: `  millrace savepoint restore before-upgrade --data ./elsewhere --to ./data/savepoints
  millrace savepoint restore before-upgrade --data ./data --force
  millrace savepoint restore before-upgrade --url http://127.0.0.1:8080`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.restore(c, args[0]) },
	}
	f.common(c)
	f.remote(c)
	c.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "from" { // which one would rather say here
			name = "to"
		}
		return pflag.NormalizedName(name)
	})
	c.Flags().BoolVar(&f.force, "force", false, "replace the state of a directory that holds data")
	c.Flags().BoolVar(&f.allow, "allow-non-restored-state", false, "drop the state of stages that this release does not have")
	c.Flags().IntVar(&f.shards, "shards", 0, "number of shards to load the state with, as a proof that it can be; 0 = one for each core")
	return c
}

func (f *flags) restore(c *cobra.Command, id string) error {
	if f.shards < 0 || f.shards > operator.KeyGroups {
		return fmt.Errorf("--shards %d: want 0 to %d", f.shards, operator.KeyGroups)
	}
	s, err := f.server(c)
	if err != nil {
		return err
	}
	if s != nil {
		return f.restoreServer(c, s, id)
	}
	store, err := f.resolve()
	if err != nil {
		return err
	}
	r := Restore{
		Program: f.wiring.Program, Store: store, ID: id, Data: f.data,
		Force: f.force, AllowNonRestoredState: f.allow, Shards: f.shards,
	}
	done, err := r.Run(c.Context())
	if err != nil {
		return f.restoreError(err)
	}
	m := done.Manifest
	result := restoreResult{
		ID: m.ID, Data: f.data, Block: m.Block, Events: m.Events, Keys: done.Keys, Shards: f.shards,
		Lost: append([]string{}, done.Lost...), Replay: done.Replay,
	}
	return f.print(c, result, result.text())
}

// restoreServer asks a server to restore.
func (f *flags) restoreServer(c *cobra.Command, s *server, id string) error {
	if f.shards > 0 {
		return errors.New("--shards: the server loads the state with its own; leave it out with --url")
	}
	done, err := s.restore(c.Context(), id, f.allow)
	if err != nil {
		return err
	}
	result := restoreResult{
		ID: done.Savepoint, Server: s.Address(), Restore: done.ID, Block: done.Block, Events: done.Events, Keys: int(done.Keys),
		Lost: append([]string{}, done.Lost...),
	}
	if done.Replayed != nil {
		result.Replayed = *done.Replayed
	}
	return f.print(c, result, result.text())
}

func (r restoreResult) text() string {
	text := fmt.Sprintf("%s is restored into %s: block %d, %d events, %d keys", r.ID, cmp.Or(r.Data, r.Server), r.Block, r.Events, r.Keys)
	if len(r.Lost) > 0 {
		text += "; without the state of " + strings.Join(r.Lost, ", ")
	}
	if r.Replay > 0 {
		text += fmt.Sprintf("; the next start replays %d blocks", r.Replay)
	}
	if r.Replayed > 0 {
		text += fmt.Sprintf("; the server has replayed %d blocks", r.Replayed)
	}
	return text + "\n"
}

// restoreError says what to do about what stands in the way.
func (f *flags) restoreError(err error) error {
	switch {
	case errors.Is(err, ErrNotEmpty):
		return fmt.Errorf("%w; give another one, or --force to replace its state and have its log replayed after the savepoint's block", err)
	case errors.Is(err, state.ErrStageMissing):
		return fmt.Errorf("%w; --allow-non-restored-state drops it", err)
	case errors.Is(err, state.ErrNewer):
		return fmt.Errorf("%w; restore it with the release that made it, or a later one", err)
	case errors.Is(err, eventlog.ErrInUse) || errors.Is(err, state.ErrInUse):
		return fmt.Errorf("a server is running on %s; stop it first, or ask it: millrace savepoint restore ID --url http://HOST:PORT", f.data)
	case errors.Is(err, eventlog.ErrNotFound):
		return fmt.Errorf("%s holds something, but no event log: give an empty directory", f.data)
	}
	return err
}
