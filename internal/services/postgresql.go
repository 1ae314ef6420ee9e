package services

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// PostgreSQL starts a PostgreSQL with a database, a user and a password.
// Arguments are further ones of postgres, such as "-c", "max_connections=5".
func PostgreSQL(t testing.TB, arguments ...string) *SQLServer {
	t.Helper()
	need(t)
	programs := install(t, "postgres")
	port := freePort(t)
	s := &SQLServer{Address: localAddress(port), Certificates: NewCertificates(t), driver: "pgx"}
	s.dsn = func(database string) string {
		return fmt.Sprintf("postgres://%s:%s@%s/%s", User, Password, s.Address, database)
	}
	s.Instance = Instance{
		Name: "postgresql", Dir: newDir(t, "postgresql"), t: t, program: filepath.Join(programs, "postgres"), answers: s.ping,
		// After a kill its children take a moment to notice, and hold the
		// shared memory until then. SIGQUIT ends them all at once.
		// SIGINT closes clients' connections, SIGTERM would wait for them.
		retry: true, orphan: syscall.SIGQUIT, polite: syscall.SIGINT,
	}
	if os.Geteuid() == 0 { // it refuses to run as root
		s.as = account(t, "postgres")
		s.own(s.Dir)
	}
	data := filepath.Join(s.Dir, "data")
	s.initialise(programs, data)
	key := joinFiles(t, filepath.Join(s.Dir, "server.key"), s.ServerKeyFile)
	if err := os.Chmod(key, 0o600); err != nil { // it wants its key to be secret
		t.Fatal(err)
	}
	s.own(key)
	s.args = append([]string{
		"-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.Dir,
		"-c", "ssl=on", "-c", "ssl_ca_file=" + s.CAFile, "-c", "ssl_cert_file=" + s.ServerCertFile, "-c", "ssl_key_file=" + key,
		"-c", "fsync=off", "-c", "shared_buffers=16MB", // kill -9 takes nothing that was written
	}, arguments...)
	s.begin()
	return s
}

// initialise makes the data directory, with a database of the user's name.
func (s *SQLServer) initialise(programs, data string) {
	s.t.Helper()
	password := filepath.Join(s.Dir, "password")
	write(s.t, password, Password)
	s.run(filepath.Join(programs, "initdb"), "-D", data, "-U", User, "--pwfile="+password,
		"-A", "scram-sha-256", "--no-sync", "--locale=C", "-E", "UTF8")
	c := s.command(filepath.Join(programs, "postgres"), "--single", "-D", data, "postgres")
	in := filepath.Join(s.Dir, "first.sql")
	write(s.t, in, "CREATE DATABASE "+User+"\n")
	f, err := os.Open(in)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	c.Stdin = f
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("postgres --single: %v\n%s", err, tail(string(out)))
	}
}

// own gives a file to the user that the instance runs as.
func (i *Instance) own(path string) {
	i.t.Helper()
	if i.as == nil {
		return
	}
	if err := os.Chown(path, int(i.as.Uid), int(i.as.Gid)); err != nil {
		i.t.Fatal(err)
	}
}

// command is a command as the instance's user, in its folder.
func (i *Instance) command(program string, arguments ...string) *exec.Cmd {
	c := exec.Command(program, arguments...)
	c.Dir = i.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: i.as}
	return c
}

// run runs a command as the instance's user to its end.
func (i *Instance) run(program string, arguments ...string) {
	i.t.Helper()
	if out, err := i.command(program, arguments...).CombinedOutput(); err != nil {
		i.t.Fatalf("%s: %v\n%s", filepath.Base(program), err, tail(string(out)))
	}
}
