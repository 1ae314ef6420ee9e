// Package serve is the server: it listens, decides who is answered, and routes
// to the API, the metrics and the dashboard. README.md says what it promises
// to clients.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"millrace/serve/api"
	"millrace/serve/guard"
	"millrace/serve/likes"
	"millrace/serve/meter"
	"millrace/serve/strict"
)

// The errors of New and Listen.
var (
	// ErrNeedsKey is the error of an address that other machines can reach,
	// without a key.
	ErrNeedsKey = guard.ErrNeedsKey
	// ErrKey is the error of a key that can not be used.
	ErrKey = guard.ErrKey
	// ErrAddress is the error of an address that is not HOST:PORT.
	ErrAddress = guard.ErrAddress
	// ErrListen is the error of an address that can not be listened on.
	ErrListen = errors.New("can not listen")
)

// Options are what the server is made of.
type Options struct {
	// Parts is what the API is wired to. New sets its Meter, and its Now and
	// Logger where they are nil.
	Parts api.Parts
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	// Listener is an address that was taken already, and is taken over; nil
	// means that Listen is taken by the Server's Listen.
	Listener *Listener
	// Keys of which every request but GET /v1/health must carry one; none
	// means that only this machine is served.
	Keys []string
	// Dashboard answers GET / and everything under GET /dashboard/; nil leaves
	// them out.
	Dashboard http.Handler
	// Forward says who answers a route instead of this server, which nil means.
	// The pattern is the route's, "POST /v1/events". Requests have been checked
	// for their key, their origin and their path.
	Forward func(pattern string) http.Handler
	// Stale says why answers may be older than they should be, and "" if they
	// are not. Nil means that they never are.
	Stale func() string
	// Likes answers the routes of likes.Routes; nil leaves them out.
	Likes http.Handler
	// Registry takes the metrics; nil means one of its own.
	Registry *prometheus.Registry
	// Logger takes what an operator of the service should know.
	Logger *slog.Logger
}

// Server answers HTTP requests.
type Server struct {
	options  Options
	api      *api.API
	handler  http.Handler
	listener *Listener // nil before Listen

	suspended chan struct{} // closed by Suspend
}

// New makes a Server that does not listen yet. Its errors are ErrKey,
// ErrAddress and ErrNeedsKey.
func New(o Options) (*Server, error) {
	keys, err := guard.NewKeys(o.Keys)
	if err != nil {
		return nil, err
	}
	if err := guard.CheckListen(o.Listen, keys); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Parts.Logger == nil {
		o.Parts.Logger = o.Logger
	}
	if o.Parts.Now == nil {
		o.Parts.Now = time.Now
	}
	o.Parts.Meter = meter.New(o.Registry, o.Parts.Now)
	mux := http.NewServeMux()
	a, err := api.New(o.Parts, mux)
	if err != nil {
		return nil, err
	}
	a.RegisterGauges(o.Registry)
	mux.Handle("GET /metrics", strict.NoQuery(promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelError), Registry: o.Registry,
	})))
	if o.Dashboard != nil {
		page := strict.NoQuery(o.Dashboard)
		mux.Handle("GET /{$}", page)
		mux.Handle("GET /dashboard/", page)
	}
	if o.Likes != nil {
		for _, route := range likes.Routes() {
			mux.Handle(route, o.Likes)
		}
	}
	return &Server{options: o, api: a, suspended: make(chan struct{}), handler: &handler{
		mux: mux, guard: guard.New(keys, isHealth), meter: o.Parts.Meter, now: o.Parts.Now, logger: o.Logger,
		forward: o.Forward, stale: o.Stale,
	}}, nil
}

// Observe is to be told of every block of events that became visible: how
// many events, the time since its processing began, and the time since it was
// appended.
func (s *Server) Observe(events int, apply, latency time.Duration) {
	s.options.Parts.Meter.Block(events, apply, latency)
}

// ForgetRecent begins the rates and latencies of the last minute anew: what came
// before was no traffic, but the import of a past.
func (s *Server) ForgetRecent() { s.options.Parts.Meter.ForgetRecent() }

// isHealth says whether a request is the one that needs no key.
func isHealth(r *http.Request) bool {
	return r.URL.Path == "/v1/health" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// Handler answers requests without a listener, for tests and for programs
// that have a server of their own.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen takes the address, which Addr tells from then on, and answers. Its
// errors are those of the function Listen.
func (s *Server) Listen() (err error) {
	l := s.options.Listener
	if l == nil {
		if l, err = Listen(s.options); err != nil {
			return err
		}
	}
	l.handOver(s.handler)
	s.listener = l
	return nil
}

// Addr is the address that is listened on, HOST:PORT; empty before Listen.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr()
}

// Serve answers requests until Shutdown or Suspend; it listens first if Listen
// was not called. It returns nil after either.
func (s *Server) Serve() error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	select {
	case <-s.suspended:
		return nil
	case <-s.listener.ended:
		return s.listener.err
	}
}

// Suspend is Shutdown of a server that another one is to follow: it leaves the
// address to its Listener, which answers as it did before Listen, and which the
// next Server takes over. It is called once, after Listen.
func (s *Server) Suspend(ctx context.Context) error {
	s.api.Close()
	defer close(s.suspended)
	if err := s.listener.takeBack(ctx); err != nil {
		return fmt.Errorf("suspend: %w", err)
	}
	return nil
}

// Shutdown takes no more requests, ends streams, and waits for the requests
// that are under way, as long as ctx allows; those that are left are cut off
// and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.api.Close()
	if s.listener == nil {
		return nil
	}
	if err := s.listener.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut down: %w", err), s.listener.http.Close())
	}
	return nil
}
