package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/catalog/database"
	"millrace/outbox"
)

// flaky is a target that fails at random, before or after it has taken entries.
type flaky struct {
	name   string
	mutex  sync.Mutex
	random *rand.Rand
	taken  []uint64 // positions
	open   bool
}

var errFlaky = errors.New("flaky")

func (f *flaky) Name() string { return f.name }

func (f *flaky) fails() bool { return f.random.IntN(4) == 0 }

func (f *flaky) Open(context.Context) (uint64, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.fails() {
		return 0, errFlaky
	}
	f.open = true
	return uint64(len(f.taken)), nil
}

func (f *flaky) Position(context.Context) (uint64, error) { return uint64(len(f.list())), nil }

func (f *flaky) Take(_ context.Context, entries []outbox.Entry) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !f.open || f.fails() {
		return errFlaky
	}
	for _, e := range entries {
		f.taken = append(f.taken, e.Position)
	}
	if f.fails() {
		f.open = false
		return errFlaky
	}
	return nil
}

func (f *flaky) Close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.open = false
}

func (f *flaky) list() []uint64 {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.taken)
}

// lose forgets what was taken last, as Redis does.
func (f *flaky) lose(n int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.taken = f.taken[:max(0, len(f.taken)-n)]
}

// TestProjector runs two processes with targets that fail, one of which ends in
// the middle, and one target that loses what it had: each has every entry once,
// in order.
func TestProjector(t *testing.T) {
	s, err := outbox.Open(t.Context(), database.Default(), filepath.Join(t.TempDir(), "likes.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	target := func(name string, seed uint64) *flaky {
		return &flaky{name: name, random: rand.New(rand.NewPCG(seed, 1))}
	}
	shared, first, second := target("shared", 1), target("local", 2), target("local", 3)
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ends, end := context.WithCancel(ctx)
	defer end()
	for of, ctx := range map[*flaky]context.Context{first: ends, second: ctx} {
		p := outbox.NewProjector(outbox.Options{
			Store: s, Shared: []outbox.Target{shared}, Local: []outbox.Target{of}, Interval: 5 * time.Millisecond, Lease: time.Second,
		})
		running.Go(func() { p.Run(ctx) })
	}
	const n = 100
	for i := range n {
		put(t, s, outbox.Reaction{Kind: outbox.Likes, User: "u", Content: fmt.Sprint(i)}, true)
		if i == n/2 {
			end()
		}
	}
	complete := func() {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); len(shared.list()) < n || len(second.list()) < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d and %d of %d entries", len(shared.list()), len(second.list()), n)
			}
		}
	}
	complete()
	shared.lose(n / 3)
	complete()
	cancel()
	running.Wait()
	for _, f := range []*flaky{first, second, shared} {
		for i, at := range f.list() {
			if at != uint64(i+1) {
				t.Fatalf("%s: entry %d is at position %d", f.name, i, at)
			}
		}
	}
}
