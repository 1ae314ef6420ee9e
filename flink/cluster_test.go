// Package flink has the tests of the operator host on clusters of real
// processes: `make test-integration` runs them. What is tested is the jar
// that `make flink` builds, by Flink's own command line. They run beside each other,
// each with a cluster of its own, as they wait much: for jobs that run at a rate,
// and for what was killed to be noticed.
package flink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/internal/services"
)

const (
	jarFile    = "../build/millrace-flink.jar"
	binaryFile = "target/binary/millrace"
)

// pollInterval is how often a JobManager is asked: each answer costs it milliseconds.
const pollInterval = 200 * time.Millisecond

// result is what a job comes to.
type result struct {
	Rows     uint64 `json:"rows_out"`
	Checksum string `json:"checksum"`
}

// lastLine reads the result on the last line of a job's output.
func lastLine(t *testing.T, out []byte) (r result) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		t.Fatalf("the job ended with %q: %v", lines[len(lines)-1], err)
	}
	return r
}

// want is what a job comes to in one Go process.
func want(t *testing.T, job string, events int) result {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binaryFile, "job", job, "--events", strconv.Itoa(events), "--state", "memory", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	return lastLine(t, out)
}

// soak has every combination run, and not just each job, backend and setting once.
func soak() bool { return os.Getenv("MILLRACE_SOAK") != "" }

var building sync.Mutex

