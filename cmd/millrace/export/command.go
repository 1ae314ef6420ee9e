package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"millrace/eventlog"
	"millrace/source/kafka"
)

// Wiring is what the command is wired to.
type Wiring struct {
	// Config reads a configuration file: the section kafka, and where data is.
	Config func(file string) (c kafka.Config, data string, err error)
	// Open opens the log of a data directory that no server runs on, to be read.
	// OpenNamed also gives it an identity, if it has none.
	Open, OpenNamed func(data string) (*eventlog.Log, error)
	// Logger is what is logged to.
	Logger func(*cobra.Command) (*slog.Logger, error)
}

type flags struct {
	config, data, topic string
	partitions          int
	json                bool
}

// New makes the command.
func New(w Wiring) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "export",
		Short: "Take the events of a data directory out of it, to Kafka or as JSON Lines",
		Long: `Export writes the events that are stored in a data directory, in their order: to
standard output as JSON Lines, which millrace replay reads, or with --topic to
Kafka, keyed by user, where a job on Flink or another server reads them. The
server must be stopped.

To Kafka each event goes once: how far the export is, is committed in the same
transactions. It goes on where it was when it is run again, also with what has been
stored since. With kafka.tombstones: delete, deletions go along.`,
		Example: `  millrace export --data ./data > events.jsonl
  millrace export --data ./data --config cluster.yaml --topic user-events --partitions 8`,
		RunE: func(c *cobra.Command, _ []string) error { return run(c, w, f) },
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file, whose section kafka says where the brokers are")
	c.Flags().StringVar(&f.data, "data", "", "data directory")
	c.Flags().StringVar(&f.topic, "topic", "", "topic to send the events to; it is made if it is not there")
	c.Flags().IntVar(&f.partitions, "partitions", -1, "partitions of a topic that is made; -1 is the broker's default")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON line; with --topic only")
	return c
}

func run(c *cobra.Command, w Wiring, f flags) (err error) {
	logger, err := w.Logger(c)
	if err != nil {
		return err
	}
	brokers, data, err := w.Config(f.config)
	if err != nil {
		return err
	}
	if f.data != "" {
		data = f.data
	}
	switch {
	case f.topic != "" && !brokers.Enabled():
		return errors.New("--topic: want a configuration file whose kafka.brokers names some")
	case f.topic == "" && f.json:
		return errors.New("--json: want --topic, as events go to standard output otherwise")
	}
	open := w.Open
	if f.topic != "" {
		open = w.OpenNamed
	}
	log, err := open(data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	began := time.Now()
	var r Result
	if f.topic == "" {
		r, err = Lines(c.Context(), log, c.OutOrStdout())
	} else {
		r, err = Topic(c.Context(), log, brokers.Config, f.topic, f.partitions, brokers.Tombstones == kafka.TombstoneDelete, logger)
	}
	if err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	return report(c, f, r)
}

// report says what was done: on standard error, where that is not the events'.
func report(c *cobra.Command, f flags, r Result) error {
	if f.json {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", b)
		return err
	}
	text := fmt.Sprintf("%d events and %d deletions up to block %d in %.1f s", r.Events, r.Deletions, r.Block, r.Seconds)
	if r.Before > 0 {
		text += fmt.Sprintf("; those up to block %d were there already", r.Before)
	}
	if r.Nameless > 0 {
		text += fmt.Sprintf("; %d events of deleted users stay here", r.Nameless)
	}
	_, err := io.WriteString(c.ErrOrStderr(), text+"\n")
	return err
}
