package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/front"
	"millrace/cmd/millrace/savepoint"
	"millrace/engine/checkpoint"
	"millrace/engine/embedded"
	"millrace/engine/pipeline"
	"millrace/event"
	"millrace/internal/headroom"
	"millrace/recommend"
	"millrace/recommend/rank"
	"millrace/serve"
	"millrace/serve/api"
	"millrace/serve/dashboard"
	"millrace/sink"
)

func newServe() *cobra.Command {
	var path, data, listen, views string
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
			if views != viewsMemory {
				return serveFront(c.Context(), cfg, views, logger)
			}
			return keepServing(c.Context(), cfg, logger, func(s *serve.Server) error {
				logger.Info("ready", "address", "http://"+s.Addr(), "data", cfg.Data)
				return nil
			})
		},
	}
	d := defaultConfig()
	c.Flags().StringVar(&path, "config", "", "configuration file (YAML)")
	c.Flags().StringVar(&data, "data", d.Data, "data directory")
	c.Flags().BoolVar(&allow, "allow-non-restored-state", false, "drop the stored state of stages that this release does not have, instead of refusing to start")
	c.Flags().StringVar(&views, "views", viewsMemory, "memory: run the engine here; redis: only answer, from the views that an engine keeps in Redis")
	c.Flags().StringVar(&listen, "listen", d.Listen, "HOST:PORT; other than loopback needs keys in the configuration")
	return c
}

// Where views are read from.
const (
	viewsMemory = "memory"
	viewsRedis  = "redis"
)

// serveFront serves from the views that an engine keeps in Redis.
func serveFront(ctx context.Context, cfg config, views string, logger *slog.Logger) error {
	if views != viewsRedis {
		return fmt.Errorf("--views %q: want %s or %s", views, viewsMemory, viewsRedis)
	}
	options, err := frontOptions(cfg, logger)
	if err != nil {
		return err
	}
	return front.Serve(ctx, options, func(s *serve.Server) error {
		logger.Info("ready", "address", "http://"+s.Addr(), "views", views)
		return nil
	})
}

func frontOptions(cfg config, logger *slog.Logger) (front.Options, error) {
	types, err := event.NewTypes(cfg.EventTypes)
	if err != nil {
		return front.Options{}, fmt.Errorf("configuration: event_types: %w", err)
	}
	return front.Options{
		Redis: cfg.Redis, Catalog: cfg.Catalog, Kafka: cfg.Kafka.Config, DeadLetterTopic: cfg.Kafka.DeadLetterTopic, Likes: cfg.Likes,
		Listen: cfg.Listen, Keys: cfg.Keys, Dashboard: dashboard.Handler(), HeadroomMiB: cfg.GCHeadroomMiB, Version: version(), Logger: logger,
		Recommender: func(c front.Catalogue) api.Recommender { return recommender{rank.New(c, cfg.Recipes)} },
		Views:       recommend.Topology(types, cfg.operators()).Views(), Types: types,
	}, nil
}

// errRestart is the error of a server that has to recover because an operator
// has failed: opened again, it finds out on which event and skips it.
var errRestart = errors.New("an operator failed: starting again")

// errRestore is the error of parts that are closed for a savepoint to be
// restored.
var errRestore = errors.New("a savepoint is to be restored")

// keepServing runs a server, and another one on the same address each time that
// one has to recover, until ctx ends or one ends for another reason.
func keepServing(ctx context.Context, cfg config, logger *slog.Logger, ready func(*serve.Server) error) error {
	cfg.failures, cfg.restores = &embedded.FailureRecord{}, savepoint.NewRestores()
	for {
		err := runServer(ctx, cfg, logger, func(s *serve.Server) error {
			cfg.Listen = s.Addr() // with the port that was free
			return ready(s)
		})
		if !errors.Is(err, errRestart) || ctx.Err() != nil {
			return err
		}
	}
}

