package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"millrace/serve/servetest"
)

// What net/http answers before any handler runs is a problem and a 4xx, too.
func TestRequestsThatAreNoneAreProblems(t *testing.T) {
	s := running(t, Options{Parts: servetest.New().Parts()})
	const host = "Host: localhost\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"transfer coding", "POST /v1/events HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", 400, "Transfer-Encoding: expected chunked or none"},
		{"two transfer codings", "POST /v1/events HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "Transfer-Encoding"},
		{"version", "GET /v1/health HTTP/9.9\r\n" + host + "\r\n", 400, "expected HTTP/1.1 or HTTP/1.0"},
		{"version that is none", "GET /v1/health HTTP/x\r\n" + host + "\r\n", 400, "expected an HTTP request"},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "expected a path"},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "expected an HTTP request: what came can not be read as one"},
		{"no host", "GET /v1/health HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
		{"two hosts", "GET /v1/health HTTP/1.1\r\n" + host + host + "\r\n", 400, "can not be read"},
		{"host that is none", "GET /v1/health HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host header"},
		{"header name", "GET /v1/health HTTP/1.1\r\n" + host + "a b: c\r\n\r\n", 400, "expected an HTTP request"},
		{"header value", "GET /v1/health HTTP/1.1\r\n" + host + "A: b\x00c\r\n\r\n", 400, "can not be read"},
		{"broken percent-encoding", "GET /v1/items/%zz HTTP/1.1\r\n" + host + "\r\n", 400, "expected an HTTP request"},
		{"length", "POST /v1/events HTTP/1.1\r\n" + host + "Content-Length: x\r\n\r\n", 400, "expected an HTTP request"},
		{"two lengths", "POST /v1/events HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "expected an HTTP request"},
		{"headers", "GET /v1/health HTTP/1.1\r\n" + host + "A: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", 431, "at most 1048576 bytes"},
		{"expectation", "POST /v1/events HTTP/1.1\r\n" + host + "Expect: a miracle\r\nContent-Length: 1\r\n\r\nx", 417, "Expect: expected 100-continue"},
		{"expectation in HTTP/1.0", "POST /v1/events HTTP/1.0\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\nx", 417, "Expect: expected 100-continue"},
		{"options of everything", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 404, "expected a path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := raw(t, s.Addr(), c.request)
			expectProblem(t, r, err, c.status, c.says)
		})
	}
}

// Answers of handlers are as they were, also those that look like an answer of
// net/http's own, and a mistake comes after good requests.
func TestAnswersOfHandlersAreNotWorded(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n")
	})
	s := running(t, Options{Parts: servetest.New().Parts(), Dashboard: page})
	r, err := raw(t, s.Addr(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "HTTP/1.1 400") {
		t.Errorf("%d %q %v", r.StatusCode, body, err)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	health := "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
	if _, err := io.WriteString(c, health+health+strings.Replace(health, "1.1", "7.7", 1)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(c)
	for _, want := range []int{200, 200, 400} {
		r, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != want {
			t.Errorf("status %d, want %d", r.StatusCode, want)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		r.Body.Close()
	}
}
