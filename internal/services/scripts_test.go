package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestScripts starts, asks and stops what people start with `make services`.
func TestScripts(t *testing.T) {
	need(t)
	for name, variables := range map[string][]string{
		"kafka": {"KAFKA_PORT", "KAFKA_CONTROLLER_PORT"}, "redis": {"REDIS_PORT"}, "mariadb": {"MARIADB_PORT"},
		"postgres": {"POSTGRES_PORT"}, "flink": {"FLINK_PORT", "FLINK_RPC_PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testScript(t, name, variables)
		})
	}
}

func testScript(t *testing.T, name string, variables []string) {
	env := append(os.Environ(), "SERVICES_DATA="+newDir(t, name))
	port := 0
	for _, v := range variables {
		p := freePort(t)
		env = append(env, v+"="+strconv.Itoa(p))
		if port == 0 {
			port = p
		}
	}
	script := filepath.Join(moduleRoot(t), "scripts", "services", name+".sh")
	run := func(verb, want string, works bool) {
		t.Helper()
		c := exec.Command(script, verb)
		c.Env = env
		begun := time.Now()
		out, err := c.CombinedOutput()
		if (err == nil) != works || !strings.Contains(string(out), want) {
			t.Fatalf("%s %s: %v, want %q\n%s", name, verb, err, want, tail(string(out)))
		}
		t.Logf("%s: %v", verb, time.Since(begun).Round(time.Millisecond))
	}
	t.Cleanup(func() {
		c := exec.Command(script, "stop")
		c.Env = env
		_ = c.Run()
	})
	run("status", "is not running", true)
	run("health", "does not answer", false)
	taken, err := net.Listen("tcp", localAddress(port))
	if err != nil {
		t.Fatal(err)
	}
	run("start", fmt.Sprintf("port %d on 127.0.0.1 is taken", port), false)
	_ = taken.Close()
	run("start", "is up on 127.0.0.1:"+strconv.Itoa(port), true)
	run("start", "runs already", true)
	run("health", "answers", true)
	run("status", "runs on", true)
	run("stop", "has stopped", true)
	run("status", "is not running", true)
	if name != "flink" { // which keeps no data, and takes its time
		run("start", "is up", true) // on the data that it had
		run("stop", "has stopped", true)
	}
}

// TestStartTellsWhatRuns: what services.sh prints is of the services that run,
// and of no others.
func TestStartTellsWhatRuns(t *testing.T) {
	need(t)
	redis, mariadb := strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))
	env := append(os.Environ(), "SERVICES_DATA="+newDir(t, "scripts"), "REDIS_PORT="+redis, "MARIADB_PORT="+mariadb)
	run := func(arguments ...string) string {
		c := exec.Command(filepath.Join(moduleRoot(t), "scripts", "services.sh"), arguments...)
		c.Env = env
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", arguments, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { run("stop", "redis", "mariadb") })
	only := run("start", "redis")
	both := run("start", "mariadb")
	for _, c := range []struct {
		text, want string
		there      bool
	}{
		{only, "redis       127.0.0.1:" + redis, true}, {only, "addresses: [\"127.0.0.1:" + redis, true},
		{only, "kafka", false}, {only, "catalog", false}, {only, "postgres", false}, {only, "mariadb", false}, {only, "flink", false},
		{both, "redis       127.0.0.1:" + redis, true}, {both, "mariadb     127.0.0.1:" + mariadb, true},
		{both, "driver: mysql\n  dsn: mysql://millrace:millrace@127.0.0.1:" + mariadb + "/millrace\n", true}, {both, "postgres", false},
	} {
		if strings.Contains(c.text, c.want) != c.there {
			t.Errorf("of %q: want %v in\n%s", c.want, c.there, c.text)
		}
	}
}
