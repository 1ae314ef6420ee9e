package intake

import (
	"io"
	"net/http"
	"strings"
)

// MaxDrain is how much of a body that nobody wanted is read and thrown away.
const MaxDrain = 256 << 20

// Tracked is a request's body that knows whether anything of it was asked
// for, so that what is left can be drained before the answer.
type Tracked struct {
	io.ReadCloser
	waits bool // the client sends nothing until it is asked to
}

// Track makes a Tracked of a request's body and puts it in its place; nil if
// there is none.
func Track(r *http.Request) *Tracked {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	t := &Tracked{ReadCloser: r.Body, waits: strings.EqualFold(r.Header.Get("Expect"), "100-continue")}
	r.Body = t
	return t
}

// Read reads from the body.
func (t *Tracked) Read(p []byte) (int, error) {
	t.waits = false
	return t.ReadCloser.Read(p)
}

// Drain reads what is left of the body and throws it away, up to MaxDrain. A
// client that is still sending does not read its answer, and loses it when
// the connection is closed on what it sends; most clients send all first. One
// that waits to be asked (Expect: 100-continue) is not asked.
func (t *Tracked) Drain() {
	if t.waits {
		return
	}
	_, _ = io.CopyN(io.Discard, t.ReadCloser, MaxDrain) // what can not be read need not be
}
