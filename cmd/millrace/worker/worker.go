// Package worker is the command that Flink's operators start.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"millrace/engine/flink"
	"millrace/internal/headroom"
	"millrace/reference"
)

// garbage is how much may gather between two collections.
const garbage = 64 << 20

// program is what a plan carries of what the job computes.
type program struct {
	// Reference is the name of a reference job.
	Reference string `json:"reference"`
}

// jobs are the reference jobs that run on Flink: those that are keyed by user,
// which Flink's generator makes keys of.
func jobs() []string {
	return slices.DeleteFunc(reference.Names(), func(name string) bool { return name == "J3" })
}

// New makes the command, which logs as logger says.
func New(logger func(*cobra.Command) (*slog.Logger, error)) *cobra.Command {
	var plan bool
	var job, socket, limit string
	c := &cobra.Command{
		Use:   "worker",
		Short: "Fold records for the operators of Apache Flink, which start it",
		Long: "Runs the operators of a Flink job. Flink's operators start it beside each TaskManager and talk to it over a Unix socket; it ends when its " +
			"standard input does, and removes the socket and its folder, if nothing else is in it. With --plan it prints what the graph of the job is made of.",
		Example: "  millrace worker --plan --job J4\n  millrace worker --socket /tmp/millrace-worker/socket",
		RunE: func(c *cobra.Command, args []string) error {
			log, err := logger(c)
			switch {
			case err != nil:
				return err
			case len(args) > 0:
				return fmt.Errorf("worker takes flags only, got %q; see %s --help", args, c.CommandPath())
			case plan == (socket != ""):
				return fmt.Errorf("want one of --plan and --socket; see %s --help", c.CommandPath())
			case plan:
				return printPlan(c.OutOrStdout(), strings.ToUpper(job))
			}
			bytes := uint64(0)
			if limit != "" {
				if bytes, err = humanize.ParseBytes(limit); err != nil || bytes > 1<<50 {
					return fmt.Errorf("--memory-limit %q: want a size such as 512MiB or 1GiB", limit)
				}
			}
			return serve(c.Context(), c.InOrStdin(), c.OutOrStdout(), socket, flink.Options{Build: build, MemoryLimit: int64(bytes), Logger: log})
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "print the plan of the job as one line of JSON")
	c.Flags().StringVar(&job, "job", "", "the reference job to plan: "+strings.Join(jobs(), ", "))
	c.Flags().StringVar(&socket, "socket", "", "where to listen: the path of a Unix socket that is not there yet")
	c.Flags().StringVar(&limit, "memory-limit", "", "how much memory live state may take, such as 1GiB; the rest is read back from Flink's")
	return c
}

// build makes the program that a plan carries.
func build(b []byte) (*flink.Program, error) {
	var p program
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("not a program: %w", err)
	}
	if !slices.Contains(jobs(), p.Reference) {
		return nil, fmt.Errorf("job %q: want one of %s", p.Reference, strings.Join(jobs(), ", "))
	}
	return &flink.Program{
		Topology: reference.Topology(p.Reference),
		Source:   flink.Records[reference.Event](nil),
		Key:      &flink.PlanKey{Offset: reference.EventKeyOffset, Length: reference.EventKeyLength},
		Sinks:    map[string]string{reference.StageDigest: "result"},
	}, nil
}

// printPlan prints the plan of a reference job.
func printPlan(out io.Writer, job string) error {
	b, err := json.Marshal(program{Reference: job})
	if err != nil {
		return err
	}
	p, err := build(b)
	if err != nil {
		return fmt.Errorf("--job: %w", err)
	}
	plan, err := flink.NewPlan(job, p, b)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, plan)
	return err
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
