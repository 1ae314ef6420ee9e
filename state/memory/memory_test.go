package memory

import (
	"errors"
	"maps"
	"testing"

	"millrace/operator"
	"millrace/state"
	"millrace/state/statetest"
)

func TestBackend(t *testing.T) {
	statetest.Run(t, statetest.Harness{
		New: func(*testing.T) func() (state.Backend, error) {
			return func() (state.Backend, error) { return New(), nil }
		},
	})
}

// TestSize pins the count down: it must be what the keys and values have.
func TestSize(t *testing.T) {
	b := New()
	c := &state.Checkpoint{Tables: []state.Table{{Stage: "s"}}}
	for _, step := range []struct {
		key, value string
		size       int64
	}{{"a", "123", 4}, {"b", "1", 6}, {"a", "", 3}, {"a", "12", 5}} {
		c.Tables[0].Writes = c.Tables[0].Writes[:0]
		c.Tables[0].Writes = append(c.Tables[0].Writes, statetest.Write(step.key, step.value))
		if _, err := b.Commit(c); err != nil {
			t.Fatal(err)
		}
		if got, _ := b.Size(); got != step.size {
			t.Errorf("after %s=%q: %d bytes, want %d", step.key, step.value, got, step.size)
		}
	}
	if err := b.Drop("s"); err != nil {
		t.Fatal(err)
	}
	if got, _ := b.Size(); got != 0 {
		t.Errorf("after dropping all: %d bytes", got)
	}
}

// TestEach: every key once, whatever the order, and an error ends it.
func TestEach(t *testing.T) {
	b := New()
	want := map[string]string{"s/a": "1", "s/b": "", "t/a": "2"}
	if _, err := b.Commit(&state.Checkpoint{Tables: []state.Table{
		{Stage: "s", Writes: []operator.StateWrite{statetest.Write("a", "1"), statetest.Write("b", "")}},
		{Stage: "t", Writes: []operator.StateWrite{statetest.Write("a", "2")}},
	}}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	stop := errors.New("stop")
	err := b.Each(func(stage string, key, value []byte) error {
		got[stage+"/"+string(key)] = string(value)
		if len(got) == len(want) {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || !maps.Equal(got, want) || b.Keys() != len(want) {
		t.Errorf("%d keys, %v, %v; want %v", b.Keys(), got, err, want)
	}
}
