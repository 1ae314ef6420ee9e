package savepoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"millrace/catalog/sqlite"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/eventlog"
	savepoints "millrace/savepoint"
	"millrace/serve/api"
	"millrace/state"
	viewmemory "millrace/view/memory"
)

// Wiring is what the commands need of the rest of the command line.
type Wiring struct {
	Program Program
	// Settings reads the configuration: where the data is, and the address of the
	// store, empty if it is not set.
	Settings func(path string) (data, store string, err error)
	// CheckData says what is wrong with the name of a data directory.
	CheckData func(dir string) error
}

// flags are those of all the commands; each has some of them.
type flags struct {
	wiring Wiring

	config, data, to, url, key string
	json, verify, force, allow bool
	shards                     int
}

// New makes the command.
func New(w Wiring) *cobra.Command {
	c := &cobra.Command{
		Use:   "savepoint",
		Short: "Keep the state under a name, elsewhere, and restore it",
		Long: `A savepoint is the state after one block of the log, with all that is needed to
restore it: on another machine, with another number of shards, by a later release.
It is kept in an object store: the folder savepoints of the data directory unless
the configuration (checkpoint_store) or --to names another directory or an S3 bucket,
s3://BUCKET/FOLDER?endpoint=https://HOST:PORT&region=REGION&path_style=true, with the
credentials of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCreate(w), newList(w), newDescribe(w), newRestore(w), newDispose(w))
	return c
}

// common adds the flags that every command has.
func (f *flags) common(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "configuration file, for where data and savepoints are")
	c.Flags().StringVar(&f.data, "data", "", "data directory (default that of the configuration)")
	c.Flags().StringVar(&f.to, "to", "", "where savepoints are kept: a directory or s3://BUCKET/FOLDER (default that of the configuration)")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON line")
}

// remote adds the flags of the commands that can ask a running server.
func (f *flags) remote(c *cobra.Command) {
	c.Flags().StringVar(&f.url, "url", "", "ask the server at this address, in place of --data and --to")
	c.Flags().StringVar(&f.key, "key", "", "API key of that server")
}

// resolve fills in what is not given from the configuration.
func (f *flags) resolve() (*savepoints.Store, error) {
	data, store, err := f.wiring.Settings(f.config)
	if err != nil {
		return nil, err
	}
	f.data, f.to = cmp.Or(f.data, data), cmp.Or(f.to, store)
	if err := f.wiring.CheckData(f.data); err != nil {
		return nil, err
	}
	return OpenStore(f.to, f.data)
}

// server is the server that is to be asked, nil if none is.
func (f *flags) server(c *cobra.Command) (*server, error) {
	switch {
	case f.url == "" && f.key != "":
		return nil, errors.New("--key: only with --url and the address of a server; a data directory needs none")
	case f.url == "":
		return nil, nil
	}
	if f.to != "" || c.Flags().Changed("data") {
		return nil, errors.New("--url: the server knows its data and its store; leave out --data and --to")
	}
	return newServer(f.url, f.key)
}

func newCreate(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a savepoint of a running server, or of a data directory that none is running on",
		Example: `  millrace savepoint create before-upgrade --url http://127.0.0.1:8080
  millrace savepoint create before-upgrade --data ./data --to s3://backups/shop`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name := newName(args)
			if err := savepoints.CheckID(name); err != nil {
				return err
			}
			s, err := f.server(c)
			if err != nil {
				return err
			}
			var record api.SavepointRecord
			if s != nil {
				record, err = s.create(c.Context(), name)
			} else {
				record, err = f.create(c, name)
			}
			if err != nil {
				return err
			}
			return f.print(c, record, describeText(record))
		},
	}
	f.common(c)
	f.remote(c)
	return c
}

