package checkpoints

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/savepoint"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	savepoints "millrace/savepoint"
	"millrace/serve/api"
	"millrace/state"
	"millrace/state/kind"
)

// Settings are what the command needs of the configuration.
type Settings struct {
	Data, Store string // Store is empty if it is not set
	Policy      checkpoint.Policy
}

// Wiring is what the command needs of the rest of the command line.
type Wiring struct {
	Program savepoint.Program
	// Settings reads the configuration.
	Settings func(path string) (Settings, error)
	// CheckData says what is wrong with the name of a data directory.
	CheckData func(dir string) error
}

// Latest is the latest checkpoint of a data directory.
type Latest struct {
	Backend    string                     `json:"backend"`
	Block      uint64                     `json:"block"`
	Time       string                     `json:"time"`
	StreamTime string                     `json:"stream_time,omitempty"`
	Watermark  string                     `json:"watermark,omitempty"`
	Events     uint64                     `json:"events"`
	Keys       uint64                     `json:"keys"`
	Bytes      uint64                     `json:"bytes"`        // of keys and values
	Stored     int64                      `json:"stored_bytes"` // that the directory takes
	Stages     []api.SavepointStageRecord `json:"stages"`
	// Replay is how many blocks of the log come after it.
	Replay uint64 `json:"blocks_to_replay"`
}

// Offline is what a data directory says of its checkpoints without a server.
type Offline struct {
	Latest   *Latest               `json:"latest"`   // null if there is none
	Retained []api.SavepointRecord `json:"retained"` // copies in the store, and savepoints
	api.CheckpointsBody
}

type flags struct {
	wiring Wiring

	config, data, url, key string
	json                   bool
}

// New makes the command.
func New(w Wiring) *cobra.Command {
	f := flags{wiring: w}
	c := &cobra.Command{
		Use:   "checkpoints",
		Short: "Show the history of checkpoints, what they take, and what could be better",
		Long: `Asks a running server (--url), or reads a data directory that no server is running on:
the latest checkpoint, copies in the store, the history that the last server has left,
averages, and advice. docs/operations.md says what the figures mean.`,
		Example: "  millrace checkpoints --url http://127.0.0.1:8080\n  millrace checkpoints --data ./data",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file, for where the data is and when checkpoints are taken")
	c.Flags().StringVar(&f.data, "data", "", "data directory (default that of the configuration)")
	c.Flags().StringVar(&f.url, "url", "", "ask the server at this address, in place of --data")
	c.Flags().StringVar(&f.key, "key", "", "API key of that server")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON line")
	return c
}

func (f *flags) run(c *cobra.Command) error {
	switch {
	case f.url == "" && f.key != "":
		return errors.New("--key: only with --url and the address of a server; a data directory needs none")
	case f.url != "" && c.Flags().Changed("data"):
		return errors.New("--url: the server knows its data; leave out --data")
	case f.url != "":
		var body api.CheckpointsBody
		if err := savepoint.Ask(c.Context(), f.url, f.key, "/v1/checkpoints", &body); err != nil {
			return err
		}
		return f.print(c.OutOrStdout(), body, bodyText(&body))
	}
	o, err := f.offline(c.Context())
	if err != nil {
		return err
	}
	return f.print(c.OutOrStdout(), o, offlineText(o))
}

// offline reads a data directory.
func (f *flags) offline(ctx context.Context) (*Offline, error) {
	settings, err := f.wiring.Settings(f.config)
	if err != nil {
		return nil, err
	}
	data := cmp.Or(f.data, settings.Data)
	if err := f.wiring.CheckData(data); err != nil {
		return nil, err
	}
	o := &Offline{Retained: []api.SavepointRecord{}}
	if o.Latest, err = f.latest(data); err != nil {
		return nil, openError(data, err)
	}
	store, err := savepoint.OpenStore(settings.Store, data)
	if err != nil {
		return nil, err
	}
	if o.Retained, err = retained(ctx, store); err != nil {
		return nil, err
	}
	journal, err := checkpoint.OpenJournal(filepath.Join(data, JournalFile))
	if err != nil {
		return nil, err
	}
	status := checkpoint.Status{Policy: settings.Policy, Now: time.Now(), History: journal.Records()}
	status.Policy.Interval = cmp.Or(status.Policy.Interval, checkpoint.DefaultInterval)
	status.Summary = checkpoint.Summarize(status.History)
	words := Words(&status, nil)
	o.CheckpointsBody = words.Record()
	return o, nil
}

// latest describes the latest checkpoint; nil if there is none. It reads all of
// it, and changes nothing but what a crash has left unfinished.
func (f *flags) latest(data string) (l *Latest, err error) {
	log, err := eventlog.Open(filepath.Join(data, savepoint.LogFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	dir := filepath.Join(data, savepoint.StateFolder)
	name, err := kind.Of(dir)
	if err != nil || name == "" {
		return nil, err
	}
	backend, err := kind.Open(name, dir, kind.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	d, err := embedded.Describe(backend, f.wiring.Program.Build)
	if errors.Is(err, state.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l = &Latest{Backend: name, Block: d.Block, Time: d.Time.String(), Events: d.Events, Replay: log.Last() - min(d.Block, log.Last())}
	if l.Stored, err = backend.Size(); err != nil {
		return nil, err
	}
	if d.StreamTime != event.MinTime {
		l.StreamTime = d.StreamTime.String()
	}
	if d.Watermark != event.MinTime {
		l.Watermark = d.Watermark.String()
	}
	for _, s := range d.Stages {
		l.Keys, l.Bytes = l.Keys+s.Keys, l.Bytes+s.Bytes
		l.Stages = append(l.Stages, api.SavepointStageRecord{Name: s.Name, StateVersion: int(s.Version), Keys: s.Keys, Bytes: s.Bytes})
	}
	return l, nil
}

// retained is what the store has.
func retained(ctx context.Context, store *savepoints.Store) ([]api.SavepointRecord, error) {
	entries, err := store.List(ctx)
	list := make([]api.SavepointRecord, len(entries))
	for i, e := range entries {
		list[i] = savepoint.EntryRecord(e)
	}
	return list, err
}

// openError says what to do about a directory that can not be opened.
func openError(data string, err error) error {
	switch {
	case errors.Is(err, eventlog.ErrInUse) || errors.Is(err, state.ErrInUse):
		return fmt.Errorf("a server is running on %s; ask it: millrace checkpoints --url http://HOST:PORT", data)
	case errors.Is(err, eventlog.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--data %s: holds no event log; give the directory of millrace serve or millrace replay", data)
	}
	return err
}

// print writes a result: one JSON line, or text.
func (f *flags) print(out io.Writer, result any, text string) error {
	if f.json {
		b, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
		text = string(b) + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
