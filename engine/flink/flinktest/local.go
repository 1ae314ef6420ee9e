package flinktest

import (
	"bytes"
	"io"

	"millrace/engine/flink"
)

// Local dials a worker of this process without a socket: a session is stepped
// when its reply is read, so that nothing happens at the same time.
func Local(w *flink.Worker) func(stored func(stage, key string) ([]byte, bool)) (io.ReadWriteCloser, error) {
	return func(stored func(stage, key string) ([]byte, bool)) (io.ReadWriteCloser, error) {
		l := &local{stored: stored}
		l.session = w.NewSession((*far)(l))
		return l, nil
	}
}

// local is the near end of a session in this process.
type local struct {
	session *flink.Session
	stored  func(stage, key string) ([]byte, bool)
	in, out bytes.Buffer // to the session, and from it
	asked   int          // where in out the last frame begins
}

// Write keeps a request.
func (l *local) Write(b []byte) (int, error) { return l.in.Write(b) }

// Read has the session answer. What goes wrong is in its reply.
func (l *local) Read(b []byte) (int, error) {
	if l.out.Len() == 0 {
		l.asked = 0
		_ = l.session.Step()
	}
	return l.out.Read(b)
}

// Close lets the session go.
func (l *local) Close() error { return nil }

// far is the session's end.
type far local

// Write keeps a frame of a reply.
func (f *far) Write(b []byte) (int, error) {
	f.asked = f.out.Len()
	return f.out.Write(b)
}

// Read reads the request, or when that was read, the answer to the READ that the
// session has just written.
func (f *far) Read(b []byte) (int, error) {
	if f.in.Len() == 0 {
		if f.asked >= f.out.Len() || f.out.Bytes()[f.asked+4] != 67 {
			return 0, io.EOF
		}
		r := reader{bytes.Clone(f.out.Bytes()[f.asked+5:])}
		f.out.Truncate(f.asked)
		stage, key := string(r.bytes()), string(r.bytes())
		answer := []byte{0}
		if v, ok := f.stored(stage, key); ok {
			answer = bytesOf([]byte{1}, string(v))
		}
		f.in.Write(append(append(u32(nil, 1+len(answer)), 7), answer...))
	}
	return f.in.Read(b)
}
