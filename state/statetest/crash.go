package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

// Disk is a disk that can lose power, with one backend on it.
type Disk interface {
	// Open opens the backend.
	Open() (state.Backend, error)
	// Arm makes the disk set aside, just before its nth change from now, what
	// a power cut at that moment would leave: all that was synced and, chosen
	// by random, some of what was not. It does so inside cut.
	Arm(n int, random *rand.Rand, cut func(setAside func()))
	// Restart goes on from what was set aside, or if n changes were not
	// reached from what a power cut would leave now.
	Restart()
}

// Crash takes a backend through power cuts: rounds of opening it, checking
// that it has exactly the checkpoint that it must have, and changing it, with
// the power lost somewhere on the way. It logs the seed; what a backend does
// in its own goroutines makes two runs with a seed similar but not equal.
func Crash(t *testing.T, disk Disk, seed uint64, rounds int) {
	t.Logf("seed %d", seed)
	c := &crasher{disk: disk, random: rand.New(rand.NewPCG(seed, 0)), may: []saved{{}}}
	for round := range rounds {
		if err := c.run(); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
	}
	t.Logf("%d rounds: power was lost in %d opens and %d changes, %d of which were found done",
		rounds, c.inOpen, c.inChange, c.wentThrough)
	if few := rounds / 100; rounds >= 500 && (c.inOpen < few || c.wentThrough < few || c.inChange-c.wentThrough < few) {
		t.Error("power was lost where that tests nothing")
	}
}

// saved is what a backend has: the latest checkpoint, if any, and all keys.
type saved struct {
	latest *state.Checkpoint
	keys   map[string]string // by stage and key
}

type crasher struct {
	disk   Disk
	random *rand.Rand
	may    []saved // what may be found

	inOpen, inChange, wentThrough int

	mu       sync.Mutex // the disk may be in any of the backend's goroutines
	opening  bool
	done     saved   // what was acknowledged last
	underway *saved  // what is being done
	after    []saved // what may be found after the cut; nil before it
}

// run is one round.
func (c *crasher) run() error {
	c.opening, c.after = true, nil
	inOpen := c.random.IntN(4) == 0 // or shortly after it
	if inOpen {
		c.arm(50)
	}
	b, err := c.disk.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = c.check(b)
	if !inOpen {
		c.arm(60)
	}
	for range 3 {
		if err == nil && !c.isCut() {
			err = c.change(b)
		}
	}
	c.disk.Restart()
	c.cut(func() {})
	c.may = c.after
	return errors.Join(err, b.Close())
}

// arm sets the power cut to one of the next n changes of the disk.
func (c *crasher) arm(n int) {
	c.disk.Arm(c.random.IntN(n), rand.New(rand.NewPCG(c.random.Uint64(), 1)), c.cut)
}

// cut notes what may be found after a power cut at this moment, the first
// time that it is called in a round.
func (c *crasher) cut(setAside func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after != nil {
		return
	}
	setAside()
	switch {
	case c.opening:
		c.after = c.may
		c.inOpen++
	case c.underway != nil:
		c.after = []saved{c.done, *c.underway}
		c.inChange++
	default:
		c.after = []saved{c.done}
	}
}

func (c *crasher) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after != nil
}

// check finds out which of the states that may be found is there. From then
// on it must stay: it has been seen.
func (c *crasher) check(b state.Backend) error {
	var wrong error
	for i, s := range c.may {
		if err := s.equal(b); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("state %d of %d that may be found: %w", i+1, len(c.may), err))
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opening, c.done = false, s
		if i == 1 {
			c.wentThrough++
		}
		return nil
	}
	return wrong
}

func (s saved) equal(b state.Backend) error {
	latest, err := b.Latest()
	switch {
	case s.latest == nil:
		if !errors.Is(err, state.ErrNone) {
			return fmt.Errorf("latest: %v, %w; want none", latest, err)
		}
	case err != nil:
		return fmt.Errorf("latest: %w; want block %d", err, s.latest.Block)
	case latest.Block != s.latest.Block || latest.Time != s.latest.Time || !bytes.Equal(latest.Meta, s.latest.Meta):
		return fmt.Errorf("latest is %v, want block %d", latest, s.latest.Block)
	}
	got := map[string]string{}
	if err := b.Load(func(stage string, key, value []byte) error {
		got[stage+"/"+string(key)] = string(value)
		return nil
	}); err != nil {
		return err
	}
	if !maps.Equal(got, s.keys) {
		return fmt.Errorf("loaded %d keys that differ from the %d of the checkpoint", len(got), len(s.keys))
	}
	return nil
}

// change does something to the backend: mostly a commit.
func (c *crasher) change(b state.Backend) error {
	switch c.random.IntN(12) {
	case 0:
		return b.Compact()
	case 1:
		stage := crashStages[c.random.IntN(len(crashStages))]
		next := saved{c.done.latest, maps.Clone(c.done.keys)}
		maps.DeleteFunc(next.keys, func(id, _ string) bool { return strings.HasPrefix(id, stage+"/") })
		return c.apply(next, func() error { return b.Drop(stage) })
	}
	next, checkpoint := c.next()
	return c.apply(next, func() error {
		_, err := b.Commit(checkpoint)
		return err
	})
}

// apply does a change that leads to the next state.
func (c *crasher) apply(next saved, change func() error) error {
	c.mu.Lock()
	c.underway = &next
	c.mu.Unlock()
	err := change()
	c.mu.Lock()
	c.underway = nil
	if err == nil {
		c.done = next
	}
	c.mu.Unlock()
	return err
}

var crashStages = []string{"a", "ab", "b"}

// next makes a checkpoint and says to which state it leads.
func (c *crasher) next() (saved, *state.Checkpoint) {
	keys := maps.Clone(c.done.keys)
	if keys == nil {
		keys = map[string]string{}
	}
	checkpoint := &state.Checkpoint{Block: 1, Time: event.Time(c.random.Int64N(1e12)), Meta: c.bytes(20)}
	if c.done.latest != nil {
		checkpoint.Block = c.done.latest.Block + c.random.Uint64N(3)
	}
	for _, stage := range crashStages {
		t := state.Table{Stage: stage}
		for range c.random.IntN(8) {
			w := operator.StateWrite{Key: fmt.Append(nil, "k", c.random.IntN(20))}
			if c.random.IntN(4) > 0 {
				w.Value = c.bytes(200)
				keys[stage+"/"+string(w.Key)] = string(w.Value)
			} else {
				delete(keys, stage+"/"+string(w.Key))
			}
			t.Writes = append(t.Writes, w)
		}
		checkpoint.Tables = append(checkpoint.Tables, t)
	}
	return saved{checkpoint, keys}, checkpoint
}

// bytes makes up to n random bytes.
func (c *crasher) bytes(n int) []byte {
	b := make([]byte, c.random.IntN(n+1))
	for i := range b {
		b[i] = byte(c.random.Uint32())
	}
	return b
}
