package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"millrace/event"
)

// Settings are those of a configuration file that the command needs.
type Settings struct {
	Collect Config
	Types   *event.Types
}

// Wiring is what the command needs of the rest.
type Wiring struct {
	// Load reads a configuration file.
	Load func(path string) (Settings, error)
	// Logger is the one of a command.
	Logger func(*cobra.Command) (*slog.Logger, error)
	// Open opens the data directory that a configuration file names, or that is
	// given, to collect into without a server.
	Open func(ctx context.Context, path, data string, logger *slog.Logger) (into *Local, closing func() error, err error)
}

type flags struct {
	config, data, to, key, listen string
	once, json                    bool
}

// NewCommand is the command millrace collect.
func NewCommand(w Wiring) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "collect",
		Short: "Tail log files and make events of their lines, each exactly once",
		Long: `Collect follows the files that the section collect of the configuration names,
through rotation and restarts, and sends their lines as events: with --to to a
running server, else into the data directory (no server may run on it; a server
whose own configuration has the section collects by itself).`,
		Example: `  millrace collect --config shop.yaml --to http://127.0.0.1:8080
  millrace collect --config shop.yaml --data ./data --once`,
		RunE: func(c *cobra.Command, _ []string) error { return run(c, w, f) },
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration file with the section collect")
	c.Flags().StringVar(&f.data, "data", "", "data directory to collect into")
	c.Flags().StringVar(&f.to, "to", "", "address of a running server to collect into instead")
	c.Flags().StringVar(&f.key, "key", "", "API key of that server")
	c.Flags().StringVar(&f.listen, "listen", "", "address that answers GET /metrics and GET /v1/health, such as 127.0.0.1:9102")
	c.Flags().BoolVar(&f.once, "once", false, "end when all that is there now is collected")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON line")
	return c
}

func run(c *cobra.Command, w Wiring, f flags) (err error) {
	remote := c.Flags().Changed("to")
	switch {
	case remote && c.Flags().Changed("data"):
		return errors.New("--data and --to: want one of them, the directory or the server to collect into")
	case f.key != "" && !remote:
		return errors.New("--key: only with --to and the address of a server; a data directory needs none")
	case f.config == "":
		return errors.New("--config: want a file with a section collect, which says what is collected")
	}
	settings, err := w.Load(f.config)
	if err != nil {
		return err
	}
	if !settings.Collect.Enabled() {
		return fmt.Errorf("--config %s: want a section collect with files, got none", f.config)
	}
	logger, err := w.Logger(c)
	if err != nil {
		return err
	}
	var target Target
	if remote {
		server, err := NewRemote(f.to, f.key, logger)
		if err != nil {
			return err
		}
		defer server.Close()
		target = server
	} else {
		local, closing, err := w.Open(c.Context(), f.config, f.data, logger)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closing()) }()
		target = local
	}
	collector, err := New(settings.Collect, settings.Types, target, logger)
	if err != nil {
		return err
	}
	if f.listen != "" {
		stop, failed := collector.monitor(f.listen, logger)
		if failed != nil {
			return errors.Join(failed, collector.Close())
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	logger.Info("collecting", "groups", len(settings.Collect.Files))
	err = errors.Join(collector.Run(c.Context(), f.once), collector.Close())
	stats := collector.Stats()
	if f.json {
		text, failed := json.Marshal(stats)
		fmt.Fprintf(c.OutOrStdout(), "%s\n", text)
		return errors.Join(err, failed)
	}
	fmt.Fprintf(c.OutOrStdout(), "%d lines: %d events, %d ignored, %d bad\n", stats.Lines, stats.Events, stats.Ignored, stats.Bad)
	return err
}
