package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/event"
	"millrace/eventlog"
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
	Rejected   int     `json:"rejected"`
	Skipped    uint64  `json:"skipped_rows"`
	ElapsedS   float64 `json:"elapsed_s"`
	EventsPerS float64 `json:"events_per_s"`
	CPUSPerM   float64 `json:"cpu_s_per_M"`
	RSSPeakMB  float64 `json:"rss_peak_mb"`
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
		Args: cobra.ExactArgs(1),
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
	c.MarkFlagsMutuallyExclusive("data", "to")
	return c
}

func runReplay(c *cobra.Command, path string, f replayFlags) error {
	if f.speed < 0 || math.IsNaN(f.speed) {
		return fmt.Errorf("--speed %v: want 0 or more", f.speed)
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		return err
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	logger, err := newLogger(c)
	if err != nil {
		return err
	}
	types, err := event.NewTypes(cfg.EventTypes)
	if err != nil {
		return err
	}
	readers, err := file.Open(path, file.Options{
		Map: f.columns, TypeNames: f.types, DefaultType: f.defaultType,
		Event: event.Options{Types: types}, Stdin: c.InOrStdin(), Describe: describeLayouts(c.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	var into importer
	if f.to != "" {
		into = newRemote(f.to, f.key)
	} else {
		cfg.publishInterval = importPublishInterval
		n, err := openNode(c.Context(), cfg, logger)
		if err != nil {
			if errors.Is(err, eventlog.ErrInUse) {
				return fmt.Errorf("%w; to import into the running server use --to", err)
			}
			return err
		}
		into = &local{node: n}
	}
	r := replay{into: into, progress: newProgress(c.ErrOrStderr(), readers), flags: f}
	began := time.Now()
	err = r.run(c.Context(), readers)
	elapsed := time.Since(began) // until everything was durable and visible
	err = errors.Join(err, into.close())
	r.progress.finish()
	r.result.measure(elapsed)
	if err != nil {
		return err
	}
	return r.report(c.OutOrStdout())
}

// importPublishInterval is how long answers may wait while nobody reads them.
const importPublishInterval = 2 * time.Second

// importer is where a replay's batches go.
type importer interface {
	// position is how far an earlier import of the source has got.
	position(ctx context.Context, source string) (row uint64, err error)
	// put sends a batch; it may return before the batch is durable.
	put(ctx context.Context, source string, b source.Batch) error
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
	batches := source.NewBatcher(reader, source.BatchOptions{Count: replayBatch, Bytes: replayBatchBytes, Pacer: pacer, Bad: func(_ uint64, bad *source.Bad) error {
		r.result.Rejected++
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
	res := r.result
	if r.flags.json {
		return printJSON(w, res)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d events and %d catalogue entries in %.1f s (%.0f events/s)", res.Events, res.Changes, res.ElapsedS, res.EventsPerS)
	for _, note := range []struct {
		n    int
		text string
	}{
		{res.Duplicates, "repeats ignored"}, {res.Rejected, "rejected, see GET /v1/deadletters"}, {int(res.Skipped), "rows imported before"},
	} {
		if note.n > 0 {
			fmt.Fprintf(&b, ", %d %s", note.n, note.text)
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimSpace(b.String()))
	return err
}