// create makes a savepoint of a data directory.
func (f *flags) create(c *cobra.Command, name string) (r api.SavepointRecord, err error) {
	store, err := f.resolve()
	if err != nil {
		return r, err
	}
	log, err := eventlog.Open(filepath.Join(f.data, LogFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		return r, f.openError(err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := Finish(f.data); err != nil {
		return r, err
	}
	backend, err := OpenState(f.data, "", log, nil)
	if err != nil {
		return r, f.openError(err)
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	if err := f.catchUp(c.Context(), log, backend); err != nil {
		return r, err
	}
	s := source{program: f.wiring.Program, state: backend, log: log, snapshots: filepath.Join(f.data, snapshotsFolder)}
	m, err := s.take(c.Context(), store, savepoints.Savepoint, name)
	if errors.Is(err, state.ErrNone) {
		return r, fmt.Errorf("%s holds nothing yet", f.data)
	}
	if err != nil {
		return r, err
	}
	return completed(m), os.RemoveAll(s.snapshots)
}

// catchUp applies what the log has and the state has not, after a kill: what was
// acknowledged is to be in the savepoint.
func (f *flags) catchUp(ctx context.Context, log *eventlog.Log, backend state.Backend) (err error) {
	latest, err := backend.Latest()
	if err == nil && latest.Block == log.Last() || errors.Is(err, state.ErrNone) && log.Last() == 0 {
		return nil
	}
	if err != nil && !errors.Is(err, state.ErrNone) {
		return err
	}
	options := embedded.Options{
		Build: f.wiring.Program.Build, Log: log, State: backend, Views: viewmemory.New(),
		Duplicates: f.wiring.Program.Duplicates, Checkpoints: checkpoint.Policy{Interval: -1},
	}
	look, err := embedded.Inspect(options)
	if err != nil {
		return fmt.Errorf("apply the blocks after the last checkpoint: %w", err)
	}
	if look.Publishes() {
		return fmt.Errorf("%s: %w: start the server and stop it, or ask it: millrace savepoint create --url http://HOST:PORT", f.data, ErrUnpublished)
	}
	options.Views = viewmemory.New()
	file := filepath.Join(f.data, CatalogFile)
	if _, err := os.Stat(file); err == nil { // else it is in another database, which is brought up to date at the next start
		sql, err := sqlite.Open(ctx, file)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sql.Close()) }()
		options.Catalog = sql
	}
	e, err := embedded.Open(options)
	if err != nil {
		return fmt.Errorf("apply the blocks after the last checkpoint: %w", err)
	}
	return e.Close()
}

// ErrUnpublished is the error of a directory whose results may not all be
// published, after a kill: with state that has the blocks they never would be.
var ErrUnpublished = errors.New("it holds blocks after its last checkpoint whose results are perhaps not published")

// openError says what to do about a directory that can not be opened.
func (f *flags) openError(err error) error {
	switch {
	case errors.Is(err, eventlog.ErrInUse) || errors.Is(err, state.ErrInUse):
		return fmt.Errorf("a server is running on %s; ask it: millrace savepoint create --url http://HOST:PORT", f.data)
	case errors.Is(err, eventlog.ErrNotFound):
		return fmt.Errorf("--data %s: holds no event log; give the directory of millrace serve or millrace replay", f.data)
	}
	return err
}

func newList(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use: "list", Short: "List savepoints, and copies of checkpoints", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, where, err := f.list(c)
			if err != nil {
				return err
			}
			return f.print(c, struct {
				Savepoints []api.SavepointRecord `json:"savepoints"`
			}{list}, listText(list, where))
		},
	}
	f.common(c)
	f.remote(c)
	return c
}

func (f *flags) list(c *cobra.Command) (list []api.SavepointRecord, where string, err error) {
	s, err := f.server(c)
	if err != nil {
		return nil, "", err
	}
	if s != nil {
		list, err = s.list(c.Context())
		return list, s.Address(), err
	}
	store, err := f.resolve()
	if err != nil {
		return nil, "", err
	}
	entries, err := store.List(c.Context())
	list = make([]api.SavepointRecord, len(entries))
	for i, e := range entries {
		list[i] = EntryRecord(e)
	}
	return list, store.String(), err
}

func newDescribe(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use: "describe ID", Short: "Say what a savepoint holds", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := f.server(c)
			if err != nil {
				return err
			}
			var record api.SavepointRecord
			switch {
			case s != nil && f.verify:
				return errors.New("--verify reads the store itself: give --data or --to in place of --url")
			case s != nil:
				record, err = s.get(c.Context(), args[0])
			default:
				record, err = f.describe(c, args[0])
			}
			if err != nil {
				return err
			}
			return f.print(c, record, describeText(record))
		},
	}
	f.common(c)
	f.remote(c)
	c.Flags().BoolVar(&f.verify, "verify", false, "read all of it, and verify every checksum")
	return c
}

func (f *flags) describe(c *cobra.Command, id string) (api.SavepointRecord, error) {
	store, err := f.resolve()
	if err != nil {
		return api.SavepointRecord{}, err
	}
	read := store.Describe
	if f.verify {
		read = store.Verify
	}
	m, err := read(c.Context(), id)
	if err != nil {
		return api.SavepointRecord{}, err
	}
	return completed(m), nil
}

func newDispose(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use: "dispose ID", Short: "Remove a savepoint, and the files that no other one needs", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := f.server(c)
			if err != nil {
				return err
			}
			if s != nil {
				err = s.dispose(c.Context(), args[0])
			} else {
				var store *savepoints.Store
				if store, err = f.resolve(); err == nil {
					err = store.Dispose(c.Context(), args[0])
				}
			}
			if err != nil {
				return err
			}
			return f.print(c, map[string]string{"id": args[0]}, args[0]+" is disposed of\n")
		},
	}
	f.common(c)
	f.remote(c)
	return c
}

// newName is the name that was given, or one of our own.
func newName(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return newID(savepoints.Savepoint, now())
}

// EntryRecord is what a store has in the API's words, in brief.
func EntryRecord(e savepoints.Entry) api.SavepointRecord {
	st := status(e)
	known := st.api()
	return known.Record(true)
}

func completed(m *savepoints.Manifest) api.SavepointRecord {
	s := Status{ID: m.ID, Kind: m.Kind, Progress: Completed, Manifest: m}
	known := s.api()
	return known.Record(false)
}

// print writes a result: one JSON line, or text.
func (f *flags) print(c *cobra.Command, result any, text string) error {
	if f.json {
		b, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
		text = string(b) + "\n"
	}
	_, err := io.WriteString(c.OutOrStdout(), text)
	return err
}
