package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/event"
	"millrace/eventlog"
	"millrace/internal/headroom"
	"millrace/source"
	"millrace/source/file"
)

// replayFlags are the flags of millrace replay.
type replayFlags struct {
	config, data, to, key string
	speed                 float64
	columns               map[string]string
	types                 map[string]string
	defaultType           string
	json                  bool
}

// An import as fast as possible sends blocks that are larger than live ones:
// each key that changed answers once a block, so larger ones cost less.
const (
	replayBatch      = 16_384
	replayBatchBytes = 4 << 20
)

// replayResult is what millrace replay --json prints.
type replayResult struct {
	Events     int     `json:"events"`
	Changes    int     `json:"changes"`
	Duplicates int     `json:"duplicates"`
	Late       uint64  `json:"late,omitempty"` // of a data directory, not of a server
	Rejected   int     `json:"rejected"`
	Skipped    uint64  `json:"skipped_rows"`
	ElapsedS   float64 `json:"elapsed_s"`
	EventsPerS float64 `json:"events_per_s"`
	CPUSPerM   float64 `json:"cpu_s_per_M"`
	RSSPeakMB  float64 `json:"rss_peak_mb"`

	firstBad string // what was wrong with the first row that was rejected
}

func newReplay() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use:   "replay PATH",
		Short: "Import recorded events: MovieLens folders, CSV, JSON Lines, gzip and zstd",
		Long: `Replay reads recorded events and catalogues and sends them through the same
engine and operators as live traffic: into a data directory (the server must
be stopped), or with --to into a running server.

PATH is a file, a folder, or - for standard input. An interrupted import goes
on where it was when it is run again.`,
		Example: `  millrace replay ml-1m --data ./data
  millrace replay clicks.csv.gz --map user=visitor,item=sku,time=at --data ./data
  millrace replay events.jsonl --speed 10 --to http://127.0.0.1:8080`,
		Args: onePath,
		RunE: func(c *cobra.Command, args []string) error { return runReplay(c, args[0], f) },
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file")
	c.Flags().StringVar(&f.data, "data", "", "data directory to import into")
	c.Flags().StringVar(&f.to, "to", "", "address of a running server to import into instead")
	c.Flags().StringVar(&f.key, "key", "", "API key of that server")
	c.Flags().Float64Var(&f.speed, "speed", 0, "1 for real time, N for N times as fast, 0 for as fast as possible")
	c.Flags().StringToStringVar(&f.columns, "map", nil, "columns of CSV files: user=...,item=...,time=...,type=...,value=...,session=...,id=...")
	c.Flags().StringToStringVar(&f.types, "type-names", nil, "event types of CSV files in other words: addtocart=cart,...")
	c.Flags().StringVar(&f.defaultType, "default-type", "", "event type of CSV files without one")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON line")
	return c
}

// onePath wants the one argument of replay.
func onePath(c *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return fmt.Errorf("%s wants one PATH, a file, a folder or -, got %d; see %s --help", c.Name(), len(args), c.CommandPath())
}

