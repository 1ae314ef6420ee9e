package services

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFlink: a job with RocksDB runs on a cluster of several processes, goes on
// after one of them was killed and came back, and ends.
func TestFlink(t *testing.T) {
	c := Flink(t, FlinkOptions{TaskManagers: 2, Slots: 1})
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	jar := buildJob(ctx, t, c)
	if out, err := c.Command(ctx, "run", "--parallelism", "2", jar, "100000").CombinedOutput(); err != nil {
		t.Fatalf("flink run: %v\n%s", err, tail(string(out)))
	}
	if got := jobStates(ctx, t, c); got != "FINISHED" {
		t.Fatalf("jobs are %s", got)
	}
	if out, err := c.Command(ctx, "run", "--detached", "--parallelism", "2", jar, "1000000000000").CombinedOutput(); err != nil {
		t.Fatalf("flink run: %v\n%s", err, tail(string(out)))
	}
	awaitStates(ctx, t, c, "FINISHED RUNNING")
	c.KillTaskManager(1)
	awaitStates(ctx, t, c, "FINISHED RESTARTING")
	c.StartTaskManager(1)
	awaitStates(ctx, t, c, "FINISHED RUNNING")
}

// buildJob compiles the job of testdata.
func buildJob(ctx context.Context, t *testing.T, c *FlinkCluster) string {
	t.Helper()
	source, err := filepath.Abs("testdata/CountJob.java")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, command := range [][]string{
		{"javac", "-nowarn", "-cp", filepath.Join(c.home, "lib", "*"), "-d", dir, source},
		{"jar", "--create", "--file", filepath.Join(dir, "job.jar"), "--main-class", "CountJob", "-C", dir, "CountJob.class"},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command[0], err, out)
		}
	}
	return filepath.Join(dir, "job.jar")
}

// jobStates returns the states of all jobs, sorted by the alphabet.
func jobStates(ctx context.Context, t *testing.T, c *FlinkCluster) string {
	t.Helper()
	var overview struct {
		Jobs []struct {
			State string `json:"state"`
		} `json:"jobs"`
	}
	if err := c.Get(ctx, "/jobs/overview", &overview); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, j := range overview.Jobs {
		states = append(states, j.State)
	}
	slices.Sort(states)
	return strings.Join(states, " ")
}

func awaitStates(ctx context.Context, t *testing.T, c *FlinkCluster, want string) {
	t.Helper()
	for ctx.Err() == nil {
		if jobStates(ctx, t, c) == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("jobs are %s, want %s", jobStates(context.Background(), t, c), want)
}
