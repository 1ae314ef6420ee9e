package collect

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/event"
	"millrace/serve"
	"millrace/serve/servetest"
)

// Bad lines that are collected over HTTP are dead letters as those are that a
// server collects itself: the line, and what is wrong with it; also more of them
// than a server takes together.
func TestRejectOverHTTP(t *testing.T) {
	const key = "a-long-enough-key"
	world := servetest.New()
	server, err := serve.New(serve.Options{Parts: world.Parts(), Listen: "127.0.0.1:0", Keys: []string{key}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	remote, err := NewRemote(web.URL, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	list := []Letter{{Path: "/log/app.log", Offset: 70, Line: []byte("user=u1 type=stare"), Error: event.Unexpected("event_type", "a known type", []byte("stare"))}}
	for i := range maxLetters + 1 {
		list = append(list, Letter{Path: "/log/app.log", Offset: uint64(100 + i), Line: []byte(strings.Repeat("x", 4096)), Error: event.Unexpected("", "an event", []byte("x"))})
	}
	if err := remote.Reject(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	got := world.Letters()
	if len(got) != len(list) {
		t.Fatalf("%d letters, want %d", len(got), len(list))
	}
	if raw := string(got[0].Raw); raw != "user=u1 type=stare" {
		t.Errorf("the raw text is %s", raw)
	}
	if want := "/log/app.log, offset 70: event_type: expected a known type, got stare"; got[0].Error != want {
		t.Errorf("the reason is %s, want %s", got[0].Error, want)
	}
	for i, l := range got[1:] {
		if want := fmt.Sprintf("/log/app.log, offset %d: expected an event, got x", 100+i); l.Error != want || len(l.Raw) != 4096 {
			t.Fatalf("letter %d is %s with %d bytes, want %s", i+1, l.Error, len(l.Raw), want)
		}
	}
}
