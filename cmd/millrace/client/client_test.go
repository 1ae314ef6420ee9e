package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8080":        "http://127.0.0.1:8080",
		"http://shop.test/":     "http://shop.test",
		"https://shop.test/m//": "https://shop.test/m",
		"ftp://shop.test":       "",
		"http://":               "",
		"http://shop.test?a=b":  "",
		"http://%zz":            "",
	} {
		s, err := New(Options{Address: address, Flag: "--to"})
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "--to") || !strings.Contains(err.Error(), "want the address of a server") {
				t.Errorf("%s: %v", address, err)
			}
			continue
		}
		if err != nil || s.Address() != want {
			t.Errorf("%s: %+v %v, want %s", address, s, err, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			b, _ := io.ReadAll(r.Body)
			io.WriteString(w, `{"Text": "`+r.Method+" "+r.URL.RawQuery+" "+r.Header.Get("Content-Type")+" "+r.Header.Get("X-API-Key")+" "+string(b)+`"}`)
		case "/problem":
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"detail": "who are you?"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "  <html>"+strings.Repeat("x", 1000))
		}
	}))
	defer server.Close()
	s, err := New(Options{Address: server.URL, Key: "secret", MaxAnswer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var answer struct{ Text string }
	ctx := context.Background()
	status, err := s.Do(ctx, Request{Method: http.MethodPost, Path: "/echo?a=b", Type: "text/plain", Body: []byte("body")}, &answer)
	if err != nil || status != 200 || answer.Text != "POST a=b text/plain secret body" {
		t.Errorf("%d %q %v", status, answer.Text, err)
	}
	for path, want := range map[string]Refusal{
		"/problem": {401, "401 Unauthorized: who are you?; give the key with --key"},
		"/proxy":   {502, "502 Bad Gateway: <html>" + strings.Repeat("x", 294)},
	} {
		var refused *Refusal
		status, err := s.Do(ctx, Request{Method: http.MethodGet, Path: path}, nil)
		if !errors.As(err, &refused) || *refused != want || status != want.Status {
			t.Errorf("%s: %d %v", path, status, err)
		}
	}
	s.maxAnswer = 3
	if _, err := s.Do(ctx, Request{Method: http.MethodGet, Path: "/echo"}, &answer); err == nil {
		t.Error("an answer that is too long is taken for the whole")
	}
	server.Close()
	var refused *Refusal
	status, err = s.Do(ctx, Request{Method: http.MethodGet, Path: "/echo"}, nil)
	if status != 0 || errors.As(err, &refused) || err == nil || !strings.HasPrefix(err.Error(), "no answer from "+server.URL) {
		t.Errorf("of nobody: %d %v", status, err)
	}
}
