package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/engine/pipeline"
	"millrace/internal/headroom"
	"millrace/recommend/rank"
	"millrace/serve"
	"millrace/serve/api"
	"millrace/serve/dashboard"
)

func newServe() *cobra.Command {
	var path, data, listen string
	var allow bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the whole system: event log, operators, HTTP API, dashboard",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if c.Flags().Changed("data") {
				cfg.Data = data
			}
			if c.Flags().Changed("listen") {
				cfg.Listen = listen
			}
			cfg.allowNonRestored = allow
			logger, err := newLogger(c)
			if err != nil {
				return err
			}
			for {
				err := runServer(c.Context(), cfg, logger, func(s *serve.Server) error {
					logger.Info("ready", "address", "http://"+s.Addr(), "data", cfg.Data)
					return nil
				})
				if !errors.Is(err, errRestart) || c.Context().Err() != nil {
					return err
				}
			}
		},
	}
	d := defaultConfig()
	c.Flags().StringVar(&path, "config", "", "configuration file (YAML)")
	c.Flags().StringVar(&data, "data", d.Data, "data directory")
	c.Flags().BoolVar(&allow, "allow-non-restored-state", false, "drop the stored state of stages that this release does not have, instead of refusing to start")
	c.Flags().StringVar(&listen, "listen", d.Listen, "HOST:PORT; other than loopback needs keys in the configuration")
	return c
}

// errRestart is the error of a server that has to recover because an operator
// has failed: opened again, it finds out on which event and skips it.
var errRestart = errors.New("an operator failed: starting again")

// runServer serves until ctx ends; ready is called once requests are answered
// as they should be. The address is taken first: if that fails nothing has
// been opened or made, and while much is recovered clients and supervisors are
// told that the server is starting.
func runServer(ctx context.Context, cfg config, logger *slog.Logger, ready func(*serve.Server) error) (err error) {
	if err := checkData(cfg.Data); err != nil {
		return err
	}
	options := serve.Options{
		Parts: api.Parts{Version: version()}, Listen: cfg.Listen, Keys: cfg.Keys, Dashboard: dashboard.Handler(), Logger: logger,
	}
	if options.Listener, err = serve.Listen(options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, options.Listener.Close()) }()
	logger.Info("starting", "address", "http://"+options.Listener.Addr(), "data", cfg.Data)
	n, err := openNode(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.serveSavepoints(cfg); err != nil {
		return err
	}
	options.Parts = n.apiParts(rank.New(n.engine.Index(), cfg.Recipes))
	server, err := serve.New(options)
	if err != nil {
		return err
	}
	headroomed, stop := context.WithCancel(ctx)
	defer stop()
	go headroom.Keep(headroomed, uint64(cfg.GCHeadroomMiB)<<20)
	n.engine.Observe(func(b embedded.BlockStats) { server.Observe(b.Events, b.Apply, b.Latency) })
	if err := server.Listen(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve() }()
	if err := ready(server); err != nil {
		return errors.Join(err, shutdown(server, done))
	}
	for stopped := n.engine.Stopped(); ; stopped = nil {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			logger.Info("stopping")
			return shutdown(server, done)
		case <-stopped:
			switch err := n.engine.Err(); {
			case cfg.OperatorTries > 0 && errors.Is(err, pipeline.ErrOperator):
				logger.Error("starting again", "because", err)
				return errors.Join(errRestart, shutdown(server, done))
			case errors.Is(err, checkpoint.ErrTooManyFailures):
				logger.Error("stopping, as checkpoint_tolerated_failures says")
				return shutdown(server, done) // why, the node says when it is closed
			}
		}
	}
}

// checkData says what is wrong with the name of a data directory, which need
// not be there yet.
func checkData(dir string) error {
	if dir == "" {
		return errors.New("--data: want a directory")
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data %s: want a directory, and that is a file", dir)
	}
	return nil
}

func shutdown(server *serve.Server, done <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) { // clients that are too slow are cut off
		return fmt.Errorf("stop: %w", err)
	}
	return <-done
}
