package flink

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
)

// Options are the parts that a worker is wired to.
type Options struct {
	Build Build
	// MemoryLimit bounds the memory of live state, in bytes: what does not fit is
	// read back from Flink. 0 is no bound.
	MemoryLimit int64
	Logger      *slog.Logger
}

// Worker serves the chains of a job on one TaskManager.
type Worker struct {
	options Options

	mutex    sync.Mutex
	sessions map[*Session]int64 // what each takes of the memory
	total    int64
}

// NewWorker makes a worker.
func NewWorker(o Options) *Worker {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Worker{options: o, sessions: map[*Session]int64{}}
}

// Serve serves connections until ctx ends, and returns when all are done. Each
// has a goroutine of its own, which runs its operators too.
func (w *Worker) Serve(ctx context.Context, listener net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		running.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			w.serve(conn)
		})
	}
}

func (w *Worker) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s := w.NewSession(conn)
	defer w.forget(s)
	defer s.close()
	err := s.Step()
	for err == nil {
		err = s.Step()
	}
	if !errors.Is(err, io.EOF) {
		w.options.Logger.Error("session ended", "job", s.hello.job, "chain", s.hello.chain, "subtask", s.hello.subtask, "error", err)
	}
}

// used notes what a session's state takes, and is what all sessions' do.
func (w *Worker) used(s *Session, bytes int64) int64 {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.total += bytes - w.sessions[s]
	w.sessions[s] = bytes
	return w.total
}

func (w *Worker) forget(s *Session) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.total -= w.sessions[s]
	delete(w.sessions, s)
}
