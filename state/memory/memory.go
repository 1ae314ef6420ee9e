// Package memory keeps checkpoints in the memory of the process, for tests
// and for jobs that start from the beginning after a crash.
package memory

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"

	"millrace/state"
)

// Backend is a state.Backend in memory.
type Backend struct {
	mu     sync.RWMutex
	closed bool
	latest *state.Checkpoint
	stages map[string]map[string][]byte // values are not changed once stored
	size   int64                        // of all keys and values
}

// New makes an empty backend.
func New() *Backend {
	return &Backend{stages: map[string]map[string][]byte{}}
}

// Commit implements state.Backend.
func (b *Backend) Commit(c *state.Checkpoint) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, fmt.Errorf("commit block %d: %w", c.Block, state.ErrClosed)
	}
	if err := c.Follows(b.latest); err != nil {
		return 0, err
	}
	for _, t := range c.Tables {
		stage := b.stages[t.Stage]
		if stage == nil {
			stage = map[string][]byte{}
			b.stages[t.Stage] = stage
		}
		for _, w := range t.Writes {
			if old, ok := stage[string(w.Key)]; ok {
				b.size -= int64(len(w.Key) + len(old))
			}
			if w.Value == nil {
				delete(stage, string(w.Key))
				continue
			}
			stage[string(w.Key)] = append([]byte{}, w.Value...)
			b.size += int64(len(w.Key) + len(w.Value))
		}
	}
	b.latest = &state.Checkpoint{Block: c.Block, Time: c.Time, Meta: bytes.Clone(c.Meta)}
	return c.Bytes(), nil
}

// Latest implements state.Backend.
func (b *Backend) Latest() (*state.Checkpoint, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch {
	case b.closed:
		return nil, fmt.Errorf("latest checkpoint: %w", state.ErrClosed)
	case b.latest == nil:
		return nil, state.ErrNone
	}
	c := *b.latest
	c.Meta = bytes.Clone(c.Meta)
	return &c, nil
}

// Load implements state.Backend.
func (b *Backend) Load(fn func(stage string, key, value []byte) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return fmt.Errorf("load state: %w", state.ErrClosed)
	}
	for _, name := range slices.Sorted(maps.Keys(b.stages)) {
		stage := b.stages[name]
		for _, key := range slices.Sorted(maps.Keys(stage)) {
			if err := fn(name, []byte(key), stage[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Each is Load in no particular order, which saves sorting the keys. fn must
// not change key and value.
func (b *Backend) Each(fn func(stage string, key, value []byte) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return fmt.Errorf("load state: %w", state.ErrClosed)
	}
	var key []byte // scratch
	for name, stage := range b.stages {
		for k, value := range stage {
			key = append(key[:0], k...)
			if err := fn(name, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keys is how many keys of all stages have state.
func (b *Backend) Keys() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n := 0
	for _, stage := range b.stages {
		n += len(stage)
	}
	return n
}

// Get implements state.Backend.
func (b *Backend) Get(stage string, key []byte) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, fmt.Errorf("get state of %s/%q: %w", stage, key, state.ErrClosed)
	}
	value, ok := b.stages[stage][string(key)]
	if !ok {
		return nil, fmt.Errorf("get state of %s/%q: %w", stage, key, state.ErrNotFound)
	}
	return append([]byte{}, value...), nil
}

// Drop implements state.Backend.
func (b *Backend) Drop(stage string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("drop stage %s: %w", stage, state.ErrClosed)
	}
	if err := state.CheckStage(stage); err != nil {
		return err
	}
	for key, value := range b.stages[stage] {
		b.size -= int64(len(key) + len(value))
	}
	delete(b.stages, stage)
	return nil
}

// Compact implements state.Backend. Nothing is kept of what is deleted.
func (b *Backend) Compact() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return fmt.Errorf("compact state: %w", state.ErrClosed)
	}
	return nil
}

// Size implements state.Backend: the bytes of all keys and values.
func (b *Backend) Size() (int64, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return 0, fmt.Errorf("size of state: %w", state.ErrClosed)
	}
	return b.size, nil
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.stages = nil
	return nil
}
