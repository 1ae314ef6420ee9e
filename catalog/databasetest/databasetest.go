// Package databasetest starts private, throw-away MariaDB and PostgreSQL
// servers for tests, which can be killed and started again.
package databasetest

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/catalog/opener"
)

// variable has the tests that need a real server run, and fail if it can not
// be had.
const variable = "MILLRACE_SERVICES"

// Server is a database server on a free port of this machine.
type Server struct {
	Driver string
	dir    string
	port   int
	user   *syscall.Credential
	ca     string // the certificate of a server that wants TLS

	mutex   sync.Mutex
	process *os.Process
	ended   chan struct{}
	names   atomic.Int64
}

// startTimeout is how long a server may take until it answers.
const startTimeout = 60 * time.Second

// Each runs a test with a server of its own of each kind.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	for _, driver := range []string{database.MySQL, database.PostgreSQL} {
		t.Run(driver, func(t *testing.T) { test(t, Start(t, driver)) })
	}
}

// Start starts a server of a driver, which ends with the test.
func Start(t *testing.T, driver string) *Server {
	t.Helper()
	return start(t, driver, false)
}

// StartTLS starts a server that wants TLS and shows a certificate of its own,
// which its settings name, for 127.0.0.1.
func StartTLS(t *testing.T, driver string) *Server {
	t.Helper()
	return start(t, driver, true)
}

func start(t *testing.T, driver string, secure bool) *Server {
	t.Helper()
	if os.Getenv(variable) != "required" {
		t.Skipf("needs a real %s server: %s=required runs it", driver, variable)
	}
	dir, err := os.MkdirTemp("", "millrace-"+driver+"-*")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Driver: driver, dir: dir, port: freePort(t)}
	t.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	if err := s.install(); err != nil {
		t.Fatalf("installing %s: %v", driver, err)
	}
	if secure {
		s.certify(t)
	}
	s.Run(t)
	return s
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// tool is the path of a server's program.
func tool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/"} {
		if found, err := filepath.Glob(pattern + name); err == nil && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// install makes the data directory. PostgreSQL refuses to run as root.
