// Package job is the command that runs the reference jobs.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"millrace/cmd/millrace/savepoint"
	"millrace/engine/checkpoint"
	"millrace/engine/job"
	"millrace/internal/headroom"
	"millrace/internal/process"
	"millrace/reference"
	"millrace/state"
	"millrace/state/kind"
	"millrace/state/memory"
	viewmemory "millrace/view/memory"
)

const (
	// garbage is how much may gather between two collections.
	garbage = 64 << 20
	// Of a memory limit, heapShare percent is the heap's, garbage and all, and
	// stateShare percent is for live state.
	heapShare  = 70
	stateShare = 25
	// leastLimit is the smallest memory limit that makes sense.
	leastLimit = 128 << 20
)

// flags are those of the command.
type flags struct {
	events, users uint64
	hot           float64
	shards        int
	state         string
	interval      time.Duration
	data          string
	limit         bytesize
	parallelism   map[string]int
	json          bool

	logger *slog.Logger
}

// Result is what the command prints.
type Result struct {
	Job         string  `json:"job"`
	Events      uint64  `json:"events"`
	RowsOut     uint64  `json:"rows_out"`
	Checksum    string  `json:"checksum"`
	ElapsedS    float64 `json:"elapsed_s"`
	EventsPerS  float64 `json:"events_per_s"`
	CPUSPerM    float64 `json:"cpu_s_per_M"`
	RSSPeakMB   float64 `json:"rss_peak_mb"`
	Shards      int     `json:"shards"`
	State       string  `json:"state"`
	Checkpoints int     `json:"checkpoints"`
	// The rest is 0 without checkpoints.
	CheckpointMSP50            float64 `json:"checkpoint_ms_p50"`
	CheckpointMSMax            float64 `json:"checkpoint_ms_max"`
	CheckpointBytesFull        int64   `json:"checkpoint_bytes_full"`
	CheckpointBytesIncremental int64   `json:"checkpoint_bytes_incremental"`
}

// New makes the command, which logs as logger says.
func New(logger func(*cobra.Command) (*slog.Logger, error)) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "job J1..J6",
		Short: "Run one of the six reference jobs, whose results are defined bit for bit",
		Long: "Runs one of the six reference jobs on generated events. Its checksum is equal to that of the same job on Apache Flink, for any " +
			"number of events and shards; `make bench-flink` runs both.",
		Example: "  millrace job J1 --events 1000000 --json\n  millrace job J4 --events 2000000 --state pebble --checkpoint 2s",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(reference.Names(), strings.ToUpper(args[0])) {
				return fmt.Errorf("want one of %s, got %q; see %s --help", strings.Join(reference.Names(), ", "), args, c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			if f.logger, err = logger(c); err != nil {
				return err
			}
			return f.run(c, strings.ToUpper(args[0]))
		},
	}
	c.Flags().Uint64Var(&f.events, "events", 1_000_000, "how many events are generated; an even number")
	c.Flags().Uint64Var(&f.users, "users", reference.DefaultUsers, "how many users there are, of whom a fifth is active at a time; a multiple of 10")
	c.Flags().Float64Var(&f.hot, "hot", 0, "the share of events that are about one item, 0 to 1: skew, which the jobs' definition has none of")
	c.Flags().IntVar(&f.shards, "shards", 0, "over how many shards stages are spread; 0 means the cores")
	c.Flags().StringToIntVar(&f.parallelism, "parallelism", nil, "over how many shards single stages are spread, such as digest=1")
	c.Flags().StringVar(&f.state, "state", "memory", "where checkpoints are kept: memory, file or pebble")
	c.Flags().DurationVar(&f.interval, "checkpoint", 0, "the time between two checkpoints; 0 means 2s with pebble and file, none with memory")
	c.Flags().StringVar(&f.data, "data", "", "the directory of the checkpoints, from which a job that was stopped goes on; a temporary one if empty")
	c.Flags().Var(&f.limit, "memory-limit", "how much memory the process may take, such as 1GiB; state that does not fit stays on disk, so --state is pebble")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as one JSON object")
	return c
}