// runServer serves until ctx ends; ready is called once requests are answered
// as they should be, and again after each restore. The address is taken first:
// if that fails nothing has been opened or made, and while much is recovered
// clients and supervisors are told that the server is starting.
func runServer(ctx context.Context, cfg config, logger *slog.Logger, ready func(*serve.Server) error) (err error) {
	if err := checkData(cfg.Data); err != nil {
		return err
	}
	cfg.mirror = true
	options := serve.Options{
		Parts: api.Parts{Version: version()}, Listen: cfg.Listen, Keys: cfg.Keys, Dashboard: dashboard.Handler(), Logger: logger,
	}
	if options.Listener, err = serve.Listen(options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, options.Listener.Close()) }()
	logger.Info("starting", "address", "http://"+options.Listener.Addr(), "data", cfg.Data)
	if cfg.restores == nil {
		cfg.restores = savepoint.NewRestores()
	}
	for {
		if err = serveNode(ctx, cfg, options, ready); !errors.Is(err, errRestore) {
			return err
		}
		logger.Info("starting again", "because", err) // whatever else it is, what was acknowledged is in the log
		cfg.restores.Run(ctx)
	}
}

// serveNode serves on an address that has been taken. After errRestore all is
// closed, and the address answers that the server is starting.
func serveNode(ctx context.Context, cfg config, options serve.Options, ready func(*serve.Server) error) (err error) {
	n, err := openNode(ctx, cfg, options.Logger)
	if err != nil {
		return err
	}
	var stopping time.Time // zero but in a shutdown that was asked for
	defer func() {
		if err = errors.Join(err, n.close()); err == nil && !stopping.IsZero() {
			options.Logger.Info("stopped", "took", time.Since(stopping))
		}
	}()
	if err := n.serveSavepoints(cfg); err != nil {
		return err
	}
	options.Parts = n.apiParts(rank.New(n.engine.Index(), cfg.Recipes))
	if err := n.report(&options); err != nil {
		return err
	}
	if err := n.readTopics(cfg, &options); err != nil {
		return err
	}
	if err := n.importTables(cfg, &options); err != nil {
		return err
	}
	if err := n.serveLikes(ctx, cfg, &options); err != nil {
		return err
	}
	collecting, err := n.collect(ctx, cfg.Collect, &options)
	if err != nil {
		return err
	}
	defer collecting.Stop() // before the log is closed
	server, err := serve.New(options)
	if err != nil {
		return err
	}
	headroomed, stop := context.WithCancel(ctx)
	defer stop()
	go headroom.Keep(headroomed, uint64(cfg.GCHeadroomMiB)<<20)
	n.engine.Observe(func(b embedded.BlockStats) { server.Observe(b.Events, b.Apply, b.Latency) })
	cfg.restores.Opened(n.undone)
	if n.mirror != nil {
		n.mirror.Start(n.engine.Index(), apiEngine{n.engine})
	}
	if err := server.Listen(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve() }()
	if err := ready(server); err != nil {
		return errors.Join(err, shutdown(server, done))
	}
	err = n.end(ctx, cfg, done)
	if errors.Is(err, errRestore) {
		return errors.Join(err, suspend(server))
	}
	if err == nil && ctx.Err() != nil {
		stopping = time.Now()
		options.Logger.Info("stopping")
	}
	return errors.Join(err, shutdown(server, done))
}

// end returns when a server of the node is to be shut down: as ctx ends, or done
// has why it does not listen any more, or the engine has stopped and should not
// stay so. Where an engine stops for another reason lists are answered all the
// same, which a restart that meets the same would end: health says so.
func (n *node) end(ctx context.Context, cfg config, done chan error) error {
	for stopped := n.engine.Stopped(); ; stopped = nil {
		select {
		case err := <-done:
			done <- err // for shutdown
			return nil
		case <-ctx.Done():
			return nil
		case r := <-n.savepoints.Fetched():
			cfg.restores.Take(r)
			return errRestore
		case <-stopped:
			switch err := n.engine.Err(); {
			case errors.Is(err, checkpoint.ErrTooManyFailures):
				n.logger.Error("stopping, as checkpoint_tolerated_failures says")
				return nil // why, the node says when it is closed
			case errors.Is(err, sink.ErrFenced):
				n.logger.Error("stopping, as another engine has taken over what this one publishes", "because", message(err))
				return nil // the node says so when it is closed
			case !errors.Is(err, pipeline.ErrOperator):
			case cfg.OperatorTries == 0:
				n.logger.Error("stopping, as operator_tries says", "because", message(err))
				return nil
			default:
				n.logger.Error("starting again", "because", message(err))
				return errRestart
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

// suspend is shutdown for a start again on the same address. Whoever is too slow
// is cut off.
func suspend(server *serve.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Suspend(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
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
