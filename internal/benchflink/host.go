package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"text/tabwriter"
)

// hostGoals are how much of plain Java's CPU time on Flink a job may take as Go
// stages in Flink: on the heap, and on RocksDB.
var hostGoals = map[string][2]float64{
	"J1": {1.5, 2.0 / 3}, "J2": {2.0 / 3, 2.0 / 3}, "J4": {1.0 / 2, 1.0 / 2}, "J6": {1.0 / 2, 1.0 / 4},
}

const (
	latencyRate   = 10_000    // events a second in each of the two partitions
	latencyEvents = "1000000" // the first ten seconds warm the JVM up, and are not timed
	latencyGoalMS = 15
)

// errNoGoal is the error of a job that has not been compared on Flink.
var errNoGoal = errors.New("no goal for Go stages in Flink")

// runHost runs jobs as Go stages in Flink and as plain Java jobs, in turns.
func (b *bench) runHost(jobs []string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "CPU s per million events on Flink: medians of %d rounds, in turns, parallelism 2\n", b.rounds)
	fmt.Fprintf(w, "job\tbackend\tGo stages\tplain Java\tratio\tgoal\thand-tuned Java\n")
	for _, job := range jobs {
		for kind := range 2 {
			if err := b.compareHost(w, job, kind); err != nil {
				return fmt.Errorf("%s: %w", job, err)
			}
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	for _, job := range jobs {
		if job == "J1" || job == "J4" { // the others wait for windows
			if err := b.latency(job); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareHost runs one job on one backend.
func (b *bench) compareHost(w *tabwriter.Writer, job string, kind int) error {
	goal, ok := hostGoals[job]
	if !ok {
		return errNoGoal
	}
	events := strconv.FormatUint(b.events[kind], 10)
	commands := map[string][]string{"plain": b.flinkCommand(job, events, kind)}
	if t := tuned[job]; t != "" {
		commands["tuned"] = b.flinkCommand(t, events, kind)
	}
	commands["host"] = slices.Concat([]string{b.host}, commands["plain"][1:])
	all := map[string][]result{}
	for range b.rounds {
		for name, command := range commands {
			if err := b.once(all, name, command); err != nil {
				return err
			}
		}
	}
	host, plain := median(all["host"]).CPUSPerM, median(all["plain"]).CPUSPerM
	verdict, byHand := "", ""
	if host/plain > goal[kind] {
		verdict = " missed"
	}
	if len(all["tuned"]) > 0 {
		byHand = fmt.Sprintf("%.2f", median(all["tuned"]).CPUSPerM)
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f%s\t%s\n", job, commands["plain"][3], host, plain, host/plain, goal[kind], verdict, byHand)
	return err
}

// latency measures how long a row takes at a fixed rate.
func (b *bench) latency(job string) error {
	var p50, p99 []float64
	for range b.rounds {
		c := exec.Command(b.host, job, latencyEvents, "hashmap", "--ckpt", "2000", "--rate", strconv.Itoa(latencyRate), "--latency")
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			return err
		}
		var r struct {
			P50 float64 `json:"latency_ms_p50"`
			P99 float64 `json:"latency_ms_p99"`
		}
		lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
		if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
			return err
		}
		p50, p99 = append(p50, r.P50), append(p99, r.P99)
	}
	slices.Sort(p50)
	slices.Sort(p99)
	fmt.Printf("%s at %d/s with a checkpoint every 2 s, from the tenth second on: p50 %.1f ms, p99 %.1f ms (goal %d)\n",
		job, 2*latencyRate, p50[len(p50)/2], p99[len(p99)/2], latencyGoalMS)
	return nil
}
