package viewtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/event"
	"millrace/operator"
	"millrace/view"
)

// model is the plainest store: a map, copied for every snapshot.
type model struct {
	store  view.Store
	block  uint64
	now    map[string]Number // by view and key
	held   []heldSnapshot
	writes Number // how many values were written: each is different
}

type heldSnapshot struct {
	view.Snapshot
	block uint64
	was   map[string]Number
}

var modelKeys = []string{"a", "b", "c", "d"}

// testModel publishes at random, with snapshots that come and go, and
// compares everything that can be read with the model after every step.
func testModel(t *testing.T, open func(t *testing.T) view.Store) {
	rapid.Check(t, func(rt *rapid.T) { checkModel(rt, open(t), true) })
}

// checkModel runs one random schedule. Snapshots are held over publications
// only where they are frozen.
func checkModel(rt *rapid.T, store view.Store, frozen bool) {
	m := &model{store: store, now: map[string]Number{}}
	defer func() {
		for _, h := range m.held {
			h.Close()
		}
		if err := m.store.Close(); err != nil {
			rt.Errorf("close: %v", err)
		}
	}()
	rt.Repeat(map[string]func(*rapid.T){
		"publish": m.publish,
		"hold": func(rt *rapid.T) {
			if !frozen {
				rt.Skip("snapshots are not frozen")
			}
			m.held = append(m.held, heldSnapshot{m.store.Snapshot(), m.block, maps.Clone(m.now)})
		},
		"release": func(rt *rapid.T) {
			if len(m.held) == 0 {
				rt.Skip("no snapshot is held")
			}
			i := rapid.IntRange(0, len(m.held)-1).Draw(rt, "snapshot")
			m.held[i].Close()
			m.held = slices.Delete(m.held, i, i+1)
		},
		"": m.check,
	})
}

func (m *model) publish(rt *rapid.T) {
	m.block += uint64(rapid.IntRange(0, 2).Draw(rt, "blocks"))
	shards := make([][]operator.ViewWrite, 2)
	for range rapid.IntRange(0, 6).Draw(rt, "writes") {
		name := rapid.SampledFrom(Views).Draw(rt, "view")
		k := rapid.IntRange(0, len(modelKeys)-1).Draw(rt, "key")
		w := remove(name, modelKeys[k])
		id := name + "/" + modelKeys[k]
		if rapid.Bool().Draw(rt, "put") {
			m.writes++
			w.Value = m.writes
			m.now[id] = m.writes
		} else {
			delete(m.now, id)
		}
		shards[k%2] = append(shards[k%2], w)
	}
	if err := m.store.Publish(m.block, event.Time(m.block), shards...); err != nil {
		rt.Fatalf("publish block %d: %v", m.block, err)
	}
}

func (m *model) check(rt *rapid.T) {
	r := m.store.Snapshot()
	defer r.Close()
	for _, h := range append(m.held, heldSnapshot{r, m.block, m.now}) {
		if h.Block() != h.block {
			rt.Fatalf("snapshot of block %d, want %d", h.Block(), h.block)
		}
		for _, name := range Views {
			for _, key := range modelKeys {
				got, _ := view.Get[Number](h, name, key)
				if got != h.was[name+"/"+key] {
					rt.Fatalf("in block %d %s/%s is %d, want %d", h.block, name, key, got, h.was[name+"/"+key])
				}
			}
		}
	}
	for _, name := range Views {
		m.checkEach(rt, name)
	}
}

func (m *model) checkEach(rt *rapid.T, name string) {
	var got, expect []string
	err := m.store.Each(name, func(key string, v operator.Value) error {
		got = append(got, fmt.Sprint(key, "=", v))
		return nil
	})
	if err != nil {
		rt.Fatalf("each: %v", err)
	}
	for _, key := range modelKeys {
		if v, ok := m.now[name+"/"+key]; ok {
			expect = append(expect, fmt.Sprint(key, "=", v))
		}
	}
	if !slices.Equal(got, expect) || m.store.Len(name) != len(expect) {
		rt.Fatalf("view %s is %v with length %d, want %v", name, got, m.store.Len(name), expect)
	}
}
