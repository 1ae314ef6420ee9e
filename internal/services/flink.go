package services

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FlinkOptions choose the size of a session cluster.
type FlinkOptions struct {
	TaskManagers int               // processes, 0: one
	Slots        int               // of each TaskManager, 0: two
	HeapMB       int               // for the tasks of each TaskManager, 0: 256
	ManagedMB    int               // for RocksDB in each TaskManager, 0: 128
	Config       map[string]string // further lines of config.yaml; they win
}

// FlinkCluster is an Apache Flink session cluster. The Instance is its
// JobManager: a kill of it forgets all jobs, unless Config says otherwise.
type FlinkCluster struct {
	Instance
	Address     string // HOST:PORT of REST and the web interface
	Checkpoints string // folder of checkpoints
	Savepoints  string // folder of savepoints

	home     string // where Flink is installed
	managers []*Instance
}

// Flink starts a session cluster.
func Flink(t testing.TB, options FlinkOptions) *FlinkCluster {
	t.Helper()
	need(t)
	options.TaskManagers = orDefault(options.TaskManagers, 1)
	options.Slots = orDefault(options.Slots, 2)
	options.HeapMB = orDefault(options.HeapMB, 256)
	options.ManagedMB = orDefault(options.ManagedMB, 128)
	dir := newDir(t, "flink")
	c := &FlinkCluster{
		Address: localAddress(freePort(t)), home: install(t, "flink"),
		Checkpoints: filepath.Join(dir, "checkpoints"), Savepoints: filepath.Join(dir, "savepoints"),
	}
	c.Instance = Instance{Name: "jobmanager", Dir: dir, t: t, program: "java", answers: c.ready, env: []string{"FLINK_CONF_DIR=" + dir}}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.yaml"), c.config(options, freePort(t)))
	c.args = c.java("-Xmx384m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", dir)
	c.begin()
	for i := range options.TaskManagers {
		m := &Instance{Name: fmt.Sprintf("taskmanager-%d", i), Dir: dir, t: t, program: "java", env: c.env}
		starts := 0
		m.renew = func() { // the JobManager remembers a killed one for a while, so that each start has an id of its own
			starts++
			id := fmt.Sprintf("%s-%d", m.Name, starts)
			m.args = c.java(fmt.Sprintf("-Xmx%dm", options.HeapMB+64), "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
				"--configDir", dir, "-D", "taskmanager.resource-id="+id)
			m.answers = func(ctx context.Context) error { return c.registered(ctx, id) }
		}
		c.managers = append(c.managers, m)
		m.begin()
	}
	return c
}

func orDefault(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// java are the arguments of Java for a process of the cluster. They live for
// seconds, so that only the quick compiler is worth its while, and classes come
// from an archive.
func (c *FlinkCluster) java(arguments ...string) []string {
	return append([]string{"-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:SharedArchiveFile=" + filepath.Join(c.home, "classes.jsa"), "-Xshare:auto",
		"-Djava.io.tmpdir=" + filepath.Join(c.Dir, "tmp"), "@" + filepath.Join(c.home, "java.args")}, arguments...)
}

// config is the cluster's config.yaml. Memory is given piece by piece, as a
// TaskManager that is started without Flink's shell scripts wants it.
func (c *FlinkCluster) config(options FlinkOptions, rpcPort int) string {
	host, port, _ := strings.Cut(c.Address, ":")
	p := map[string]string{
		"jobmanager.rpc.address": host, "jobmanager.rpc.port": strconv.Itoa(rpcPort), "jobmanager.bind-host": host,
		"rest.address": host, "rest.port": port, "rest.bind-address": host, "rest.bind-port": port,
		"taskmanager.host": host, "taskmanager.bind-host": host,
		"taskmanager.numberOfTaskSlots":              strconv.Itoa(options.Slots),
		"taskmanager.cpu.cores":                      strconv.Itoa(options.Slots),
		"taskmanager.memory.task.heap.size":          fmt.Sprintf("%dm", options.HeapMB),
		"taskmanager.memory.framework.heap.size":     "64m",
		"taskmanager.memory.task.off-heap.size":      "0m",
		"taskmanager.memory.framework.off-heap.size": "64m",
		"taskmanager.memory.jvm-metaspace.size":      "256m",
		"taskmanager.memory.jvm-overhead.min":        "64m",
		"taskmanager.memory.jvm-overhead.max":        "64m",
		"taskmanager.memory.network.min":             "64m",
		"taskmanager.memory.network.max":             "64m",
		"taskmanager.memory.managed.size":            fmt.Sprintf("%dm", options.ManagedMB),
		"io.tmp.dirs":                                filepath.Join(c.Dir, "tmp"), "web.tmpdir": filepath.Join(c.Dir, "tmp"),
		"execution.checkpointing.dir":           "file://" + c.Checkpoints,
		"execution.checkpointing.savepoint-dir": "file://" + c.Savepoints,
		// A TaskManager that hangs is missed after 6 s instead of 50, one that was killed
		// when two heartbeats have not reached it.
		"heartbeat.interval": "500", "heartbeat.timeout": "6000",
		"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.delay": "500 ms", "restart-strategy.fixed-delay.attempts": "1000",
	}
	maps.Copy(p, options.Config)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s: %q\n", name, p[name])
	}
	return text.String()
}

// TaskManager returns the process of the TaskManager with a number from 0.
func (c *FlinkCluster) TaskManager(i int) *Instance { return c.managers[i] }

// KillTaskManager kills one as `kill -9` does.
func (c *FlinkCluster) KillTaskManager(i int) {
	c.t.Helper()
	c.managers[i].Kill()
}

// StartTaskManager starts one that was killed again, and returns when it has registered.
func (c *FlinkCluster) StartTaskManager(i int) {
	c.t.Helper()
	c.managers[i].Start()
}

// Command is Flink's command line on this cluster: Command("run", "-d", "job.jar"),
// "list", "savepoint", "stop", "cancel". It ends with the context.
func (c *FlinkCluster) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	all := c.java("-Xmx512m", "org.apache.flink.client.cli.CliFrontend")
	command := exec.CommandContext(ctx, "java", append(all, arguments...)...)
	command.Env = append(os.Environ(), c.env...)
	command.Dir = c.Dir
	return command
}

// Get reads a path of the REST interface, such as /jobs/overview, into an answer.
func (c *FlinkCluster) Get(ctx context.Context, path string, answer any) error {
	address := url.URL{Scheme: "http", Host: c.Address, Path: path}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// ready succeeds once the JobManager answers.
func (c *FlinkCluster) ready(ctx context.Context) error {
	var overview map[string]any
	return c.Get(ctx, "/overview", &overview)
}

// registered succeeds once the JobManager knows the TaskManager and its slots.
func (c *FlinkCluster) registered(ctx context.Context, id string) error {
	var known struct {
		TaskManagers []struct {
			ID    string `json:"id"`
			Slots int    `json:"slotsNumber"` // which it offers after it has registered
		} `json:"taskmanagers"`
	}
	if err := c.Get(ctx, "/taskmanagers", &known); err != nil {
		return err
	}
	for _, m := range known.TaskManagers {
		if m.ID == id && m.Slots > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s has not registered with its slots yet", id)
}
