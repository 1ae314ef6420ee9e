package operatortest

import (
	"fmt"
	"slices"

	"millrace/event"
	"millrace/event/wire"
	"millrace/operator"
)

// State is the encoded state of every key, by stage and key, in the form that
// operator.Table stores. Call Drain first.
func (e *Engine[T]) State() map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for i, n := range e.topology.Nodes() {
		all[n.Name] = map[string][]byte{}
		for _, k := range e.tasks[i] {
			for key, s := range k.keys {
				h := operator.Header{Version: n.Version, Timers: s.timers, Processing: s.processing, Stamp: s.stamp}
				all[n.Name][key] = k.raw.Append(h.AppendTo(nil), s.state)
			}
			k.appendBroadcast(all[n.Name])
		}
	}
	return all
}

// Restored makes an engine of so many shards from this one's state, as after
// a checkpoint. Views start from what the restored keys answer.
func (e *Engine[T]) Restored(shards int, seed uint64) (*Engine[T], error) {
	e.Drain()
	r := NewWith[T](e.topology, shards, e.strategy, seed)
	r.Emitted = e.Emitted
	if err := r.source.Load(wire.NewReader(e.source.AppendTo(nil))); err != nil {
		return nil, fmt.Errorf("restore the watermark: %w", err)
	}
	for stage, keys := range e.State() {
		for key, value := range keys {
			if err := r.Load(stage, key, value); err != nil {
				return nil, err
			}
		}
	}
	r.Resume(e.mark, e.now)
	return r, nil
}

// Load restores a key of a stage from what State said. Call Resume when all
// are loaded, before anything is sent.
func (e *Engine[T]) Load(stage, key string, value []byte) error {
	i := slices.IndexFunc(e.topology.Nodes(), func(n *operator.Node) bool { return n.Name == stage })
	if i < 0 {
		return fmt.Errorf("restore %s %q: there is no such stage", stage, key)
	}
	n := e.topology.Nodes()[i]
	h, state, err := operator.SplitState(value)
	if err != nil {
		return fmt.Errorf("restore %s %q: %w", stage, key, err)
	}
	if key == operator.BroadcastKey {
		return loadBroadcast(e.tasks[i], h.Version, state)
	}
	k := e.tasks[i][operator.ShardOf(n.Group(key), e.shards)]
	s := &keyed{state: k.raw.NewState(), timers: h.Timers, processing: h.Processing, stamp: event.MinTime}
	if err := k.raw.Load(h.Version, state, s.state); err != nil {
		return fmt.Errorf("restore %s %q: %w", stage, key, err)
	}
	if k.ttl != nil && h.Stamp != event.MinTime {
		k.stamp(key, s, h.Stamp)
	}
	k.keys[key] = s
	k.touched[key] = true
	for _, at := range h.Timers {
		k.due.push(at, key)
	}
	for _, at := range h.Processing {
		k.clock.push(at, key)
	}
	return nil
}

// Resume has time stand where it stood with the state that was loaded, and has
// every key answer. Nothing fires.
func (e *Engine[T]) Resume(watermark, processing event.Time) {
	e.mark, e.now = watermark, processing
	for _, q := range e.queues {
		q.mark = watermark
	}
	for _, tasks := range e.tasks {
		for _, k := range tasks {
			k.mark = watermark
			k.setNow(processing)
		}
	}
	e.Drain()
}
