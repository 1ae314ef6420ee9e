package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"millrace/event"
	"millrace/serve"
	"millrace/source"
	"millrace/source/generate"
)

const (
	// demoRate is the traffic of the demo, in events a second.
	demoRate = 200
	// demoPast is how much traffic is there when the demo starts, so that
	// recommendations have something to stand on.
	demoPast = 15 * time.Minute
	// demoStep is how often the traffic that has become due is sent.
	demoStep = 50 * time.Millisecond
)

func newDemo() *cobra.Command {
	var data, listen string
	c := &cobra.Command{
		Use:   "demo",
		Short: "A server with generated shop traffic and the dashboard, to look at",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig("")
			if err != nil {
				return err
			}
			cfg.Listen, cfg.Data = listen, data
			if !c.Flags().Changed("listen") {
				cfg.Listen = freeAddress(listen)
			}
			if data == "" {
				if cfg.Data, err = os.MkdirTemp("", "millrace-demo-"); err != nil {
					return err
				}
				defer os.RemoveAll(cfg.Data)
			}
			if !c.Flags().Changed("log-level") {
				if err := c.Flags().Set("log-level", "warn"); err != nil {
					return err
				}
			}
			logger, err := newLogger(c)
			if err != nil {
				return err
			}
			said := sayStopping(c.Context(), c.OutOrStdout(), cfg.Data, data != "")
			defer said()
			return runDemo(c.Context(), cfg, logger, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "HOST:PORT; port 0 takes a free one")
	return c
}

// runDemo runs a server and sends it traffic, which goes on when the server has
// to start again.
func runDemo(ctx context.Context, cfg config, logger *slog.Logger, out io.Writer) error {
	ctx, stop := context.WithCancelCause(ctx)
	var sending sync.WaitGroup
	var once sync.Once
	err := keepServing(ctx, cfg, logger, func(s *serve.Server) error {
		once.Do(func() {
			sending.Go(func() {
				if err := sendTraffic(ctx, s, out); err != nil {
					stop(err)
				}
			})
		})
		return nil
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	stop(nil)
	sending.Wait()
	return err
}

// sendTraffic sends the past and then what becomes due, until ctx ends. In
// between it says where to look.
func sendTraffic(ctx context.Context, s *serve.Server, out io.Writer) (err error) {
	into, err := newRemote("http://"+s.Addr(), "", io.Discard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, into.close()) }()
	into.applied = true
	traffic, err := startTraffic(ctx, into)
	if err != nil {
		return err
	}
	s.ForgetRecent() // of the past
	if err := greet(out, s.Addr(), traffic.user); err != nil {
		return err
	}
	return traffic.run(ctx)
}

// sayStopping says one line when the demo is interrupted: what is being done,
// and what becomes of the data. The function that it returns waits until it has
// been said, or sees to it that it will not be.
func sayStopping(ctx context.Context, w io.Writer, data string, kept bool) (said func()) {
	fate := "the temporary data in " + data + " are removed"
	if kept {
		fate = "the data are kept in " + data
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		fmt.Fprintf(w, "\nStopping; %s.\n", fate) // below the terminal's ^C
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// freeAddress is the address, or one with a free port if it is taken: a demo
// should start whatever else runs on the machine.
func freeAddress(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return address
}

// traffic is generated shop traffic that keeps pace with the wall clock.
type traffic struct {
	into      *remote
	generator *generate.Generator
	user      string // one who has been active, for the examples
}

// startTraffic sends the catalogue and the traffic of the past minutes.
func startTraffic(ctx context.Context, into *remote) (*traffic, error) {
	now := time.Now()
	cfg := generate.DefaultConfig()
	cfg.Seed = uint64(now.UnixNano()) // a demo that is run again on its data goes on with other visits
	cfg.EventsPerSecond, cfg.FlatRate, cfg.Users = demoRate, true, 2000
	cfg.Start = event.FromGo(now.Add(-demoPast))
	g, err := generate.New(cfg)
	if err != nil {
		return nil, err
	}
	t := &traffic{into: into, generator: g}
	var batch source.Batch
	for c := range g.Catalogue() {
		batch.Changes, batch.Count = true, batch.Count+1
		batch.Payload = event.AppendChange(batch.Payload, &c)
	}
	if err := into.put(ctx, "", batch); err != nil {
		return nil, fmt.Errorf("send the demo's catalogue: %w", err)
	}
	for {
		began := time.Now()
		if err := t.send(ctx, began); err != nil {
			return nil, err
		}
		if time.Since(began) < demoStep { // else more has become due meanwhile
			return t, nil
		}
	}
}

// send delivers everything that is due by now, in the order in which it came.
func (t *traffic) send(ctx context.Context, now time.Time) error {
	var batch source.Batch
	for r := range t.generator.At(event.FromGo(now)) {
		if batch.Count == source.DefaultBatchCount || batch.Count > 0 && batch.Changes != (r.Change != nil) {
			if err := t.into.put(ctx, "", batch); err != nil {
				return fmt.Errorf("send the demo's traffic: %w", err)
			}
			batch = source.Batch{}
		}
		batch.Count++
		if r.Change != nil {
			batch.Changes = true
			batch.Payload = event.AppendChange(batch.Payload, r.Change)
			continue
		}
		batch.Payload = event.AppendEvent(batch.Payload, r.Event)
		if r.Event.Type == event.TypePurchase {
			t.user = r.Event.User
		}
	}
	if batch.Count == 0 {
		return nil
	}
	return t.into.put(ctx, "", batch)
}

// run sends traffic as it becomes due, until ctx ends.
func (t *traffic) run(ctx context.Context) error {
	for source.Sleep(ctx, demoStep) == nil {
		if err := t.send(ctx, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil // the demo is being stopped
}

// greet says where to look.
func greet(w io.Writer, address, user string) error {
	_, err := fmt.Fprintf(w, `
Millrace is running, with a shop's traffic at %[1]d events a second.

  Dashboard   http://%[2]s/

Try it:
  curl 'http://%[2]s/v1/users/%[3]s/recommendations?n=5&explain=true'
  curl -X POST 'http://%[2]s/v1/events?wait=applied' -d '{"user_id":"me","item_id":"i1","event_type":"click","timestamp":'$(date +%%s)'}'
  curl 'http://%[2]s/v1/users/me/recommendations?n=5'

Ctrl-C stops it.
`, demoRate, address, user)
	return err
}