func (f *flags) check(name string) error {
	var stages []string
	for _, n := range reference.Topology(name).Nodes() {
		stages = append(stages, n.Name)
	}
	for stage := range f.parallelism {
		if !slices.Contains(stages, stage) {
			return fmt.Errorf("--parallelism %s: %s has the stages %s", stage, name, strings.Join(stages, ", "))
		}
	}
	switch {
	case f.events == 0 || f.events%2 != 0:
		return fmt.Errorf("--events %d: want an even number from 2 on", f.events)
	case f.users == 0 || f.users%10 != 0 || f.users > 1<<31:
		return fmt.Errorf("--users %d: want a multiple of 10, to 2147483640", f.users)
	case !(f.hot >= 0 && f.hot <= 1): // NaN too
		return fmt.Errorf("--hot %g: want 0 to 1", f.hot)
	case f.shards < 0 || f.shards > 128:
		return fmt.Errorf("--shards %d: want 1 to 128, or 0 for the cores", f.shards)
	case !kind.Known(f.state):
		return fmt.Errorf("--state %q: want memory, file or pebble", f.state)
	case f.data != "" && f.state == kind.Memory:
		return errors.New("--data: memory keeps nothing there; want --state pebble or file")
	case f.limit > 0 && f.state != kind.Pebble:
		return errors.New("--memory-limit: what does not fit into memory has to go to disk; want --state pebble")
	case f.limit > 0 && f.limit < leastLimit:
		return fmt.Errorf("--memory-limit %v: want at least %v", f.limit, bytesize(leastLimit))
	case f.interval < 0:
		return fmt.Errorf("--checkpoint %v: want a time from 0 on", f.interval)
	}
	return nil
}

func (f *flags) run(c *cobra.Command, name string) (err error) {
	if f.limit > 0 && !c.Flags().Changed("state") {
		f.state = kind.Pebble
	}
	if err := f.check(name); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	if f.limit > 0 {
		debug.SetMemoryLimit(int64(f.limit) * heapShare / 100)
	} else {
		go headroom.Keep(ctx, garbage)
	}
	backend, done, err := f.backend()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	result, err := f.measure(ctx, name, backend)
	if err != nil {
		return err
	}
	return f.print(c.OutOrStdout(), result)
}

// backend opens where checkpoints are kept, nil if there are none.
func (f *flags) backend() (state.Backend, func() error, error) {
	if f.state == kind.Memory {
		if f.interval == 0 {
			return nil, func() error { return nil }, nil
		}
		return memory.New(), func() error { return nil }, nil
	}
	dir, remove := f.data, func() error { return nil }
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "millrace-job-"); err != nil {
			return nil, nil, fmt.Errorf("temporary directory: %w", err)
		}
		remove = func() error { return os.RemoveAll(dir) }
	}
	if _, err := os.Stat(filepath.Join(dir, savepoint.LogFolder)); err == nil {
		return nil, nil, fmt.Errorf("--data %s: has the event log of a server; give a directory of its own", dir)
	}
	b, err := kind.Open(f.state, dir, kind.Options{Cache: int64(f.limit) / 16, Logger: f.logger})
	if err != nil {
		return nil, nil, errors.Join(f.damaged(err), remove())
	}
	return b, func() error { return errors.Join(b.Close(), remove()) }, nil
}

