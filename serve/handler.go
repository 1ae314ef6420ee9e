package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"millrace/serve/guard"
	"millrace/serve/intake"
	"millrace/serve/meter"
	"millrace/serve/problem"
)

// handler is what every request passes through: who is answered, which route
// answers, and what becomes of it.
type handler struct {
	mux    *http.ServeMux
	guard  *guard.Guard
	meter  *meter.Meter
	now    func() time.Time
	logger *slog.Logger

	forward func(pattern string) http.Handler // nil: to nobody
	stale   func() string                     // nil: never
}

// StaleHeader is the header of answers that may be older than they should be;
// it says why.
const StaleHeader = "Millrace-Stale"

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.now()
	rec := &recorder{ResponseWriter: w}
	rec.body, r = intake.Track(r)
	rec.request = r
	defer func() {
		if cause := recover(); cause != nil {
			h.panicked(rec, cause)
		}
		h.meter.Request(route(r), r.Method, rec.status, h.now().Sub(began))
	}()
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if p := h.refuse(r); p != nil {
		p.Write(rec)
		return
	}
	if h.stale != nil {
		if why := h.stale(); why != "" {
			header.Set(StaleHeader, why)
		}
	}
	if h.forward != nil {
		_, pattern := h.mux.Handler(r)
		if to := h.forward(pattern); to != nil {
			r.Pattern = pattern
			to.ServeHTTP(rec, r)
			return
		}
	}
	h.mux.ServeHTTP(rec, r)
}

// refuse is why a request is answered by no route, or nil.
func (h *handler) refuse(r *http.Request) *problem.Problem {
	if p := h.guard.Check(r); p != nil {
		return p
	}
	if p := checkPath(r); p != nil {
		return p
	}
	return h.unrouted(r)
}

// checkPath refuses paths that are not in their shortest form, which the mux
// would redirect, and forms of a request that have no path.
func checkPath(r *http.Request) *problem.Problem {
	p := r.URL.EscapedPath()
	if !strings.HasPrefix(p, "/") {
		return problem.New(http.StatusNotFound, "expected a path that begins with /, got %s", problem.Excerpt(r.RequestURI))
	}
	clean := path.Clean(p)
	if clean != p && clean+"/" != p {
		return problem.New(http.StatusNotFound,
			"no route has empty parts, . or .. in its path; an id that holds them is percent-encoded: got %s", problem.Excerpt(p))
	}
	return nil
}

// route is the pattern that matched, without its method.
func route(r *http.Request) string {
	_, pattern, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		return r.Pattern
	}
	return pattern
}

// panicked answers a request whose handler panicked, which is a mistake in the
// program. If the answer has begun, it can only be broken off.
func (h *handler) panicked(rec *recorder, cause any) {
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	h.logger.Error("handler panicked", "method", rec.request.Method, "route", route(rec.request),
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	problem.New(http.StatusInternalServerError, "this should not have happened; the server's log says more").Write(rec)
}

// unrouted is the problem of a request that no route matches, or nil. The
// mux's own answer, which is plain text, says whether it is the method and
// which ones there are.
func (h *handler) unrouted(r *http.Request) *problem.Problem {
	own, pattern := h.mux.Handler(r)
	if pattern != "" {
		return nil
	}
	answer := &unsent{header: http.Header{}}
	own.ServeHTTP(answer, r)
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed {
		return problem.New(answer.status, "the method %s is not allowed here, but %s", problem.Excerpt(r.Method), allow).With("Allow", allow)
	}
	return problem.New(http.StatusNotFound, "there is no route %s; /openapi.json lists them", problem.Excerpt(r.URL.EscapedPath()))
}

// unsent is an answer that nobody gets.
type unsent struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter, as do the methods below.
func (u *unsent) Header() http.Header { return u.header }

// WriteHeader notes the status.
func (u *unsent) WriteHeader(status int) { u.status = status }

// Write drops the body.
func (u *unsent) Write(b []byte) (int, error) { return len(b), nil }

// recorder remembers the status of an answer, and drains what is left of the
// request before the answer begins.
type recorder struct {
	http.ResponseWriter
	request *http.Request
	body    *intake.Tracked // nil without a body
	status  int             // 0 until the answer begins
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader begins the answer, unless it is only the promise of one.
func (r *recorder) WriteHeader(status int) {
	if status >= http.StatusOK && r.status == 0 {
		r.status = status
		if r.body != nil {
			r.body.Drain(r.ResponseWriter)
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write writes the answer's body.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}
