package export

import (
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/event"
	"millrace/eventlog"
	"millrace/internal/kafkaclient"
)

// Records have the time of the export: with that of the blocks, a broker's
// retention would delete what was stored before it at once.
func TestRecordsAreNotOlderThanTheExport(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	log, err := eventlog.Open(t.TempDir(), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now().Truncate(time.Millisecond)
	b := &eventlog.Block{
		Number: 1, Time: event.FromGo(began.AddDate(0, -1, 0)), Kind: eventlog.Events, Count: 1,
		Payload: event.AppendEvent(nil, &event.Event{User: "ann", Item: "tent", Type: "view", Time: 1}),
	}
	if err := log.Append(b); err != nil {
		t.Fatal(err)
	}
	brokers := kafkaclient.Default()
	brokers.Brokers = cluster.ListenAddrs()
	if _, err := Topic(t.Context(), log, brokers, "clicks", 1, false, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers.Brokers...), kgo.ConsumeTopics("clicks"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	records := reader.PollFetches(t.Context()).Records()
	if len(records) != 1 || records[0].Timestamp.Before(began) {
		t.Errorf("%v, want one record that is not older than %v", records, began)
	}
}
