package services

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestFlink: a job with RocksDB runs on a cluster of several processes, goes on
// after one of them was killed and came back, and ends.
func TestFlink(t *testing.T) {
	c := Flink(t, FlinkOptions{TaskManagers: 2, Slots: 1})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	jar := buildJob(ctx, t, c)
	if out, err := c.Command(ctx, "run", "--parallelism", "2", jar, "100000").CombinedOutput(); err != nil {
		t.Fatalf("flink run: %v\n%s", err, tail(string(out)))
	}
	if list := jobs(ctx, t, c); len(list) != 1 || list[0].State != "FINISHED" {
		t.Fatalf("jobs are %+v", list)
	}
	if out, err := c.Command(ctx, "run", "--detached", "--parallelism", "2", jar, "1000000000000").CombinedOutput(); err != nil {
		t.Fatalf("flink run: %v\n%s", err, tail(string(out)))
	}
	awaitJobs(ctx, t, c, "all tasks run", func(j job) bool { return j.Tasks.Running == j.Tasks.Total })
	c.KillTaskManager(1)
	awaitJobs(ctx, t, c, "tasks have no slot", func(j job) bool { return j.Tasks.Running < j.Tasks.Total })
	c.StartTaskManager(1)
	awaitJobs(ctx, t, c, "all tasks run", func(j job) bool { return j.Tasks.Running == j.Tasks.Total })
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

// job is what the cluster says of one.
type job struct {
	State string `json:"state"`
	Tasks struct {
		Running, Total int
	} `json:"tasks"`
}

func jobs(ctx context.Context, t *testing.T, c *FlinkCluster) []job {
	t.Helper()
	var overview struct {
		Jobs []job `json:"jobs"`
	}
	if err := c.Get(ctx, "/jobs/overview", &overview); err != nil {
		t.Fatal(err)
	}
	return overview.Jobs
}

// awaitJobs waits until the job that has not finished is as wanted. A job is
// RUNNING before its tasks are, so it is they that count.
func awaitJobs(ctx context.Context, t *testing.T, c *FlinkCluster, what string, ok func(job) bool) {
	t.Helper()
	var list []job
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		list = jobs(ctx, t, c)
		for _, j := range list {
			if j.State != "FINISHED" && j.Tasks.Total > 0 && ok(j) {
				return
			}
		}
	}
	t.Fatalf("jobs are %+v, want that %s", list, what)
}
