// Package services starts real systems for tests: Apache Kafka, Redis,
// MariaDB, PostgreSQL and Apache Flink, each a private throw-away instance on free
// ports of 127.0.0.1, killed when the test ends or when its process dies.
//
// Tests that use it are skipped unless MILLRACE_SERVICES=required; then they
// fail if the system can't be had. The scripts of scripts/services install what
// is missing: `make test-integration`.
package services

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// variable is what makes tests that need services run.
const variable = "MILLRACE_SERVICES"

// Ports are taken from below the range that the kernel hands out to outgoing
// connections, so that no client sits on a server's port while it restarts.
const (
	lowestPort  = 12000
	highestPort = 32000
)

// need skips the test unless services are required.
func need(t testing.TB) {
	t.Helper()
	if os.Getenv(variable) != "required" {
		t.Skipf("needs a real service: %s is not required (make test-integration)", variable)
	}
}

// installed guards installs: by the name of the service, what its script printed.
var installed struct {
	sync.Mutex
	path map[string]string
}

// install runs `scripts/services/NAME.sh install`, which installs the system if
// it is missing, and returns the path that it prints.
func install(t testing.TB, name string) string {
	t.Helper()
	installed.Lock()
	defer installed.Unlock()
	if path := installed.path[name]; path != "" {
		return path
	}
	c := exec.Command(filepath.Join(moduleRoot(t), "scripts", "services", name+".sh"), "install")
	var messages strings.Builder
	c.Stderr = &messages
	out, err := c.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	path := lines[len(lines)-1]
	if err != nil || path == "" {
		t.Fatalf("%s=required, but %s could not be installed: %v\n%s", variable, name, err, tail(messages.String()))
	}
	if installed.path == nil {
		installed.path = map[string]string{}
	}
	installed.path[name] = path
	return path
}

// moduleRoot returns the folder of go.mod, above the folder that the test runs in.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in a folder above the test's")
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// freePort returns a port of 127.0.0.1 that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if l, err := net.Listen("tcp", localAddress(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return 0
}

func localAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// dirPrefix begins the names of instances' folders; the id of the process that
// made one follows.
const dirPrefix = "millrace-services-"

var sweepOnce sync.Once

// newDir makes a folder for an instance's data, which is removed when the test
// ends. Unlike the test's own it can be entered by other users: PostgreSQL does not
// run as root.
func newDir(t testing.TB, name string) string {
	t.Helper()
	sweepOnce.Do(sweep)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", dirPrefix, os.Getpid(), name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("%s is left: %v", dir, err)
		}
	})
	return dir
}

// sweep removes what test processes that were killed have left.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir)
		}
	}
}

// account returns the ids of a user of this machine.
func account(t testing.TB, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// write writes a file that everybody may read.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tail returns the end of a text, for messages.
func tail(text string) string {
	const most = 3000
	if len(text) > most {
		text = "[...]" + text[len(text)-most:]
	}
	return text
}
