package operatortest

import (
	"fmt"

	"millrace/event"
	"millrace/operator"
)

// routeBroadcast puts a record into the queues of all shards.
func routeBroadcast(queues []*queue, m operator.Meta, record any) {
	for _, q := range queues {
		q.messages = append(q.messages, message{m, q.to.raw.Copy(record)})
	}
}

// appendBroadcast adds the state of all keys, which must be that of the other
// shards.
func (k *task) appendBroadcast(all map[string][]byte) {
	if !k.broadcast {
		return
	}
	b := k.raw.AppendBroadcast((&operator.Header{Version: k.node.Version, Stamp: event.MinTime}).AppendTo(nil))
	if other, ok := all[operator.BroadcastKey]; ok && string(other) != string(b) {
		panic(fmt.Sprintf("operatortest: stage %s: the broadcast states of two shards differ: %q, %q", k.node.Name, other, b))
	}
	all[operator.BroadcastKey] = b
}

// loadBroadcast gives every shard of a stage the state of all keys.
func loadBroadcast(tasks []*task, version uint8, state []byte) error {
	for _, k := range tasks {
		k.broadcast = true
		if err := k.raw.LoadBroadcast(version, state); err != nil {
			return fmt.Errorf("restore broadcast state of %s: %w", k.node.Name, err)
		}
	}
	return nil
}
