package strict

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"millrace/serve/problem"
)

// Listener words what net/http answers by itself, before a handler runs, as
// everything else is worded: requests that are no HTTP, with headers that are
// too large, or of a version, a transfer coding or an expectation that is
// unknown. net/http has no hook for that, but it writes each of these answers
// in one piece and in a form of its own. All of them are mistakes of the client,
// so the two that net/http answers with a 5xx are a 400 here.
func Listener(l net.Listener, maxHeaderBytes int) net.Listener {
	return listener{l, maxHeaderBytes}
}

type listener struct {
	net.Listener
	maxHeaderBytes int
}

// Accept gives a connection whose answers are worded.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &conn{tcp, l.maxHeaderBytes}, err
	}
	return c, err
}

// conn is a TCP connection with all its methods, of which net/http looks for
// some.
type conn struct {
	*net.TCPConn
	maxHeaderBytes int
}

// Write sends an answer or a part of one.
func (c *conn) Write(b []byte) (int, error) {
	status, text := refused(b)
	if status == 0 {
		return c.TCPConn.Write(b)
	}
	p := c.worded(status, text)
	body := p.JSON()
	answer := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\nCache-Control: no-store\r\n"+
		"X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%s", p.Status, p.Title, problem.ContentType, len(body), body)
	if _, err := c.TCPConn.Write(answer); err != nil {
		return 0, err
	}
	return len(b), nil
}

// What net/http's own answers are made of.
var (
	ownVersion     = []byte("HTTP/1.1 ")
	ownHeaders     = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	ownExpectation = []byte(" 417 Expectation Failed\r\n")
)

// refused is the status of an answer of net/http's own, and what it says, or
// 0. What handlers answer has other headers before these and a date.
func refused(b []byte) (status int, text string) {
	if !bytes.HasPrefix(b, ownVersion[:len("HTTP/1.")]) {
		return 0, ""
	}
	if bytes.HasPrefix(b[min(len(b), len("HTTP/1.1")):], ownExpectation) { // no handler answers that
		return http.StatusExpectationFailed, ""
	}
	end := bytes.IndexByte(b, '\r')
	if end < 0 || !bytes.HasPrefix(b, ownVersion) || !bytes.HasPrefix(b[end:], ownHeaders) {
		return 0, ""
	}
	status, err := strconv.Atoi(string(b[len(ownVersion):min(end, len(ownVersion)+3)]))
	if err != nil {
		return 0, ""
	}
	if _, after, found := bytes.Cut(b[:end], []byte(": ")); found {
		text = string(after)
	}
	return status, text
}

// worded is the problem for an answer of net/http's own.
func (c *conn) worded(status int, text string) *problem.Problem {
	switch status {
	case http.StatusNotImplemented:
		return problem.New(http.StatusBadRequest, "Transfer-Encoding: expected chunked or none, got another")
	case http.StatusHTTPVersionNotSupported:
		return problem.New(http.StatusBadRequest, "expected HTTP/1.1 or HTTP/1.0, got another version")
	case http.StatusRequestHeaderFieldsTooLarge:
		return problem.New(status, "expected a request line and headers of at most %d bytes, got more", c.maxHeaderBytes)
	case http.StatusExpectationFailed:
		return problem.New(status, "Expect: expected 100-continue or none, got another")
	}
	if text == "" {
		text = "what came can not be read as one"
	}
	return problem.New(max(status, http.StatusBadRequest), "expected an HTTP request: %s", text)
}
