// Command bench measures the figures of docs/benchmarks.md on this machine:
// it drives a millrace binary from outside, by command line and HTTP, as its
// users do, and prints one table. `make bench` runs it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"text/tabwriter"
	"time"
)

// figure is one row of the table.
type figure struct{ name, goal, measured string }

func main() {
	binary := flag.String("millrace", "./millrace", "the binary to measure")
	data := flag.String("data", "../shared/data/ml-1m", "a MovieLens folder; if it is absent, generated traffic is used")
	seconds := flag.Int("seconds", 10, "how long each load runs")
	loaded := flag.String("loaded", "", "a data directory that is loaded already: only serving is measured")
	redis := flag.String("redis", "", "the address of a Redis: two fronts that read views there are measured instead")
	broker := flag.String("kafka", "", "the address of a broker: reading a topic, and publishing results, is measured instead")
	events := flag.Int("events", 1_000_000, "with -kafka, how many events the topic has")
	flag.Parse()
	length := time.Duration(*seconds) * time.Second
	var figures []figure
	var err error
	switch {
	case *broker != "":
		figures, err = measureTopics(context.Background(), *binary, *broker, *events)
	case *redis != "":
		figures, err = measureFronts(context.Background(), *binary, *data, *loaded, *redis, length)
	case *loaded != "":
		figures, err = measureServing(context.Background(), *binary, *loaded, length)
	default:
		figures, err = run(context.Background(), *binary, *data, length)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "figure\tgoal\tmeasured (%d cores)\n", runtime.NumCPU())
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.name, f.goal, f.measured)
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, data string, length time.Duration) ([]figure, error) {
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var figures []figure
	empty, err := measureStart(ctx, binary, filepath.Join(dir, "empty"))
	if err != nil {
		return figures, err
	}
	figures = append(figures, figure{"start to ready, empty directory", "< 0.3 s", seconds(empty)})
	loaded := filepath.Join(dir, "loaded")
	rows, err := load(ctx, binary, data, dir, loaded)
	figures = append(figures, rows...)
	if err != nil {
		return figures, err
	}
	start, err := measureStart(ctx, binary, loaded)
	if err != nil {
		return figures, err
	}
	figures = append(figures, figure{"start to ready, all of it loaded", "< 3 s", seconds(start)})
	rows, err = measureServing(ctx, binary, loaded, length)
	return append(figures, rows...), err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// load imports a MovieLens folder, or generated traffic where it is absent, and
// measures that.
func load(ctx context.Context, binary, data, dir, into string) (rows []figure, err error) {
	if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) {
		if data, err = generate(ctx, binary, dir); err != nil {
			return nil, err
		}
	}
	return measureReplay(ctx, binary, data, into)
}

// generate makes traffic where MovieLens is absent.
func generate(ctx context.Context, binary, dir string) (string, error) {
	path := filepath.Join(dir, "generated.jsonl")
	c := exec.CommandContext(ctx, binary, "generate", "--events", "1000000", "--users", "20000", "--items", "5000", "--seed", "1", "--to", path)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("generate traffic: %w", err)
	}
	return path, nil
}

// measureReplay imports the data durably and reads what the command reports.
func measureReplay(ctx context.Context, binary, path, data string) ([]figure, error) {
	c := exec.CommandContext(ctx, binary, "replay", path, "--data", data, "--json", "--log-level", "error")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("replay %s: %w", path, err)
	}
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	var r struct {
		Events       int     `json:"events"`
		EventsPerS   float64 `json:"events_per_s"`
		CPUSPerM     float64 `json:"cpu_s_per_M"`
		RSSPeakMB    float64 `json:"rss_peak_mb"`
		ElapsedS     float64 `json:"elapsed_s"`
		RejectedRows int     `json:"rejected"`
	}
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return nil, fmt.Errorf("replay's report: %w", err)
	}
	return []figure{
		{fmt.Sprintf("replay of %d events, durable, all operators", r.Events), ">= 100,000/s", fmt.Sprintf("%.0f/s (%.1f s)", r.EventsPerS, r.ElapsedS)},
		{"CPU per million events", "<= 20 s", fmt.Sprintf("%.1f s", r.CPUSPerM)},
		{"peak memory of the replay", "< 1024 MB", fmt.Sprintf("%.0f MB", r.RSSPeakMB)},
	}, nil
}

// server is a millrace that was started.
type server struct {
	command *exec.Cmd
	url     string
}

// start runs `millrace serve` and returns once it is ready.
func start(ctx context.Context, binary, data string, more ...string) (*server, time.Duration, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	address := listener.Addr().String()
	listener.Close()
	s := &server{url: "http://" + address}
	args := append([]string{"serve", "--data", data, "--listen", address, "--log-level", "error"}, more...)
	s.command = exec.CommandContext(ctx, binary, args...)
	s.command.Stderr = os.Stderr
	began := time.Now()
	if err := s.command.Start(); err != nil {
		return nil, 0, fmt.Errorf("start server: %w", err)
	}
	for time.Since(began) < time.Minute {
		r, err := http.Get(s.url + "/v1/health")
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s, time.Since(began), nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.stop()
	return nil, 0, errors.New("the server was not ready within a minute")
}

func (s *server) stop() {
	_ = s.command.Process.Signal(os.Interrupt)
	_ = s.command.Wait()
}

// measureStart is the median of three starts.
func measureStart(ctx context.Context, binary, data string) (time.Duration, error) {
	var took [3]time.Duration
	for i := range took {
		s, d, err := start(ctx, binary, data)
		if err != nil {
			return 0, err
		}
		s.stop()
		took[i] = d
	}
	return max(min(took[0], took[1]), min(max(took[0], took[1]), took[2])), nil
}
