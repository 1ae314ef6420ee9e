// Package worker is the command that Flink's operators start.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"millrace/engine/flink"
	"millrace/internal/headroom"
)

// garbage is how much may gather between two collections.
const garbage = 64 << 20

// New makes the command, which logs as logger says.
func New(logger func(*cobra.Command) (*slog.Logger, error), wiring Wiring) *cobra.Command {
	var plan bool
	var job, config, socket, limit string
	c := &cobra.Command{
		Use:   "worker",
		Short: "Fold records for the operators of Apache Flink, which start it",
		Long: "Runs the operators of a Flink job. Flink's operators start it beside each TaskManager and talk to it over a Unix socket; it ends when its " +
			"standard input does, and removes the socket and its folder, if nothing else is in it. With --plan it prints what the graph of the job is made of.",
		Example: "  millrace worker --plan --config millrace.yaml\n  millrace worker --plan --job J4\n  millrace worker --socket /tmp/millrace-worker/socket",
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(c)
			switch {
			case err != nil:
				return err
			case plan == (socket != ""):
				return fmt.Errorf("want one of --plan and --socket; see %s --help", c.CommandPath())
			}
			w := NewBuilder(wiring, log)
			if plan {
				return w.printPlan(c.Context(), c.OutOrStdout(), strings.ToUpper(job), config)
			}
			bytes := uint64(0)
			if limit != "" {
				if bytes, err = humanize.ParseBytes(limit); err != nil || bytes > 1<<50 {
					return fmt.Errorf("--memory-limit %q: want a size such as 512MiB or 1GiB", limit)
				}
			}
			return serve(c.Context(), c.InOrStdin(), c.OutOrStdout(), socket, flink.Options{Build: w.Build, MemoryLimit: int64(bytes), Logger: log})
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "print the plan of the job as one line of JSON")
	c.Flags().StringVar(&job, "job", "", "the reference job to plan: "+strings.Join(jobs(), ", "))
	c.Flags().StringVar(&config, "config", "", "the configuration file of the job to plan")
	c.Flags().StringVar(&socket, "socket", "", "where to listen: the path of a Unix socket that is not there yet")
	c.Flags().StringVar(&limit, "memory-limit", "", "how much memory live state may take, such as 1GiB; the rest is read back from Flink's")
	return c
}

// serve serves connections until standard input ends, which it does with the
// process that has started this one, however that ends.
func serve(ctx context.Context, in io.Reader, out io.Writer, socket string, o flink.Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	defer func() { // the folder is there for the socket; one that has something else in it stays
		listener.Close()
		_ = os.Remove(filepath.Dir(socket))
	}()
	if err := os.Chmod(socket, 0o600); err != nil {
		return err
	}
	go headroom.Keep(ctx, garbage)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	err = flink.NewWorker(o).Serve(ctx, listener)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