// jar is the jar, which is built if it is not there.
func jar(t *testing.T) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(jarFile); err != nil {
		if out, err := exec.CommandContext(t.Context(), "../scripts/flink.sh").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	path, err := filepath.Abs(jarFile)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a job attached, and returns what tells its result once it has ended.
func run(ctx context.Context, t *testing.T, c *services.FlinkCluster, arguments ...string) func() result {
	t.Helper()
	command := c.Command(ctx, append([]string{"run"}, arguments...)...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return func() result {
		t.Helper()
		if err := command.Wait(); err != nil {
			t.Fatalf("flink run: %v\n%s", err, out.Bytes()[max(0, out.Len()-4000):])
		}
		return lastLine(t, out.Bytes())
	}
}

// task is a job on the cluster.
type task struct {
	ID    string `json:"jid"`
	State string `json:"state"`
	Tasks struct {
		Total, Running int
	} `json:"tasks"`
}

// running waits until all tasks of a job run, and returns its id.
func running(ctx context.Context, t *testing.T, c *services.FlinkCluster) string {
	t.Helper()
	for ctx.Err() == nil {
		var all struct{ Jobs []task }
		if err := c.Get(ctx, "/jobs/overview", &all); err != nil {
			t.Fatal(err)
		}
		for _, j := range all.Jobs {
			if j.State == "RUNNING" && j.Tasks.Total == j.Tasks.Running {
				return j.ID
			}
		}
		time.Sleep(pollInterval)
	}
	t.Fatal("no job came to run")
	return ""
}

// checkpointed waits until a job has completed so many checkpoints.
func checkpointed(ctx context.Context, t *testing.T, c *services.FlinkCluster, job string, n int) {
	t.Helper()
	for ctx.Err() == nil {
		var all struct{ Counts struct{ Completed int } }
		if err := c.Get(ctx, "/jobs/"+job+"/checkpoints", &all); err == nil && all.Counts.Completed >= n {
			return
		}
		time.Sleep(pollInterval)
	}
	t.Fatalf("no %d checkpoints", n)
}

var workerFolder = regexp.MustCompile(`/worker-(\d+)-\d+/socket`)

// workers are the worker processes of a TaskManager, or of all that ever
// were on the cluster.
func workers(t *testing.T, managers ...int) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		m := workerFolder.FindSubmatch(line)
		for _, manager := range managers {
			if m != nil && string(m[1]) == strconv.Itoa(manager) {
				pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// nothingLeft demands that neither processes nor files of workers are left.
func nothingLeft(t *testing.T, c *services.FlinkCluster, managers ...int) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		left := fmt.Sprint(workers(t, managers...))
		for _, folder := range []string{filepath.Join(c.Dir, "tmp"), "/tmp"} {
			for _, m := range managers {
				files, err := filepath.Glob(fmt.Sprintf("%s/millrace-flink-*/worker-%d-*", folder, m))
				if err != nil {
					t.Fatal(err)
				}
				left += strings.Join(files, " ")
			}
		}
		if left == "[]" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %s", left)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestReferenceJobs: Flink's own command line runs the jar, and every job comes
// to what it comes to in one Go process; with RocksDB while state that has been
// written there is dropped from memory and read back.
func TestReferenceJobs(t *testing.T) {
	t.Parallel()
	c := services.Flink(t, services.FlinkOptions{TaskManagers: 2, Slots: 1})
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	tests := []struct{ job, backend string }{{"J1", "hashmap"}, {"J2", "rocksdb"}, {"J4", "hashmap"}, {"J6", "rocksdb"}}
	if soak() {
		tests = append(tests, []struct{ job, backend string }{{"J1", "rocksdb"}, {"J2", "hashmap"}, {"J4", "rocksdb"}, {"J6", "hashmap"}}...)
	}
	for _, test := range tests {
		events, limit := 300_000, []string(nil)
		if test.backend == "rocksdb" { // nothing of the state stays in the workers, which is slow
			events, limit = 40_000, []string{"--memory-limit", "1KiB"}
		}
		arguments := append([]string{"--parallelism", "2", "-Dstate.backend.type=" + test.backend, "-Dexecution.checkpointing.interval=500 ms",
			jar(t), "--job", test.job, "--events", strconv.Itoa(events)}, limit...)
		got := run(ctx, t, c, arguments...)()
		if want := want(t, test.job, events); got != want {
			t.Errorf("%s on %s comes to %v, want %v", test.job, test.backend, got, want)
		}
	}
	nothingLeft(t, c, c.TaskManager(0).PID(), c.TaskManager(1).PID())
}

// TestKills: a TaskManager and workers are killed while jobs run, which go on and
// come to the same; nothing is left behind.
func TestKills(t *testing.T) {
	t.Parallel()
	c := services.Flink(t, services.FlinkOptions{TaskManagers: 2, Slots: 1})
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Minute)
	defer stop()
	const events = 240_000 // 40 s at the rate of two subtasks, of which the kills take 8 if nothing else runs
	managers := []int{c.TaskManager(0).PID(), c.TaskManager(1).PID()}
	for _, test := range []struct{ job, backend string }{{"J4", "hashmap"}, {"J6", "rocksdb"}, {"J2", "rocksdb"}} {
		done := run(ctx, t, c, "--parallelism", "2", "-Dstate.backend.type="+test.backend, "-Dexecution.checkpointing.interval=500 ms",
			jar(t), "--job", test.job, "--events", strconv.Itoa(events), "--rate", "3000")
		id := running(ctx, t, c)
		checkpointed(ctx, t, c, id, 2)
		pids := workers(t, managers...)
		if len(pids) != 2 {
			t.Fatalf("%d workers, want one a TaskManager", len(pids))
		}
		if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		running(ctx, t, c)
		checkpointed(ctx, t, c, id, 4)
		c.KillTaskManager(1)
		c.StartTaskManager(1)
		managers = append(managers, c.TaskManager(1).PID())
		if got, want := done(), want(t, test.job, events); got != want {
			t.Errorf("%s on %s comes to %v after kills, want %v", test.job, test.backend, got, want)
		}
		nothingLeft(t, c, managers...)
	}
}

var savepointPath = regexp.MustCompile(`file:\S+savepoint-\S+`)

// TestSavepoints: `flink stop` takes a savepoint, `flink run -s` goes on from it
// at another parallelism.
func TestSavepoints(t *testing.T) {
	t.Parallel()
	c := services.Flink(t, services.FlinkOptions{TaskManagers: 1, Slots: 3})
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Minute)
	defer stop()
	const events = 300_000
	type row struct {
		job, backend string
		from, to     int
	}
	tests := []row{{"J4", "hashmap", 2, 3}, {"J2", "rocksdb", 2, 1}}
	if soak() {
		tests = append(tests, row{"J1", "rocksdb", 1, 2}, row{"J6", "hashmap", 3, 2})
	}
	for _, test := range tests {
		arguments := func(parallelism int) []string {
			return []string{"--parallelism", strconv.Itoa(parallelism), "-Dstate.backend.type=" + test.backend, "-Dexecution.checkpointing.interval=500 ms",
				jar(t), "--job", test.job, "--events", strconv.Itoa(events)}
		}
		detached, cancel := context.WithCancel(ctx)
		run(detached, t, c, append(arguments(test.from), "--rate", "2500")...)
		id := running(ctx, t, c)
		checkpointed(ctx, t, c, id, 2)
		out, err := c.Command(ctx, "stop", "--savepointPath", "file://"+c.Savepoints, id).CombinedOutput()
		cancel()
		path := savepointPath.Find(out)
		if err != nil || path == nil {
			t.Fatalf("flink stop: %v\n%s", err, out)
		}
		got := run(ctx, t, c, append([]string{"-s", string(path)}, arguments(test.to)...)...)()
		if want := want(t, test.job, events); got != want {
			t.Errorf("%s on %s comes to %v from a savepoint, want %v", test.job, test.backend, got, want)
		}
	}
	nothingLeft(t, c, c.TaskManager(0).PID())
}
