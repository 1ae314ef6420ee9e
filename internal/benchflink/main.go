// Command benchflink runs the reference jobs here and on Apache Flink, in
// turns, and prints the CPU time that each takes as a fraction of Flink's.
// `make bench-flink` runs it.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/internal/process"
	"millrace/reference"
	"millrace/reference/plain"
)

// goals are the fractions of Flink's CPU time that a job may take at most.
var goals = map[string][2]float64{
	"J1": {6, 15}, "J2": {10, 20}, "J3": {10, 20}, "J4": {6, 12}, "J5": {8, 20}, "J6": {10, 20},
}

// tuned are the jobs that Flink has a hand-tuned variant of: the better counts.
var tuned = map[string]string{"J3": "J3T", "J4": "J4T"}

// result is what a run of either prints.
type result struct {
	Checksum   string  `json:"checksum"`
	CPUSPerM   float64 `json:"cpu_s_per_M"`
	EventsPerS float64 `json:"events_per_s"`
	RSSPeakMB  float64 `json:"rss_peak_mb"`
}

// bench is what is run, and how often.
type bench struct {
	millrace, flink string
	host            string // the script that runs a job as Go stages in Flink, "" if that is not compared
	rounds          int
	events          [2]uint64 // in memory, durable
	shards          int
}

func main() {
	var b bench
	var jobs, loop string
	flag.StringVar(&b.millrace, "millrace", "bin/millrace", "the binary to measure")
	flag.StringVar(&b.flink, "flink", "../shared/peers/flink/run.sh", "the script that runs a job on Flink")
	flag.StringVar(&b.host, "host", "", "compare Go stages in Flink, which this script runs, with plain Java there")
	flag.IntVar(&b.rounds, "rounds", 3, "how often each is run")
	flag.IntVar(&b.shards, "shards", 2, "over how many shards")
	flag.Uint64Var(&b.events[0], "events", 4_000_000, "how many events, with state in memory")
	flag.Uint64Var(&b.events[1], "durable-events", 2_000_000, "how many events, with durable state")
	flag.StringVar(&jobs, "jobs", strings.Join(reference.Names(), ","), "which jobs")
	flag.StringVar(&loop, "loop", "", "run one job as a plain loop, and print what it takes")
	flag.Parse()
	if loop != "" {
		runLoop(loop, b.events[0])
		return
	}
	run := b.run
	if b.host != "" {
		run = b.runHost
	}
	if err := run(strings.Split(jobs, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench-flink:", err)
		os.Exit(1)
	}
}

// runLoop runs a plain loop in this process.
func runLoop(name string, events uint64) {
	_, _ = plain.Run(name, reference.Generator{Events: 2}) // makes the generator's table
	before, _ := process.Usage()
	began := time.Now()
	d, _ := plain.Run(name, reference.Generator{Events: events})
	after, rss := process.Usage()
	_ = json.NewEncoder(os.Stdout).Encode(result{
		Checksum: fmt.Sprintf("%016x", d.Sum), CPUSPerM: (after - before).Seconds() / float64(events) * 1e6,
		EventsPerS: float64(events) / time.Since(began).Seconds(), RSSPeakMB: rss,
	})
}

func (b *bench) run(jobs []string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "CPU s per million events: medians of %d rounds, in turns, %d shards\n", b.rounds, b.shards)
	fmt.Fprintf(w, "job\tstate\there\tFlink\tratio\tgoal\tfaster\tpeak MB here\tFlink\tplain loop\n")
	for _, job := range jobs {
		for kind, state := range []string{"memory", "pebble"} {
			if err := b.compare(w, job, kind, state); err != nil {
				return fmt.Errorf("%s, state in %s: %w", job, state, err)
			}
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare runs one job on one kind of state, in turns.
func (b *bench) compare(w *tabwriter.Writer, job string, kind int, state string) error {
	events := strconv.FormatUint(b.events[kind], 10)
	ours := []string{b.millrace, "job", job, "--events", events, "--shards", strconv.Itoa(b.shards), "--state", state, "--json"}
	theirs := map[string][]string{job: b.flinkCommand(job, events, kind)}
	if t := tuned[job]; t != "" {
		theirs[t] = b.flinkCommand(t, events, kind)
	}
	all := map[string][]result{}
	for range b.rounds {
		if err := b.once(all, "here", ours); err != nil {
			return err
		}
		for name, command := range theirs {
			if err := b.once(all, name, command); err != nil {
				return err
			}
		}
		if kind == 0 {
			if err := b.once(all, "loop", []string{os.Args[0], "-loop", job, "-events", events}); err != nil {
				return err
			}
		}
	}
	here, flink := median(all["here"]), result{}
	for name := range theirs {
		if m := median(all[name]); flink.CPUSPerM == 0 || m.CPUSPerM < flink.CPUSPerM {
			flink = m
		}
	}
	loop := ""
	if kind == 0 {
		loop = fmt.Sprintf("%.3f", median(all["loop"]).CPUSPerM)
	}
	goal, ratio := goals[job][kind], flink.CPUSPerM/here.CPUSPerM
	verdict := ""
	if ratio < goal {
		verdict = " missed"
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%.3f\t%.3f\t1/%.1f\t1/%.0f%s\t%.1f x\t%.0f\t%.0f\t%s\n", job, state, here.CPUSPerM, flink.CPUSPerM,
		ratio, goal, verdict, here.EventsPerS/flink.EventsPerS, here.RSSPeakMB, flink.RSSPeakMB, loop)
	return err
}

func (b *bench) flinkCommand(job, events string, kind int) []string {
	if kind == 0 {
		return []string{b.flink, job, events, "hashmap"}
	}
	return []string{b.flink, job, events, "rocksdb", "--ckpt", "2000"}
}

// once runs a command, whose last line is a result. All must agree on the
// checksum.
func (b *bench) once(all map[string][]result, name string, command []string) error {
	var errs bytes.Buffer
	c := exec.Command(command[0], command[1:]...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, errs.String())
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var r result
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return fmt.Errorf("%s printed %q: %w", strings.Join(command, " "), lines[len(lines)-1], err)
	}
	for other, list := range all {
		if len(list) > 0 && list[0].Checksum != r.Checksum {
			return fmt.Errorf("%s comes to %s, %s to %s", name, r.Checksum, other, list[0].Checksum)
		}
	}
	all[name] = append(all[name], r)
	return nil
}

// median is each figure's.
func median(list []result) result {
	of := func(figure func(result) float64) float64 {
		var all []float64
		for _, r := range list {
			all = append(all, figure(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return result{
		CPUSPerM:   of(func(r result) float64 { return r.CPUSPerM }),
		EventsPerS: of(func(r result) float64 { return r.EventsPerS }),
		RSSPeakMB:  of(func(r result) float64 { return r.RSSPeakMB }),
	}
}
