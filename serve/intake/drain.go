package intake

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// What is read of a body that nobody wanted, and thrown away, at most.
const (
	MaxDrain     = 256 << 20
	MaxDrainTime = 10 * time.Second
)

// Tracked is a request's body that knows whether anything of it was asked
// for, so that what is left can be drained before the answer.
type Tracked struct {
	io.ReadCloser
	waits     bool  // the client sends nothing until it is asked to
	announced int64 // bytes, -1 if unknown
}

// Track makes a Tracked of a request's body, nil if there is none, and a
// request that has it. The one that was given keeps its own: net/http looks
// at what it is when it ends the answer.
func Track(r *http.Request) (*Tracked, *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, r
	}
	t := &Tracked{
		ReadCloser: r.Body, announced: r.ContentLength,
		waits: strings.EqualFold(r.Header.Get("Expect"), "100-continue"),
	}
	r = r.WithContext(r.Context())
	r.Body = t
	return t, r
}

// Read reads from the body.
func (t *Tracked) Read(p []byte) (int, error) {
	t.waits = false
	return t.ReadCloser.Read(p)
}

// Drain reads what is left of the body and throws it away, up to MaxDrain and
// MaxDrainTime. A client that is still sending does not read its answer, and
// loses it when the connection is closed on what it sends; most clients send
// all first. One that waits to be asked (Expect: 100-continue) is not asked,
// and one that announces more than MaxDrain is answered at once.
func (t *Tracked) Drain(w http.ResponseWriter) {
	if t.waits {
		return
	}
	if t.announced > MaxDrain {
		w.Header().Set("Connection", "close")
		return
	}
	// Where it is not supported there is no connection to wait for.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(MaxDrainTime))
	_, _ = io.CopyN(io.Discard, t.ReadCloser, MaxDrain) // what can not be read need not be
}