func (s *Server) install() error {
	data := filepath.Join(s.dir, "data")
	if s.Driver == database.MySQL {
		_, err := s.run("mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal",
			"--skip-test-db", "--innodb-log-file-size=8M", "--datadir="+data)
		return err
	}
	if os.Getuid() == 0 {
		out, err := exec.Command("id", "-u", "postgres").Output()
		if err != nil {
			return fmt.Errorf("user postgres: %w", err)
		}
		var uid uint32
		if _, err := fmt.Sscan(string(out), &uid); err != nil {
			return err
		}
		s.user = &syscall.Credential{Uid: uid, Gid: uid}
		if err := errors.Join(os.Chmod(s.dir, 0o755), os.Chown(s.dir, int(uid), int(uid))); err != nil {
			return err
		}
	}
	_, err := s.run("initdb", "--auth=trust", "--username=root", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata="+data)
	return err
}

func (s *Server) run(name string, args ...string) (string, error) {
	path, err := tool(name)
	if err != nil {
		return "", err
	}
	c := exec.Command(path, args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

// command is what runs the server.
func (s *Server) command() (*exec.Cmd, error) {
	data, port := filepath.Join(s.dir, "data"), fmt.Sprint(s.port)
	name, args := "mariadbd", []string{
		"--no-defaults", "--user=root", "--datadir=" + data, "--port=" + port, "--bind-address=127.0.0.1",
		"--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--innodb-buffer-pool-size=64M", "--skip-name-resolve", "--character-set-server=latin1",
	}
	if s.Driver == database.PostgreSQL {
		name, args = "postgres", []string{
			"-D", data, "-p", port, "-h", "127.0.0.1", "-k", s.dir, "-c", "shared_buffers=64MB", "-c", "deadlock_timeout=50ms",
		}
	}
	if s.ca != "" {
		args = append(args, s.secure()...)
	}
	path, err := tool(name)
	if err != nil {
		return nil, err
	}
	c := exec.Command(path, args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.user, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	c.Stdout, c.Stderr = out, out
	return c, nil
}

// Run starts a server that was killed or stopped, on the same data and port,
// and waits until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		out, _ := os.ReadFile(filepath.Join(s.dir, "output")) // all there is to be told
		t.Fatalf("%s: %v\n%s", s.Driver, err, out[max(0, len(out)-4000):])
	}
}

func (s *Server) start() (err error) {
	db, _, err := opener.Connect(s.config(administration[s.Driver]))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var last error
	ended := make(chan struct{})
	close(ended)
	for begin := time.Now(); time.Since(begin) < startTimeout; time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended: // PostgreSQL does not start while its children from before are ending
			if ended, err = s.launch(); err != nil {
				return err
			}
		default:
		}
		if last = db.Ping(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("no answer: %w", last)
}

// launch starts the process; the channel is closed when it has ended.
func (s *Server) launch() (chan struct{}, error) {
	c, err := s.command()
	if err != nil {
		return nil, err
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // for ever: the child is killed when its parent's thread ends
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // killed, as a rule
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.process, s.ended = c.Process, ended
	return ended, nil
}

// administration is the database that is always there.
var administration = map[string]string{database.MySQL: "mysql", database.PostgreSQL: "postgres"}

// Kill ends the server with SIGKILL, as a power cut of its process.
func (s *Server) Kill() { s.signal(syscall.SIGKILL, true) }

// Stop has the server end by itself.
func (s *Server) Stop() {
	if s.Driver == database.PostgreSQL {
		s.signal(syscall.SIGINT, true) // without waiting for its clients
		return
	}
	s.signal(syscall.SIGTERM, true)
}

// Pause has the server answer nothing until Resume, without ending.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP, false) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT, false) }

// signal signals the server, and its children where it does not end by itself.
func (s *Server) signal(sig syscall.Signal, wait bool) {
	s.mutex.Lock()
	process, ended := s.process, s.ended
	s.mutex.Unlock()
	if process == nil {
		return
	}
	targets := []int{process.Pid}
	if sig != syscall.SIGINT && sig != syscall.SIGTERM {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", process.Pid, process.Pid)) // none of one that has ended
		for _, field := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				targets = append(targets, pid)
			}
		}
	}
	for _, pid := range targets {
		_ = syscall.Kill(pid, sig) // of one that has ended already
	}
	if wait {
		<-ended
	}
}

func (s *Server) config(name string) database.Config {
	c := database.Default()
	c.Driver, c.DSN = s.Driver, database.Secret(fmt.Sprintf("mysql://root@127.0.0.1:%d/%s", s.port, name))
	if s.Driver == database.PostgreSQL {
		c.DSN = database.Secret(fmt.Sprintf("postgres://root@127.0.0.1:%d/%s?sslmode=disable", s.port, name))
	}
	if s.ca != "" {
		c.TLS = database.TLS{Enabled: true, CAFile: s.ca}
	}
	return c
}

// Port is where the server listens.
func (s *Server) Port() int { return s.port }

// New makes an empty database and gives the settings of connections to it.
func (s *Server) New(t testing.TB) database.Config {
	t.Helper()
	name := fmt.Sprintf("d%d", s.names.Add(1))
	s.Execute(t, strings.TrimSpace("CREATE DATABASE "+name))
	return s.config(name)
}

// Execute runs statements as the administrator of the server.
func (s *Server) Execute(t testing.TB, statements ...string) {
	t.Helper()
	db := Open(t, s.config(administration[s.Driver]))
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Open connects to a database of New, for what a test looks at by itself.
func Open(t testing.TB, c database.Config) *sql.DB {
	t.Helper()
	db, _, err := opener.Connect(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Restrict has a PostgreSQL server ask everybody but the administrator for a
// password.
func (s *Server) Restrict(t testing.TB) {
	t.Helper()
	rules := "host all root all trust\nhost all all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.dir, "data", "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Execute(t, "SELECT pg_reload_conf()")
	time.Sleep(200 * time.Millisecond)
}
