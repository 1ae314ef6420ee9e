package services

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSkippedUnlessRequired(t *testing.T) {
	t.Setenv(variable, "")
	ran := true
	t.Run("redis", func(t *testing.T) {
		Redis(t)
		ran = false
	})
	if !ran {
		t.Error("a service started without being required")
	}
}

// TestRedis: a pause looks like a network that swallows packets, and a killed
// server has forgotten everything.
func TestRedis(t *testing.T) {
	s := Redis(t, "--maxmemory", "32mb")
	c := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1, ContextTimeoutEnabled: true})
	defer c.Close()
	ctx := t.Context()
	if err := c.Set(ctx, "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := c.ConfigGet(ctx, "maxmemory").Val()["maxmemory"]; got != "33554432" {
		t.Errorf("maxmemory is %q: the argument was not handed on", got)
	}
	s.Pause()
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	if err := c.Get(short, "a").Err(); err == nil {
		t.Error("a paused server answered")
	}
	stop()
	s.Resume()
	s.Kill()
	if s.Running() {
		t.Error("runs after a kill")
	}
	s.Start()
	if err := c.Get(ctx, "a").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("after a kill: %v, want that the key is gone", err)
	}
	secure := redis.NewClient(&redis.Options{Addr: s.TLSAddress, TLSConfig: s.ClientTLS(t)})
	defer secure.Close()
	if err := secure.Ping(ctx).Err(); err != nil {
		t.Errorf("with TLS: %v", err)
	}
}

func TestMariaDB(t *testing.T)    { sqlSurvives(t, MariaDB(t), "mysql", "?tls=skip-verify") }
func TestPostgreSQL(t *testing.T) { sqlSurvives(t, PostgreSQL(t), "pgx", "?sslmode=require") }

// sqlSurvives: what was acknowledged is there after a kill and after a stop; new
// databases are empty.
func sqlSurvives(t *testing.T, s *SQLServer, driver, withTLS string) {
	dsn := s.NewDatabase(t)
	db, err := sql.Open(driver, dsn+withTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := t.Context()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("CREATE TABLE t (n INTEGER PRIMARY KEY)")
	exec("INSERT INTO t VALUES (1)")
	for n, end := range []func(){s.Kill, s.Stop} {
		end()
		awaitSilence(t, db)
		s.Start()
		_ = db.PingContext(ctx) // the pool may hold connections of the server before
		var count int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&count); err != nil || count != n+1 {
			t.Fatalf("%d rows, %v; want %d", count, err, n+1)
		}
		exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", n+2))
	}
}

// awaitSilence waits until a connection that was open does not answer: each of
// PostgreSQL's has a process of its own, which notices a moment later that its
// server was killed.
func awaitSilence(t *testing.T, db *sql.DB) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); db.PingContext(t.Context()) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("a server that has ended answers")
			return
		}
	}
}

// TestNothingIsLeft kills a test process that has services running, and finds
// neither their processes nor, in the next test, their data.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("SERVICES_CHILD") != "" {
		childWithServices(t)
	}
	need(t)
	c := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeft$", "-test.v")
	c.Env = append(os.Environ(), "SERVICES_CHILD=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	started := map[int]string{} // by process, its data
	lines := bufio.NewScanner(out)
	for len(started) < 3 && lines.Scan() {
		var pid int
		var dir string
		if n, _ := fmt.Sscanf(lines.Text(), "started %d %s", &pid, &dir); n == 2 {
			started[pid] = dir
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if len(started) != 3 {
		t.Fatalf("the child has started %d services, want 3", len(started))
	}
	for pid := range started {
		for wait := 0; gone(pid) == false; wait++ {
			if wait == 500 {
				t.Fatalf("process %d lives after its test was killed", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	sweep()
	for _, dir := range started {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
}

// gone tells whether a process has ended: a zombie that nobody waits for has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

func childWithServices(t *testing.T) {
	redis, mariadb, postgresql := Redis(t), MariaDB(t), PostgreSQL(t)
	for _, i := range []*Instance{&redis.Instance, &mariadb.Instance, &postgresql.Instance} {
		fmt.Printf("started %d %s\n", i.PID(), i.Dir)
	}
	time.Sleep(time.Minute)
}
