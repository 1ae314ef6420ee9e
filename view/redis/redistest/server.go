// Package redistest starts real Redis servers for tests, alone and as a
// cluster. They keep nothing on disk unless they are asked to.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server process.
type Server struct {
	Address string
	t       testing.TB
	dir     string
	args    []string
	command *exec.Cmd
}

// Start starts a server on a free port, with more arguments in the form of its
// command line. It is killed at the end of the test. Without
// MILLRACE_SERVICES=required the test is skipped.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if os.Getenv("MILLRACE_SERVICES") != "required" {
		t.Skip("needs redis-server: set MILLRACE_SERVICES=required")
	}
	s := &Server{t: t, dir: t.TempDir(), args: args}
	s.Address = freeAddress(t)
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// leastPort keeps servers away from the ports that outgoing connections get,
// and leaves room above for the bus of a cluster, which is 10,000 higher.
const leastPort, mostPort = 20_000, 29_000

// freeAddress is an address that nobody listens on, nor 10,000 ports above.
func freeAddress(t testing.TB) string {
	t.Helper()
	for try := range 200 {
		port := leastPort + (os.Getpid()*37+int(time.Now().UnixNano()/1000)+try*101)%(mostPort-leastPort)
		if free(port) && free(port+10_000) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("no free port")
	return ""
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Start starts the server again, on the same address and directory, after Kill.
func (s *Server) Start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--loglevel", "warning"}, s.args...)
	s.command = exec.Command("redis-server", args...)
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(s.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("start redis-server: %v", err)
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Since(began) > 10*time.Second {
			text, _ := os.ReadFile(log.Name())
			s.t.Fatalf("redis-server does not listen: %v\n%s", err, text)
		}
	}
}

// Kill kills the server as kill -9 does.
func (s *Server) Kill() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	s.command = nil
}

// Pause keeps the server from answering, until Resume.
func (s *Server) Pause() { _ = s.command.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { _ = s.command.Process.Signal(syscall.SIGCONT) }

// Do sends a command to a server.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// Cluster starts a cluster of three nodes.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	args := []string{"--cluster", "create"}
	for i := range 3 {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-config-file", fmt.Sprint("nodes", i, ".conf"), "--cluster-node-timeout", "2000")
		nodes = append(nodes, s)
		args = append(args, s.Address)
	}
	out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("create the cluster: %v\n%s", err, out)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		whole := 0
		for _, s := range nodes {
			if text, _ := s.Do("CLUSTER", "INFO").(string); bytes.Contains([]byte(text), []byte("cluster_state:ok")) {
				whole++
			}
		}
		if whole == len(nodes) {
			return nodes
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the cluster does not come up")
		}
	}
}