// damaged adds to the error of a state that can not be read what can be done.
func (f *flags) damaged(err error) error {
	if f.data == "" || !errors.Is(err, state.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w; remove %s to begin anew", err, f.data)
}

// measure runs the job. What it takes is measured from the first event on.
func (f *flags) measure(ctx context.Context, name string, backend state.Backend) (Result, error) {
	views := viewmemory.New()
	source := reference.Generator{Events: f.events, Users: f.users, Hot: uint64(f.hot * (1 << 16))}
	interval := f.interval
	if interval == 0 {
		interval = 2 * time.Second
	}
	j, err := job.New(job.Options[reference.Event]{
		Name:     fmt.Sprintf("%s of %d users, hot %g", name, f.users, f.hot),
		Topology: reference.Topology(name), Source: source, Watermarks: reference.Watermarks,
		Shards: f.shards, Parallelism: f.parallelism, State: backend, Checkpoints: checkpoint.Policy{Interval: interval}, Views: views,
		MemoryLimit: int64(f.limit) * stateShare / 100,
		Logger:      f.logger,
	})
	if err != nil {
		return Result{}, f.damaged(err)
	}
	if err := f.resumable(j); err != nil {
		j.Abandon()
		return Result{}, err
	}
	began := time.Now()
	cpuBefore, _ := process.Usage()
	read := j.Records()
	err = j.Run(ctx)
	if err = errors.Join(err, j.Close()); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	cpu, rss := process.Usage()
	elapsed := time.Since(began).Seconds()
	r := Result{Job: name, Events: j.Records(), Shards: j.Shards(), State: f.state, ElapsedS: elapsed, RSSPeakMB: rss}
	if read = j.Records() - read; read > 0 {
		r.EventsPerS = float64(read) / elapsed
		r.CPUSPerM = (cpu - cpuBefore).Seconds() / float64(read) * 1e6
	}
	r.checkpoints(j.History(), backend)
	snapshot := views.Snapshot()
	defer snapshot.Close()
	if v, ok := snapshot.Get(reference.ViewDigest, reference.DigestKey); ok {
		d := v.(*reference.Digest)
		r.RowsOut, r.Checksum = d.Rows, fmt.Sprintf("%016x", d.Sum)
	}
	return r, nil
}

// resumable says what is wrong if the job in the directory can not become one of
// so many events: it has had more, or has ended with another number.
func (f *flags) resumable(j *job.Job[reference.Event]) error {
	switch n := j.Records(); {
	case j.Ended() && n != f.events:
		return fmt.Errorf("--events %d: the job in %s has ended after %d; want --events %d, or another --data", f.events, f.data, n, n)
	case n > f.events:
		return fmt.Errorf("--events %d: the job in %s has had %d already; want as many or more, or another --data", f.events, f.data, n)
	}
	return nil
}

// checkpoints fills in what checkpoints took.
func (r *Result) checkpoints(history []checkpoint.Record, backend state.Backend) {
	var took []time.Duration
	var bytes []int64
	for _, c := range history {
		if c.Failure == "" {
			took, bytes = append(took, c.Duration), append(bytes, c.Bytes)
		}
	}
	if r.Checkpoints = len(took); r.Checkpoints == 0 {
		return
	}
	slices.Sort(took)
	slices.Sort(bytes)
	r.CheckpointMSP50 = took[len(took)/2].Seconds() * 1000
	r.CheckpointMSMax = took[len(took)-1].Seconds() * 1000
	r.CheckpointBytesIncremental = bytes[len(bytes)/2]
	for _, c := range history {
		r.CheckpointBytesFull = max(r.CheckpointBytesFull, c.TotalBytes)
	}
}

func (f *flags) print(out io.Writer, r Result) error {
	if f.json {
		return json.NewEncoder(out).Encode(r)
	}
	_, err := fmt.Fprintf(out, "%s  %d events in %.2f s: %.0f/s, %.3f s of CPU a million, %.0f MB at most\n%d rows, checksum %s\n",
		r.Job, r.Events, r.ElapsedS, r.EventsPerS, r.CPUSPerM, r.RSSPeakMB, r.RowsOut, r.Checksum)
	if err == nil && r.Checkpoints > 0 {
		_, err = fmt.Fprintf(out, "%d checkpoints: %.0f ms (median), %.0f ms (longest), %d bytes changed (median), %d bytes stored at most\n",
			r.Checkpoints, r.CheckpointMSP50, r.CheckpointMSMax, r.CheckpointBytesIncremental, r.CheckpointBytesFull)
	}
	return err
}

// bytesize is a number of bytes as people write it.
type bytesize int64

// String writes it with a unit.
func (b bytesize) String() string {
	if b == 0 {
		return ""
	}
	return humanize.IBytes(uint64(b))
}

// Set reads it.
func (b *bytesize) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<50 {
		return errors.New("want a number of bytes with a unit, such as 512MiB or 1GiB")
	}
	*b = bytesize(n)
	return nil
}

// Type is what help calls it.
func (b *bytesize) Type() string { return "bytes" }
