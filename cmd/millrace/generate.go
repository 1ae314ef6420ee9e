package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/event"
	"millrace/source"
	"millrace/source/file"
	"millrace/source/generate"
)

// generateFlags are the flags of millrace generate.
type generateFlags struct {
	events uint64
	config generate.Config
	start  string
	to     string
	key    string
	speed  float64
	json   bool
}

func newGenerate() *cobra.Command {
	f := generateFlags{config: generate.DefaultConfig()}
	c := &cobra.Command{
		Use:   "generate",
		Short: "Make the traffic of a shop that does not exist, from a seed",
		Long: `Generate makes deterministic shop traffic: a catalogue, shoppers with tastes,
sessions, impressions that lead to clicks that lead to purchases, items that
come and go, out-of-order delivery. The same flags give the same bytes.

It writes JSON Lines to standard output or a file, which millrace replay reads,
or sends everything to a running server.`,
		Example: `  millrace generate --events 100000 --seed 7 > events.jsonl
  millrace generate --events 100000 --to http://127.0.0.1:8080`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runGenerate(c, f) },
	}
	c.Flags().Uint64Var(&f.events, "events", 100_000, "how many events")
	c.Flags().IntVar(&f.config.Users, "users", f.config.Users, "how many shoppers")
	c.Flags().IntVar(&f.config.Items, "items", f.config.Items, "how many items are on offer at any time")
	c.Flags().IntVar(&f.config.Categories, "categories", f.config.Categories, "how many categories")
	c.Flags().Uint64Var(&f.config.Seed, "seed", f.config.Seed, "another seed is another shop")
	c.Flags().Float64Var(&f.config.EventsPerSecond, "rate", f.config.EventsPerSecond, "events a second of event time")
	c.Flags().StringVar(&f.start, "start", "", "event time of the first events, RFC 3339 (default 2026-01-05T09:00:00Z)")
	c.Flags().BoolVar(&f.config.EventIDs, "event-ids", false, "put an event_id on every event")
	c.Flags().StringVar(&f.to, "to", "-", "a file, - for standard output, or the address of a server")
	c.Flags().StringVar(&f.key, "key", "", "API key of that server")
	c.Flags().Float64Var(&f.speed, "speed", 0, "1 for real time, N for N times as fast, 0 for as fast as possible")
	c.Flags().BoolVar(&f.json, "json", false, "print what was made, and how fast, as one JSON line; not with --to -")
	return c
}

func runGenerate(c *cobra.Command, f generateFlags) error {
	toServer := strings.Contains(f.to, "://")
	if err := errors.Join(checkSpeed(f.speed), checkKey(f.key, toServer)); err != nil {
		return err
	}
	if f.json && f.to == "-" {
		return errors.New("--json: the traffic itself goes to standard output; give a file or a server with --to")
	}
	if host, port, err := net.SplitHostPort(f.to); err == nil && !toServer && isNumber(port) {
		return fmt.Errorf("--to %s: for a server write http://%s:%s, for a file of that name ./%[1]s", f.to, host, port)
	}
	if f.start != "" {
		at, ok := event.ParseTime(f.start)
		if !ok {
			return fmt.Errorf("--start %q: want a time after 1970 and before 2200 in RFC 3339, such as 2026-01-05T09:00:00Z", f.start)
		}
		f.config.Start = at
	}
	f.config.Categories = min(f.config.Categories, f.config.Items)
	reader, err := generate.NewReader(f.config, f.events)
	if err != nil {
		return err
	}
	if toServer {
		return sendGenerated(c, reader, f)
	}
	if f.to == "-" {
		_, err := writeGenerated(c.Context(), c.OutOrStdout(), reader, f.speed)
		return err
	}
	out, err := os.Create(f.to)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	began := time.Now()
	result, err := writeGenerated(c.Context(), out, reader, f.speed)
	if err := errors.Join(err, out.Close()); err != nil || !f.json {
		return err
	}
	result.measure(time.Since(began))
	return printJSON(c.OutOrStdout(), result)
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// writeGenerated writes the traffic as JSON Lines, and counts it.
func writeGenerated(ctx context.Context, out io.Writer, reader source.Reader, speed float64) (written replayResult, err error) {
	pacer := source.NewPacer(speed, time.Now, source.Sleep)
	w := bufio.NewWriterSize(out, 1<<16)
	var line []byte
	for {
		record, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return written, w.Flush()
		}
		if err != nil {
			return written, err
		}
		if record.Event != nil && speed > 0 && pacer.Delay(record.Event.Time) > 0 {
			if err := errors.Join(w.Flush(), pacer.Wait(ctx, record.Event.Time)); err != nil {
				return written, err
			}
		}
		if line, err = file.AppendJSON(line[:0], record); err != nil {
			return written, err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return written, err
		}
		if record.Event != nil {
			written.Events++
		} else {
			written.Changes++
		}
	}
}

// sendGenerated imports the traffic into a server.
func sendGenerated(c *cobra.Command, reader source.Reader, f generateFlags) error {
	into, err := newRemote(f.to, f.key, c.ErrOrStderr())
	if err != nil {
		return err
	}
	r := replay{
		into: into, progress: newProgress(c.ErrOrStderr(), []source.Reader{reader}),
		flags: replayFlags{speed: f.speed, json: f.json},
	}
	began := time.Now()
	err = r.run(c.Context(), []source.Reader{reader})
	elapsed := time.Since(began)
	err = errors.Join(err, into.close())
	r.progress.finish()
	r.result.measure(elapsed)
	if err != nil {
		return err
	}
	return r.report(c.OutOrStdout())
}
