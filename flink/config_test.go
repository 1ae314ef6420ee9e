package flink

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestConfiguration: the job of a server's configuration comes to what the server
// comes to that reads the same topic, through all that can be killed, a savepoint
// and another parallelism and state backend: all answers in Redis, what readers
// of committed records find in the topics that it publishes to, and its dead
// letters. A server in front answers from it as the other does.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
	defer stop()
	s.load(100)
	job := s.submit(ctx, "--parallelism", "2", "-Dstate.backend.type=hashmap")
	checkpointed(ctx, t, s.cluster, job, 2)
	front := s.serve(flinkSide, freeAddress(t), "--views", "redis")
	s.breaks(ctx, job, "a worker is killed", true, func() { s.killWorker() })
	s.breaks(ctx, job, "a TaskManager is killed", true, func() {
		s.startTaskManager(s.killTaskManager())
	})
	s.breaks(ctx, job, "Redis is killed and comes back empty", true, func() {
		s.redis.Kill()
		time.Sleep(time.Second)
		s.redis.Start()
	})
	s.breaks(ctx, job, "the broker is killed", false, func() {
		s.broker.Kill()
		time.Sleep(2 * time.Second)
		s.broker.Start()
	})
	savepoint := s.stop(ctx, job)
	job = s.submit(ctx, "--parallelism", "4", "-Dstate.backend.type=rocksdb", "-s", savepoint)
	checkpointed(ctx, t, s.cluster, job, 1)
	s.breaks(ctx, job, "a TaskManager and the broker are killed", true, func() {
		killed := s.killTaskManager()
		s.broker.Kill()
		s.startTaskManager(killed)
		s.broker.Start()
	})
	s.breaks(ctx, job, "a worker and Redis are killed", true, func() {
		s.redis.Kill()
		s.killWorker()
		s.redis.Start()
	})
	s.endLoad()
	s.caughtUp(embeddedSide)
	s.caughtUp(flinkSide)
	s.equal("answers in Redis", s.answers)
	s.equal("publications", s.publications)
	s.letters()
	s.sameAnswers(front)
	s.forget("u3")
	if out, err := s.cluster.Command(ctx, "cancel", job).CombinedOutput(); err != nil {
		t.Fatalf("flink cancel: %v\n%s", err, out)
	}
	nothingLeft(t, s.cluster, s.managers...)
}

// submit starts the job of the configuration, and waits until it runs.
func (s *shop) submit(ctx context.Context, flags ...string) (id string) {
	s.t.Helper()
	began := time.Now()
	arguments := append([]string{"run", "--detached", "-Dexecution.checkpointing.interval=2 s"}, flags...)
	out, err := s.cluster.Command(ctx, append(arguments, jar(s.t), "--config", s.config(flinkSide))...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("flink run: %v\n%s", err, out[max(0, len(out)-4000):])
	}
	submitted := time.Since(began)
	id = running(ctx, s.t, s.cluster)
	s.t.Logf("the job was submitted after %.1f s and runs after %.1f s", submitted.Seconds(), time.Since(began).Seconds())
	return id
}

// stop takes a savepoint that either backend reads, and ends the job with it.
func (s *shop) stop(ctx context.Context, job string) (savepoint string) {
	s.t.Helper()
	began := time.Now()
	out, err := s.cluster.Command(ctx, "stop", "--type", "canonical", "--savepointPath", "file://"+s.cluster.Savepoints, job).CombinedOutput()
	path := savepointPath.Find(out)
	if err != nil || path == nil {
		s.t.Fatalf("flink stop: %v\n%s", err, out)
	}
	s.t.Logf("a savepoint was taken in %.1f s", time.Since(began).Seconds())
	return string(path)
}

// checkpoints are what a job has done of them.
type checkpoints struct {
	Counts struct{ Completed, Restored int }
}

// breaks breaks something, and waits until the job completes checkpoints again;
// restored says that it must have gone back to one.
func (s *shop) breaks(ctx context.Context, job, what string, restored bool, something func()) {
	s.t.Helper()
	var before, now checkpoints
	path := "/jobs/" + job + "/checkpoints"
	if err := s.cluster.Get(ctx, path, &before); err != nil {
		s.t.Fatal(err)
	}
	sent := s.produced.Load()
	something()
	s.until(what+": checkpoints again", 75*time.Second, func() error {
		err := s.cluster.Get(ctx, path, &now)
		if err == nil && restored && now.Counts.Restored == before.Counts.Restored {
			before.Counts.Completed = now.Counts.Completed
			return fmt.Errorf("%w: it was not restored", errNotYet)
		}
		if err == nil && now.Counts.Completed < before.Counts.Completed+2 {
			return fmt.Errorf("%w: %d checkpoints, and %d before", errNotYet, now.Counts.Completed, before.Counts.Completed)
		}
		return err
	})
	s.t.Logf("restored %d times so far; %d records came meanwhile", now.Counts.Restored, s.produced.Load()-sent)
}

func (s *shop) killWorker() {
	s.t.Helper()
	var pids []int
	s.until("there is a worker", 30*time.Second, func() error { // the job may be restored once more
		if pids = workers(s.t, s.managers...); len(pids) == 0 {
			return errNotYet
		}
		return nil
	})
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

// killTaskManager kills one that runs something.
func (s *shop) killTaskManager() (i int) {
	s.t.Helper()
	s.until("a TaskManager has a worker", 30*time.Second, func() error {
		for i = range 2 {
			if len(workers(s.t, s.cluster.TaskManager(i).PID())) > 0 {
				return nil
			}
		}
		return errNotYet
	})
	s.cluster.KillTaskManager(i)
	return i
}

func (s *shop) startTaskManager(i int) {
	s.t.Helper()
	s.cluster.StartTaskManager(i)
	s.managers = append(s.managers, s.cluster.TaskManager(i).PID())
}

// forget deletes a user by a record without a value. Nothing of the user is left.
func (s *shop) forget(user string) {
	s.t.Helper()
	producer := s.broker.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := producer.ProduceSync(s.t.Context(), recordOfUser(user)).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	s.caughtUp(embeddedSide)
	s.caughtUp(flinkSide)
	s.equal("answers after a deletion", s.answers)
	all, err := s.answers(s.t.Context(), flinkSide)
	if err != nil {
		s.t.Fatal(err)
	}
	for key := range all {
		if strings.HasSuffix(key, " "+user) {
			s.t.Errorf("%s was deleted, and there is %s", user, key)
		}
	}
}
