package checkpoint

import (
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"millrace/operator"
	"millrace/state"
	"millrace/state/memory"
)

// subject is state of numbered keys, of which some change with each block.
type subject struct {
	t       *testing.T
	block   uint64
	keys    map[string]string
	dirty   map[string]bool
	fixed   map[string]string // what the checkpoint has, as of its beginning
	encoded []operator.StateWrite
	// A slice of encoding takes so long, and there are so many.
	slice  time.Duration
	slices int
	left   int

	prepare func() error
}

func newSubject(t *testing.T) *subject {
	return &subject{t: t, keys: map[string]string{}, dirty: map[string]bool{}, prepare: func() error { return nil }}
}

// apply is a block that changes a key.
func (s *subject) apply(key string) {
	s.block++
	s.keys[key] = strconv.FormatUint(s.block, 10)
	s.dirty[key] = true
}

func (s *subject) Position() uint64 { return s.block }

func (s *subject) Begin() state.Checkpoint {
	if s.fixed != nil {
		s.t.Fatal("a checkpoint begins during another one")
	}
	s.fixed = map[string]string{}
	for key := range s.dirty {
		s.fixed[key] = s.keys[key]
	}
	s.dirty, s.left = map[string]bool{}, max(s.slices, 1)
	return state.Checkpoint{Block: s.block}
}

func (s *subject) Encode(stop func() bool) bool {
	for s.left > 0 {
		if s.left--; s.slice > 0 {
			time.Sleep(s.slice)
		}
		if s.left > 0 && stop() {
			return false
		}
	}
	for key, value := range s.fixed {
		s.encoded = append(s.encoded, operator.StateWrite{Key: []byte(key), Value: []byte(value)})
	}
	return true
}

func (s *subject) Take() []state.Table {
	t := state.Table{Stage: "stage", Writes: s.encoded}
	s.encoded, s.fixed = nil, nil
	return []state.Table{t}
}

func (s *subject) Prepare(*state.Checkpoint) error { return s.prepare() }

func (s *subject) LiveBytes() int64 { return int64(100 * len(s.keys)) }

// backend is one in memory that can be slow and can fail.
type backend struct {
	*memory.Backend
	takes   duration
	fail    func() error
	commits atomic.Int64 // tries
}

// duration can be changed while a commit sleeps.
type duration struct{ atomic.Int64 }

func (d *duration) set(to time.Duration) { d.Store(int64(to)) }

func (b *backend) Commit(c *state.Checkpoint) (int64, error) {
	b.commits.Add(1)
	time.Sleep(time.Duration(b.takes.Load()))
	if b.fail != nil {
		if err := b.fail(); err != nil {
			return 0, err
		}
	}
	return b.Backend.Commit(c)
}

// stored is what the latest checkpoint has.
func (b *backend) stored(t *testing.T) (block uint64, keys map[string]string) {
	t.Helper()
	keys = map[string]string{}
	latest, err := b.Latest()
	if errors.Is(err, state.ErrNone) {
		return 0, keys
	}
	if err == nil {
		err = b.Load(func(_ string, key, value []byte) error {
			keys[string(key)] = string(value)
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return latest.Block, keys
}

// rig is a coordinator with its parts, within synctest's time.
type rig struct {
	*Coordinator
	t       *testing.T
	subject *subject
	backend *backend
	stop    chan struct{}
}

var errBroken = errors.New("the disk is broken")

func newRig(t *testing.T, p Policy) *rig {
	r := &rig{t: t, subject: newSubject(t), backend: &backend{Backend: memory.New()}, stop: make(chan struct{})}
	r.open(p, nil)
	return r
}

func (r *rig) open(p Policy, j *Journal) {
	block, _ := r.backend.stored(r.t)
	r.Coordinator = New(Options{
		Policy: p, Backend: r.backend, Journal: j, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Spawn: func(f func()) { go f() }, Stop: r.stop,
	}, block)
}

// run is an engine that applies a block and takes a step every tick.
func (r *rig) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(Tick) {
		r.subject.apply("k" + strconv.Itoa(int(r.subject.block)%7))
		r.step()
	}
}

func (r *rig) step() { r.Step(r.subject, false) }

// whole demands that the backend has all of the subject.
func (r *rig) whole() {
	r.t.Helper()
	block, keys := r.backend.stored(r.t)
	if block != r.subject.block || !maps.Equal(keys, r.subject.keys) {
		r.t.Errorf("stored: block %d, %v; want %d, %v", block, keys, r.subject.block, r.subject.keys)
	}
}

// starts are when the checkpoints of the history began, since a time.
func (r *rig) starts(since time.Time) (list []time.Duration) {
	for _, c := range r.History() {
		list = append(list, c.Started.Sub(since).Round(10*time.Millisecond))
	}
	return list
}
