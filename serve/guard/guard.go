package guard

import (
	"net"
	"net/http"

	"millrace/serve/problem"
)

// Guard decides about requests.
type Guard struct {
	keys   Keys
	origin *http.CrossOriginProtection
	open   func(*http.Request) bool
}

// New makes a Guard. The requests that open says yes to need no key.
func New(keys Keys, open func(*http.Request) bool) *Guard {
	return &Guard{keys: keys, origin: http.NewCrossOriginProtection(), open: open}
}

// Check is nil for a request that is to be answered, and else says why not:
//
//   - 401: keys are set, the request is not an open one and carries none;
//   - 403: no keys are set, so only this machine is served, and the Host
//     header names another. A page that a browser loaded from elsewhere can
//     reach a server of this machine by pointing its own name at 127.0.0.1
//     (DNS rebinding), but can not hide that name;
//   - 403: a browser says that a page of another origin sends the request,
//     and the method is one that changes something.
func (g *Guard) Check(r *http.Request) *problem.Problem {
	if !g.keys.Set() && !localHost(r.Host) {
		return problem.New(http.StatusForbidden,
			"without an API key only this machine is served: expected a Host header such as localhost or 127.0.0.1, got %s",
			problem.Excerpt(r.Host))
	}
	if err := g.origin.Check(r); err != nil {
		return problem.New(http.StatusForbidden, "a page of another origin may not send this request: %v", err)
	}
	if !g.keys.Allow(r) && !g.open(r) {
		return refusal()
	}
	return nil
}

// localHost says whether a Host header, with or without a port, names this
// machine. HTTP/1.0 has none; browsers always send one.
func localHost(host string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return isLoopback(host)
}
