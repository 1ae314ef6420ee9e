package export

import (
	"errors"
	"testing"

	"millrace/event"
	"millrace/eventlog"
	"millrace/source/kafka"
)

// Events that a server has read from a topic are not sent to that topic again,
// but to any other.
func TestRefuseRound(t *testing.T) {
	log, err := eventlog.Open(t.TempDir(), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	one := event.AppendEvent(nil, &event.Event{User: "ann", Item: "tent", Type: "view", Time: 1})
	for n, partition := range []string{"", kafka.Source("clicks", 3)} {
		b := &eventlog.Block{Number: uint64(n) + 1, Kind: eventlog.Events, Count: 1, Payload: one}
		if partition != "" {
			b.Runs = []eventlog.Run{{Partition: partition, Count: 1}}
		}
		if err := log.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := refuseRound(log, 1, "clicks"); !errors.Is(err, errRound) {
		t.Errorf("into the topic that was read: %v", err)
	}
	for _, topic := range []string{"click", "user-events"} {
		if err := refuseRound(log, 1, topic); err != nil {
			t.Errorf("into %s: %v", topic, err)
		}
	}
}
