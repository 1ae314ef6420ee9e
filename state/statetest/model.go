package statetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/operator"
	"millrace/state"
)

// model is the plainest backend: a map by stage and key.
type model struct {
	open    func() (state.Backend, error)
	keeps   bool
	backend state.Backend
	now     map[string]string
	latest  *state.Checkpoint
	values  int // how many were written: each is different
}

var (
	modelStages = []string{"a", "ab", "b"}
	modelKeys   = []string{"", "k", "k\x00", "l"}
)

// testModel commits, drops, compacts and opens again at random, and compares
// everything that can be read with the model after every step.
func testModel(t *testing.T, h Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{open: h.New(t), keeps: h.Keeps, now: map[string]string{}}
		var err error
		if m.backend, err = m.open(); err != nil {
			rt.Fatalf("open: %v", err)
		}
		defer func() {
			if err := m.backend.Close(); err != nil {
				rt.Errorf("close: %v", err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"commit": m.commit,
			"drop":   m.drop,
			"compact": func(rt *rapid.T) {
				if err := m.backend.Compact(); err != nil {
					rt.Fatalf("compact: %v", err)
				}
			},
			"reopen": m.reopen,
			"":       m.check,
		})
	})
}

func (m *model) commit(rt *rapid.T) {
	c := &state.Checkpoint{Meta: []byte(fmt.Sprint("meta", m.values))}
	if m.latest != nil {
		c.Block = m.latest.Block
	}
	c.Block += uint64(rapid.IntRange(0, 2).Draw(rt, "blocks"))
	for range rapid.IntRange(0, 3).Draw(rt, "tables") {
		t := state.Table{Stage: rapid.SampledFrom(modelStages).Draw(rt, "stage")}
		for range rapid.IntRange(0, 4).Draw(rt, "writes") {
			key := rapid.SampledFrom(modelKeys).Draw(rt, "key")
			w := operator.StateWrite{Key: []byte(key)}
			if rapid.Bool().Draw(rt, "put") {
				m.values++
				w.Value = fmt.Append(nil, m.values)
				m.now[t.Stage+"/"+key] = string(w.Value)
			} else {
				delete(m.now, t.Stage+"/"+key)
			}
			t.Writes = append(t.Writes, w)
		}
		c.Tables = append(c.Tables, t)
	}
	if _, err := m.backend.Commit(c); err != nil {
		rt.Fatalf("commit: %v", err)
	}
	m.latest = c
}

func (m *model) drop(rt *rapid.T) {
	stage := rapid.SampledFrom(modelStages).Draw(rt, "stage")
	if err := m.backend.Drop(stage); err != nil {
		rt.Fatalf("drop: %v", err)
	}
	maps.DeleteFunc(m.now, func(id, _ string) bool { return strings.HasPrefix(id, stage+"/") })
}

func (m *model) reopen(rt *rapid.T) {
	if !m.keeps {
		rt.Skip("does not keep anything")
	}
	if err := m.backend.Close(); err != nil {
		rt.Fatalf("close: %v", err)
	}
	b, err := m.open()
	if err != nil {
		rt.Fatalf("open: %v", err)
	}
	m.backend = b
}

func (m *model) check(rt *rapid.T) {
	var got, want []string
	err := m.backend.Load(func(stage string, key, value []byte) error {
		got = append(got, fmt.Sprintf("%s/%s=%s", stage, key, value))
		return nil
	})
	if err != nil {
		rt.Fatalf("load: %v", err)
	}
	for _, stage := range modelStages {
		for _, key := range modelKeys {
			m.checkKey(rt, stage, key)
			if v, ok := m.now[stage+"/"+key]; ok {
				want = append(want, fmt.Sprintf("%s/%s=%s", stage, key, v))
			}
		}
	}
	if !slices.Equal(got, want) {
		rt.Fatalf("loaded %q, want %q", got, want)
	}
	latest, err := m.backend.Latest()
	switch {
	case m.latest == nil && !errors.Is(err, state.ErrNone):
		rt.Fatalf("latest: %v, %v; want ErrNone", latest, err)
	case m.latest != nil && (err != nil || latest.Block != m.latest.Block || string(latest.Meta) != string(m.latest.Meta)):
		rt.Fatalf("latest: %v, %v; want block %d, meta %s", latest, err, m.latest.Block, m.latest.Meta)
	}
}

func (m *model) checkKey(rt *rapid.T, stage, key string) {
	want, ok := m.now[stage+"/"+key]
	got, err := m.backend.Get(stage, []byte(key))
	if ok && (err != nil || string(got) != want) || !ok && !errors.Is(err, state.ErrNotFound) {
		rt.Fatalf("get %s/%q: %q, %v; want %q", stage, key, got, err, want)
	}
}
