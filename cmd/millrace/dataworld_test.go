package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/catalog/sqlite"
	"millrace/engine/embedded"
	"millrace/event"
	"millrace/eventlog"
	"millrace/serve"
	statememory "millrace/state/memory"
	"millrace/state/pebble"
	viewmemory "millrace/view/memory"
)

// testConfig is a server's in a directory.
func testConfig(data string) config {
	cfg := defaultConfig()
	cfg.Data, cfg.Listen, cfg.CheckpointInterval = data, "127.0.0.1:0", 100*time.Millisecond
	return cfg
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.String()
}

// testServer is a server that a test has started.
type testServer struct {
	url  string
	log  *safeBuffer
	stop func()
}

// start runs a server; the error is that of a server that does not start.
func start(t *testing.T, cfg config) (*testServer, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &testServer{log: &safeBuffer{}}
	ready, done := make(chan struct{}), make(chan error, 1)
	var first sync.Once // it is ready again after each restore
	go func() {
		done <- runServer(ctx, cfg, slog.New(slog.NewTextHandler(s.log, nil)), func(server *serve.Server) error {
			first.Do(func() {
				s.url = "http://" + server.Addr()
				close(ready)
			})
			return nil
		})
	}()
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
	select {
	case <-ready:
		t.Cleanup(s.stop)
		return s, nil
	case err := <-done:
		cancel()
		return s, err
	}
}

func started(t *testing.T, cfg config) *testServer {
	t.Helper()
	s, err := start(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// must runs a command line and decodes the JSON that it prints.
func must[T any](t *testing.T, args ...string) T {
	t.Helper()
	out, err := run(t, t.Context(), append(args, "--json")...)
	if err != nil {
		t.Fatalf("millrace %s: %v", strings.Join(args, " "), err)
	}
	var result T
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("millrace %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return result
}

// untilBlock is a log as it was when it ended with a block.
type untilBlock struct {
	log  *eventlog.Log
	last uint64
}

// Scan implements embedded.BlockSource; without a log there are no blocks.
func (u untilBlock) Scan(from uint64, fn func(*eventlog.Block) error) error {
	if u.log == nil {
		return nil
	}
	errEnd := errors.New("end")
	err := u.log.Scan(from, func(b *eventlog.Block) error {
		if b.Number > u.last {
			return errEnd
		}
		return fn(b)
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}

// inspect recovers a data directory with its state, its log and its catalogue.
func inspect(t *testing.T, data string, shards int) *embedded.Engine {
	t.Helper()
	log, err := eventlog.Open(filepath.Join(data, logFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	store, err := pebble.Open(filepath.Join(data, stateFolder), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	sql, err := sqlite.Open(t.Context(), filepath.Join(data, catalogFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sql.Close() })
	return inspected(t, embedded.Options{Log: log, State: store, Catalog: sql, Shards: shards})
}

// replayed is a clean replay of a log up to a block.
func replayed(t *testing.T, data string, last uint64) *embedded.Engine {
	t.Helper()
	log, err := eventlog.Open(filepath.Join(data, logFolder), eventlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	return inspected(t, embedded.Options{Log: untilBlock{log, last}, State: statememory.New(), Shards: 2})
}

func inspected(t *testing.T, o embedded.Options) *embedded.Engine {
	t.Helper()
	o.Build, o.Duplicates, o.Views = buildProgram, duplicates(), viewmemory.New()
	e, err := embedded.Inspect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func wantEqual(t *testing.T, about string, a, b *embedded.Engine) {
	t.Helper()
	differences, err := embedded.Compare(a, b, 10)
	if err != nil || len(differences) > 0 || a.Applied() != b.Applied() || a.Stats().Events != b.Stats().Events || a.Stats().Events == 0 {
		t.Errorf("%s: %+v, %v; blocks %d and %d, events %d and %d", about, differences, err, a.Applied(), b.Applied(), a.Stats().Events, b.Stats().Events)
	}
}

// rows are all rows of a catalogue.
func rows(t *testing.T, data string) string {
	t.Helper()
	sql, err := sqlite.Open(t.Context(), filepath.Join(data, catalogFile))
	if err != nil {
		t.Fatal(err)
	}
	defer sql.Close()
	var list []string
	err = errors.Join(
		sql.EachUser(t.Context(), func(u *event.User) error { list = append(list, fmt.Sprintf("user %+v", *u)); return nil }),
		sql.EachItem(t.Context(), func(i *event.Item) error { list = append(list, fmt.Sprintf("item %+v", *i)); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// moreEvents are events of users and items that are known and that are not.
func moreEvents(n int) string {
	var list []map[string]any
	for i := range n {
		list = append(list, map[string]any{
			"user_id": fmt.Sprint("late-", i%9), "item_id": fmt.Sprint("novelty-", i%5), "event_type": "click", "timestamp": 1_770_000_000_000 + i*1000,
		})
	}
	b, _ := json.Marshal(list)
	return string(b)
}