func runReplay(c *cobra.Command, path string, f replayFlags) error {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return err
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	types, err := event.NewTypes(cfg.EventTypes)
	if err != nil {
		return err
	}
	if err := f.check(c, types); err != nil {
		return err
	}
	readers, err := file.Open(path, file.Options{
		Map: f.columns, TypeNames: f.types, DefaultType: f.defaultType,
		Event: event.Options{Types: types}, Stdin: c.InOrStdin(), Describe: describeLayouts(c.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	into, err := openImporter(c, cfg, f)
	if err != nil {
		return err
	}
	r := replay{into: into, progress: newProgress(c.ErrOrStderr(), readers), flags: f}
	began := time.Now()
	err = r.run(c.Context(), readers)
	elapsed := time.Since(began) // until everything was durable and visible
	err = errors.Join(err, into.close())
	r.progress.finish()
	r.result.measure(elapsed)
	if err != nil {
		if c.Context().Err() != nil {
			return errInterrupted
		}
		return err
	}
	if err := r.nothing(); err != nil && !f.json { // which says it all
		return err
	}
	return errors.Join(r.report(c.OutOrStdout()), r.nothing())
}

// errInterrupted is the error of an import that was stopped by its user.
var errInterrupted = errors.New("interrupted: what was sent is stored; the same command goes on where it was")

// check says which flags cannot be meant, types being those of the events.
func (f replayFlags) check(c *cobra.Command, types *event.Types) error {
	toServer := c.Flags().Changed("to")
	if toServer && c.Flags().Changed("data") {
		return errors.New("--data and --to: want one of them, the directory or the server to import into")
	}
	if f.defaultType != "" && !types.Has(f.defaultType) {
		return fmt.Errorf("--default-type %q: want one of %s", f.defaultType, strings.Join(types.Names(), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(f.types)) {
		if !types.Has(f.types[name]) {
			return fmt.Errorf("--type-names %s=%s: want %s= and one of %s", name, f.types[name], name, strings.Join(types.Names(), ", "))
		}
	}
	return errors.Join(checkSpeed(f.speed), checkKey(f.key, toServer))
}

// checkSpeed says what is wrong with a --speed.
func checkSpeed(speed float64) error {
	if speed < 0 || math.IsNaN(speed) {
		return fmt.Errorf("--speed %v: want 0 or more", speed)
	}
	return nil
}

// checkKey says that a --key is for a server, where none is sent to.
func checkKey(key string, toServer bool) error {
	if key != "" && !toServer {
		return errors.New("--key: only with --to and the address of a server; a data directory needs none")
	}
	return nil
}

// openImporter opens what the flags say to import into.
func openImporter(c *cobra.Command, cfg config, f replayFlags) (importer, error) {
	if c.Flags().Changed("to") {
		return newRemote(f.to, f.key, c.ErrOrStderr())
	}
	logger, err := newLogger(c)
	if err != nil {
		return nil, err
	}
	if err := checkData(cfg.Data); err != nil {
		return nil, err
	}
	cfg.publishInterval = importPublishInterval
	go headroom.Keep(c.Context(), importHeadroomBytes)
	n, err := openNode(c.Context(), cfg, logger)
	if errors.Is(err, eventlog.ErrInUse) {
		err = fmt.Errorf("%w; to import into the running server use --to", err)
	}
	return &local{node: n}, err
}

// importPublishInterval is how long answers may wait while nobody reads them.
const importPublishInterval = 2 * time.Second

// importHeadroomBytes is the garbage that may gather in an import.
const importHeadroomBytes = 256 << 20

// importer is where a replay's batches go.
type importer interface {
	// position is how far an earlier import of the source has got.
	position(ctx context.Context, source string) (row uint64, err error)
	// put sends a batch; it may return before the batch is durable.
	put(ctx context.Context, source string, b source.Batch) error
	// late is how many events came after newer ones by more than is allowed, as
	// far as is known.
	late() uint64
	// reject stores a bad input.
	reject(ctx context.Context, bad *source.Bad) error
	// flush returns once everything sent is durable and applied.
	flush(ctx context.Context) (duplicates, rejected int, err error)
	close() error
}

// replay is one import under way.
type replay struct {
	into     importer
	progress *progress
	flags    replayFlags
	result   replayResult
}

func (r *replay) run(ctx context.Context, readers []source.Reader) error {
	pacer := source.NewPacer(r.flags.speed, time.Now, source.Sleep)
	for i, reader := range readers {
		r.progress.reading(i)
		if err := r.read(ctx, reader, pacer); err != nil {
			return errors.Join(err, reader.Close())
		}
		if err := reader.Close(); err != nil {
			return err
		}
	}
	duplicates, rejected, err := r.into.flush(ctx)
	r.result.Duplicates, r.result.Rejected = duplicates, r.result.Rejected+rejected
	r.result.Late = r.into.late()
	r.result.Events -= rejected
	return err
}

func (r *replay) read(ctx context.Context, reader source.Reader, pacer *source.Pacer) error {
	name := reader.Name()
	if name != "" {
		row, err := r.into.position(ctx, name)
		if err != nil {
			return err
		}
		if row > 0 {
			if err := reader.Skip(row); err != nil {
				return err
			}
			r.result.Skipped += row
		}
	}
	batches := source.NewBatcher(reader, source.BatchOptions{Count: replayBatch, Bytes: replayBatchBytes, Pacer: pacer, Bad: func(row uint64, bad *source.Bad) error {
		if r.result.Rejected++; r.result.Rejected == 1 {
			r.result.firstBad = badText(row, bad.Err)
		}
		return r.into.reject(ctx, bad)
	}})
	for {
		b, err := batches.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b.Changes {
			r.result.Changes += b.Count
		} else {
			r.result.Events += b.Count
		}
		if err := r.into.put(ctx, name, b); err != nil {
			return err
		}
		r.progress.at(r.result.Events + r.result.Changes)
	}
}

func (r *replay) report(w io.Writer) error {
	if r.flags.json {
		return printJSON(w, r.result)
	}
	_, err := fmt.Fprintln(w, r.result.text())
	return err
}

// nothing is the error of an import of which every row was refused.
func (r *replay) nothing() error {
	res := r.result
	if res.Rejected == 0 || res.Events+res.Changes+res.Duplicates > 0 || res.Skipped > 0 {
		return nil
	}
	text := "nothing was imported: no row could be read"
	if res.firstBad != "" {
		text += "; the first is " + res.firstBad
	}
	return errors.New(text)
}

// badText is what is wrong with a row.
func badText(row uint64, bad *event.FieldError) string {
	text := fmt.Sprintf("row %d: ", row)
	if bad.Field != "" {
		text += bad.Field + ": "
	}
	return text + "expected " + bad.Expected + ", got " + bad.Got
}

// text is the result as people are told of it.
func (r *replayResult) text() string {
	switch nothing := r.Events+r.Changes+r.Duplicates+r.Rejected == 0; {
	case nothing && r.Skipped > 0:
		return "nothing new: an earlier import had read " + counted(int(r.Skipped), "row", "rows") + ", which is all there are"
	case nothing:
		return "nothing to import: there are no rows"
	}
	text := fmt.Sprintf("%s and %s in %.1f s (%.0f events/s)", counted(r.Events, "event", "events"),
		counted(r.Changes, "catalogue entry", "catalogue entries"), r.ElapsedS, r.EventsPerS)
	if r.Duplicates > 0 {
		text += ", " + counted(r.Duplicates, "repeat", "repeats") + " ignored"
	}
	if r.Late > 0 {
		text += fmt.Sprintf(", %d of them late: older than events before them by more than out_of_orderness, so they count for little"+
			" (import a past into a directory of its own)", r.Late)
	}
	if r.Rejected > 0 {
		text += ", " + counted(r.Rejected, "row", "rows") + " rejected, see GET /v1/deadletters"
		if r.firstBad != "" {
			text += " (the first: " + r.firstBad + ")"
		}
	}
	if r.Skipped > 0 {
		text += ", after " + counted(int(r.Skipped), "row", "rows") + " that an earlier import had read"
	}
	return text
}

// counted is a number with its noun.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
