package pipeline

import (
	"fmt"
	"slices"

	"millrace/event"
	"millrace/operator"
	"millrace/state"
)

// encodeKeys is how many keys are encoded between two questions whether to stop.
const encodeKeys = 8

// Forget drops a deleted user or item from every stage that is keyed by it.
func (p *Pipeline) Forget(subject operator.Subject, key string) {
	for i, n := range p.topology.Nodes() {
		if n.Subject == subject {
			p.owner(i, key).Forget(key, event.MinTime)
		}
	}
}

// owner is the table of a stage that owns a key.
func (p *Pipeline) owner(node int, key string) operator.Table {
	tables := p.tables[node]
	return tables[operator.ShardOf(p.topology.Nodes()[node].Group(key), len(tables))]
}

// load gives a stored key of a stage to the table that owns it, or to all
// tables if it is broadcast state.
func (p *Pipeline) load(node int, key, value []byte, into func(t operator.Table, key, value []byte) error) error {
	if string(key) != operator.BroadcastKey {
		return into(p.owner(node, string(key)), key, value)
	}
	if n := p.topology.Nodes()[node]; !n.Broadcast {
		return fmt.Errorf("%w: stage %s has no broadcast input: its broadcast state would be lost", operator.ErrTopology, n.Name)
	}
	for _, t := range p.tables[node] {
		if err := into(t, key, value); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is about how many bytes of memory the state takes, and Dirty how many
// keys have changed since the last checkpoint.
func (p *Pipeline) Bytes() (bytes int64, dirty int) {
	for _, tables := range p.tables {
		for _, t := range tables {
			bytes += t.Bytes()
			dirty += t.Dirty()
		}
	}
	return bytes, dirty
}

// Evict drops state from memory that the last checkpoint has stored, until all
// takes no more than so many bytes, as far as that is possible: a share of
// what each table takes. No checkpoint may be under way.
func (p *Pipeline) Evict(bytes int64) {
	total, _ := p.Bytes()
	if total <= bytes {
		return
	}
	Parallel(p.shards, false, func(shard int) {
		for _, tables := range p.tables {
			if shard < len(tables) {
				t := tables[shard]
				t.Evict(int64(float64(t.Bytes()) * float64(bytes) / float64(total)))
			}
		}
	})
}

// LoadCold notes one key of one stage that stays where it is stored. The error
// is state.ErrStageMissing for a stage that the topology does not have.
func (p *Pipeline) LoadCold(stage string, key, value []byte) error {
	return p.loadOf(stage, key, value, operator.Table.LoadCold)
}

// Load restores one key of one stage. The error is state.ErrStageMissing for a stage
// that the topology does not have.
func (p *Pipeline) Load(stage string, key, value []byte) error {
	return p.loadOf(stage, key, value, operator.Table.Load)
}

func (p *Pipeline) loadOf(stage string, key, value []byte, into func(t operator.Table, key, value []byte) error) error {
	for i, n := range p.topology.Nodes() {
		if n.Name == stage {
			return p.load(i, key, value, into)
		}
	}
	return state.ErrStageMissing
}

// State calls fn for every key of every stage, in order.
func (p *Pipeline) State(fn func(stage, key string, value []byte) error) error {
	for i, n := range p.topology.Nodes() {
		for _, t := range p.tables[i] {
			if err := t.Each(func(key string, value []byte) error { return fn(n.Name, key, value) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// TakeOver moves all state from the pipeline before. It returns the keys of
// stages that there are no longer, as deletions.
func (p *Pipeline) TakeOver(old *Pipeline) ([]state.Table, error) {
	var orphans []state.Table
	for i, n := range old.topology.Nodes() {
		at := slices.IndexFunc(p.topology.Nodes(), func(m *operator.Node) bool { return m.Name == n.Name })
		orphan := state.Table{Stage: n.Name}
		for _, t := range old.tables[i] {
			err := t.HandOver(func(key string, value []byte) error {
				if at < 0 {
					orphan.Writes = append(orphan.Writes, operator.StateWrite{Key: []byte(key)})
					return nil
				}
				return p.load(at, []byte(key), value, operator.Table.TakeOver)
			})
			if err != nil {
				return nil, err
			}
		}
		if len(orphan.Writes) > 0 {
			orphans = append(orphans, orphan)
		}
	}
	return orphans, nil
}

// Keys is how many keys each stage holds.
func (p *Pipeline) Keys() map[string]int {
	all := map[string]int{}
	for i, n := range p.topology.Nodes() {
		for _, t := range p.tables[i] {
			all[n.Name] += t.Len()
		}
	}
	return all
}

// BeginCheckpoint starts a checkpoint in every table.
func (p *Pipeline) BeginCheckpoint() {
	for _, tables := range p.tables {
		for _, t := range tables {
			t.BeginCheckpoint()
		}
	}
}

// Encode encodes what the checkpoint still lacks until stop says so, and
// reports whether all is done.
func (p *Pipeline) Encode(stop func() bool) bool {
	for _, tables := range p.tables {
		for _, t := range tables {
			for t.Encode(encodeKeys) > 0 {
				if stop() {
					return false
				}
			}
		}
	}
	return true
}

// EncodeAll encodes all that the checkpoint lacks, on all shards.
func (p *Pipeline) EncodeAll() {
	Parallel(p.shards, false, func(shard int) {
		for _, tables := range p.tables {
			if shard < len(tables) {
				for tables[shard].Encode(1<<20) > 0 {
				}
			}
		}
	})
}

// TakeWrites hands over what the checkpoint has encoded.
func (p *Pipeline) TakeWrites() []state.Table {
	var all []state.Table
	for i, n := range p.topology.Nodes() {
		for _, table := range p.tables[i] {
			if w := table.TakeWrites(); len(w) > 0 {
				all = append(all, state.Table{Stage: n.Name, Writes: w})
			}
		}
	}
	return all
}
