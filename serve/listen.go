package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"millrace/serve/api"
	"millrace/serve/guard"
	"millrace/serve/intake"
	"millrace/serve/problem"
	"millrace/serve/strict"
)

// The server's limits of time. A client that takes longer is cut off.
const (
	headerTimeout = 10 * time.Second // to send a request's headers
	readTimeout   = 2 * time.Minute  // to send all of it
	writeTimeout  = 3 * time.Minute  // from the headers to the end of the answer
	idleTimeout   = 2 * time.Minute  // between two requests
)

// maxHeaderBytes bounds a request's line and headers. It is well above the
// longest id, so that one of 100 kB is answered by a problem that names it.
const maxHeaderBytes = 1 << 20

// Listener is an address that has been taken. Until a Server has taken it over
// all requests are answered with 503, as the server is starting: one that has
// much to recover is seen to be alive, and one whose address is taken does not
// recover in vain. So are they once a Server is suspended.
type Listener struct {
	net     net.Listener
	http    *http.Server
	version string
	ended   chan struct{} // closed once nothing is served any more
	err     error         // why, if not because of a shutdown; set before ended is closed

	mutex sync.RWMutex
	shift *shift

	connsMutex sync.Mutex
	conns      map[net.Conn]struct{} // that are open
}

// shift is the time in which one handler answers.
type shift struct {
	handler http.Handler
	running sync.WaitGroup // requests
}

// Listen takes the address of the options and answers from then on; of the
// options it looks at Listen, Keys, Logger and Parts.Version. Its errors are
// ErrListen, ErrKey, ErrAddress and ErrNeedsKey.
func Listen(o Options) (*Listener, error) {
	keys, err := guard.NewKeys(o.Keys)
	if err != nil {
		return nil, err
	}
	if err := guard.CheckListen(o.Listen, keys); err != nil {
		return nil, err
	}
	below, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrListen, o.Listen, err)
	}
	// A name may stand for another address than it says.
	if err := guard.CheckListen(below.Addr().String(), keys); err != nil {
		return nil, errors.Join(err, below.Close())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Listener{net: strict.Listener(below, maxHeaderBytes), version: o.Parts.Version, ended: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	l.handOver(http.HandlerFunc(l.starting))
	l.http = &http.Server{
		Handler: http.HandlerFunc(l.serve), ConnState: l.track,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		// OPTIONS * is a request like any other: of nobody without a key.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(l.ended)
		if err := l.http.Serve(l.net); !errors.Is(err, http.ErrServerClosed) {
			l.err = fmt.Errorf("serving: %w", err)
		}
	}()
	return l, nil
}

// Addr is the address that is listened on, HOST:PORT.
func (l *Listener) Addr() string { return l.net.Addr().String() }

// Close ends it and cuts off what is being answered. After a Shutdown it does
// nothing.
func (l *Listener) Close() error {
	err := l.http.Close()
	<-l.ended
	return err
}

// handOver lets h answer from now on, and returns the shift before, to which no
// request comes any more.
func (l *Listener) handOver(h http.Handler) (before *shift) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	before, l.shift = l.shift, &shift{handler: h}
	return before
}

func (l *Listener) serve(w http.ResponseWriter, r *http.Request) {
	l.mutex.RLock()
	s := l.shift
	s.running.Add(1)
	l.mutex.RUnlock()
	defer s.running.Done()
	s.handler.ServeHTTP(w, r)
}

// takeBack answers that the server is starting from now on, and waits for the
// requests that are under way, as long as ctx allows; then all connections are
// closed and ctx's error is returned.
func (l *Listener) takeBack(ctx context.Context) error {
	before := l.handOver(http.HandlerFunc(l.starting))
	idle := make(chan struct{})
	go func() {
		before.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	l.connsMutex.Lock()
	defer l.connsMutex.Unlock()
	for c := range l.conns {
		_ = c.Close() // that of a client which is cut off
	}
	return ctx.Err()
}

// track knows the connections that are open, to cut them off.
func (l *Listener) track(c net.Conn, to http.ConnState) {
	l.connsMutex.Lock()
	defer l.connsMutex.Unlock()
	switch to {
	case http.StateNew:
		l.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(l.conns, c)
	}
}

// retryStarting is when to try again while the server is starting.
const retryStarting = time.Second

// starting answers while there is nothing to answer from.
func (l *Listener) starting(w http.ResponseWriter, r *http.Request) {
	if body, _ := intake.Track(r); body != nil {
		body.Drain(w)
	}
	p := problem.New(http.StatusServiceUnavailable, "the server is starting: %s", api.Starting).RetryAfter(retryStarting)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if !isHealth(r) {
		p.Write(w)
		return
	}
	body, err := json.Marshal(api.StartingHealth(l.version))
	if err != nil { // texts always encode
		p.Write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", p.GetHeaders().Get("Retry-After"))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}
