package schemaregistry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

const record = `{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]}`

func client(t *testing.T, c Config) *Client {
	t.Helper()
	made, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

func fakeRegistry(t *testing.T) (*srfake.Registry, *Client) {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	return fake, client(t, Config{URLs: []string{fake.URL()}})
}

func TestSchemas(t *testing.T) {
	fake, c := fakeRegistry(t)
	inner, err := c.Register(t.Context(), "inner", sr.Schema{Schema: record})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Register(t.Context(), "inner", sr.Schema{Schema: record})
	if err != nil || again != inner {
		t.Errorf("registered again: %d, %v, want %d", again, err, inner)
	}
	middle := sr.Schema{Schema: `{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}`, References: []sr.SchemaReference{{Name: "A", Subject: "inner", Version: 1}}}
	if _, err := c.Register(t.Context(), "middle", middle); err != nil {
		t.Fatal(err)
	}
	outer, err := c.Register(t.Context(), "outer", sr.Schema{Schema: `{"type":"record","name":"C","fields":[{"name":"a","type":"A"},{"name":"b","type":"B"}]}`,
		References: []sr.SchemaReference{{Name: "B", Subject: "middle", Version: 1}, {Name: "A", Subject: "inner", Version: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	asked := atomic.Int64{}
	fake.Intercept(func(http.ResponseWriter, *http.Request) bool { asked.Add(1); return false })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := c.Schema(context.Background(), outer)
			if err != nil || s.ID != outer || s.Type != sr.TypeAvro {
				t.Errorf("%+v, %v", s, err)
				return
			}
			var names []string
			for _, r := range s.References {
				names = append(names, r.Name)
			}
			if !slices.Equal(names, []string{"A", "B"}) {
				t.Errorf("references %v, want A before B, which refers to it", names)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times, want once for each of three schemas", n)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Register(t.Context(), "inner", sr.Schema{Schema: `{"type":"recor`}); !errors.Is(err, ErrRefused) {
		t.Errorf("what is no schema: %v", err)
	}
}

// An unknown id is asked for again, ever more seldom, and known once it is
// there.
func TestUnknownSchemas(t *testing.T) {
	fake, c := fakeRegistry(t)
	for range 3 {
		if _, err := c.Schema(t.Context(), 1); !errors.Is(err, ErrUnknownSchema) {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	u := c.unknown[1]
	c.mu.Unlock()
	if u.pause != firstUnknown {
		t.Errorf("a pause of %v, want %v", u.pause, firstUnknown)
	}
	fake.SeedSchema("a", 1, 1, sr.Schema{Schema: record})
	if _, err := c.Schema(t.Context(), 1); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("before the pause is over: %v", err)
	}
	forget := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, u := range c.unknown {
			u.until = time.Time{}
			c.unknown[id] = u
		}
	}
	forget()
	if _, err := c.Schema(t.Context(), 1); err != nil {
		t.Errorf("when it is there: %v", err)
	}
	for range 20 {
		_, _ = c.Schema(t.Context(), 2)
		forget()
	}
	if u := c.unknown[2]; u.pause != longestUnknown {
		t.Errorf("after 20 times a pause of %v, want %v", u.pause, longestUnknown)
	}
}

// What is no answer of a registry is waited for, and said in words.
func TestDiagnoses(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		"wants other credentials (401)": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"is the address that of a registry?": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<html>")
		},
		"answers 500: no response": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"longer than": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"schema":"`+strings.Repeat("x", maxAnswerBytes))
		},
		"unable to decode": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		server := httptest.NewServer(handler)
		c := client(t, Config{URLs: []string{server.URL}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		go func() {
			for c.Err() == nil && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		_, err := c.Schema(ctx, 1)
		if !errors.Is(err, context.Canceled) || !errors.Is(c.Err(), ErrUnavailable) || !strings.Contains(c.Err().Error(), want) {
			t.Errorf("%v, %v, want %s", err, c.Err(), want)
		}
		if err := c.Check(t.Context()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("checked: %v, want %s", err, want)
		}
		server.Close()
	}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) }))
	defer gateway.Close()
	c := client(t, Config{URLs: []string{gateway.URL}})
	bounded, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if s, err := c.Schema(bounded, 1); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(c.Err(), ErrUnavailable) || !strings.Contains(c.Err().Error(), "no schema") {
		t.Errorf("of JSON that is something else: %v, %v, %v", s, err, c.Err())
	}
	if err := client(t, Config{URLs: []string{"http://127.0.0.1:1"}}).Check(t.Context()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("of nobody: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `["AVRO"]`)
	}))
	defer server.Close()
	for _, c := range []Config{{User: "u", Password: "p"}, {Token: "t"}} {
		c.URLs = []string{server.URL}
		if err := client(t, c).Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "Basic dTpw" && text != "Bearer t" {
			t.Errorf("%+v: %q", c, text)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{URLs: []string{"localhost:8081"}}, `want addresses such as http://127.0.0.1:8081, got "localhost:8081"`},
		{Config{URLs: []string{"http://u:p@h"}}, "want no password in an address"},
		{Config{User: "u"}, "urls: want the addresses"},
		{Config{URLs: []string{"http://h"}, User: "u", Token: "t"}, "token: want a token or a user"},
		{Config{URLs: []string{"http://h"}, Password: "p"}, "user: want one"},
		{Config{URLs: []string{"http://h"}, CertFile: "c"}, "want both or neither"},
		{Config{URLs: []string{"http://h"}, CAFile: "/nowhere"}, "ca_file: "},
		{Config{URLs: []string{"http://h"}, Timeout: -1}, "timeout: want"},
	} {
		if err := c.config.Validate(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%+v: %v, want %s", c.config, err, c.want)
		}
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Error(err)
	}
}
