package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startPatience = 60 * time.Second      // how long a server may take until it answers
	stopPatience  = 30 * time.Second      // how long a server may take to end when asked to
	askInterval   = 20 * time.Millisecond // first; who takes long is asked ever less often, as answers take what it starts with
	mostInterval  = 250 * time.Millisecond
)

// errEnded: the process has ended before it answered.
var errEnded = errors.New("the process has ended")

// Instance is one process of a service, with data and ports of its own. Its
// methods fail the test that started it if they don't succeed; they may be called
// from one goroutine at a time.
type Instance struct {
	Name string // kafka, redis, ...
	Dir  string // its data, configuration and log

	t       testing.TB
	program string
	args    []string
	env     []string            // beside the test's own
	as      *syscall.Credential // the user that it runs as, nil: the test's
	orphan  syscall.Signal      // what it gets when the test's process dies, and at the end
	polite  syscall.Signal      // what asks it to end
	renew   func()              // called before each start
	retry   bool                // a start right after a kill may fail
	answers func(ctx context.Context) error

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// begin starts the instance for the first time, and has it killed when the test ends.
func (i *Instance) begin() {
	i.t.Helper()
	if i.orphan == 0 {
		i.orphan = syscall.SIGKILL
	}
	if i.polite == 0 {
		i.polite = syscall.SIGTERM
	}
	i.t.Cleanup(i.end)
	i.Start()
}

// Start starts the process on the data and ports that it had before, and
// returns when it answers.
func (i *Instance) Start() {
	i.t.Helper()
	if i.Running() {
		i.t.Fatalf("%s runs already", i.Name)
	}
	if i.renew != nil {
		i.renew()
	}
	begun := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), startPatience)
	defer stop()
	for {
		if err := i.spawn(); err != nil {
			i.t.Fatalf("%s: %v", i.Name, err)
		}
		err := i.await(ctx)
		if err == nil {
			i.t.Logf("%s answers after %v", i.Name, time.Since(begun).Round(time.Millisecond))
			return
		}
		if !i.retry || !errors.Is(err, errEnded) || ctx.Err() != nil {
			i.t.Fatalf("%s does not answer: %v\n%s", i.Name, err, tail(i.Log()))
		}
		time.Sleep(5 * askInterval)
	}
}

// Kill kills the process with SIGKILL, as `kill -9` does, and returns when it is gone.
func (i *Instance) Kill() {
	i.t.Helper()
	i.signal(syscall.SIGKILL, false)
	i.awaitEnd()
}

// Stop asks the process to end, and returns when it has.
func (i *Instance) Stop() {
	i.t.Helper()
	i.signal(i.polite, false)
	i.awaitEnd()
}

// Pause stops the process in its tracks, with its connections open: it looks
// like a network that swallows packets. Resume wakes it up.
func (i *Instance) Pause() {
	i.t.Helper()
	i.signal(syscall.SIGSTOP, true)
}

// Resume lets a paused process go on.
func (i *Instance) Resume() {
	i.t.Helper()
	i.signal(syscall.SIGCONT, true)
}

// Running tells whether the process lives.
func (i *Instance) Running() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.process == nil {
		return false
	}
	select {
	case <-i.ended:
		return false
	default:
		return true
	}
}

// PID returns the id of the process, 0 before the first start.
func (i *Instance) PID() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.process == nil {
		return 0
	}
	return i.process.Pid
}

// Log returns what the process has written to its output so far.
func (i *Instance) Log() string {
	text, err := os.ReadFile(i.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (i *Instance) logFile() string { return filepath.Join(i.Dir, i.Name+".log") }

// spawn starts the process from a thread that lives as long as the process, as
// the kernel ties the process to the thread.
func (i *Instance) spawn() error {
	log, err := os.OpenFile(i.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	c := exec.Command(i.program, i.args...)
	c.Dir, c.Stdout, c.Stderr = i.Dir, log, log
	c.Env = append(os.Environ(), i.env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: i.as}
	tie(c.SysProcAttr, i.orphan)
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // how it ended is in its log
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	i.mu.Lock()
	i.process, i.ended = c.Process, ended
	i.mu.Unlock()
	return nil
}

// await returns nil once the service answers.
func (i *Instance) await(ctx context.Context) error {
	for wait := askInterval; ; wait = min(wait*5/4, mostInterval) {
		once, stop := context.WithTimeout(ctx, 5*time.Second)
		err := i.answers(once)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-i.ended:
			return fmt.Errorf("%w; before: %w", errEnded, err)
		case <-time.After(wait):
		}
	}
}

// signal sends a signal to the process, or to all of its group.
func (i *Instance) signal(signal syscall.Signal, group bool) {
	i.t.Helper()
	if !i.Running() {
		i.t.Fatalf("%s does not run", i.Name)
	}
	pid := i.PID()
	if group {
		pid = -pid
	}
	if err := syscall.Kill(pid, signal); err != nil {
		i.t.Fatalf("%s: %v", i.Name, err)
	}
}

func (i *Instance) awaitEnd() {
	i.t.Helper()
	select {
	case <-i.ended:
	case <-time.After(stopPatience):
		i.t.Fatalf("%s has not ended after %v\n%s", i.Name, stopPatience, tail(i.Log()))
	}
}

// end kills what is left of the instance, and tells what it said if the test failed.
func (i *Instance) end() {
	if i.Running() {
		_ = syscall.Kill(-i.PID(), syscall.SIGCONT)
		_ = syscall.Kill(-i.PID(), i.orphan)
		select {
		case <-i.ended:
		case <-time.After(5 * time.Second):
		}
	}
	if pid := i.PID(); pid != 0 {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // children that outlived it
		<-i.ended
	}
	if i.t.Failed() {
		i.t.Logf("%s said:\n%s", i.Name, tail(i.Log()))
	}
}
